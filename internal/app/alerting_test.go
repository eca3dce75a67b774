package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/database"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/review"
)

// What opened or closed while nobody could be told is told later, and the rest not again.
func TestAlertsCatchUp(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	db, err := database.Open(database.Options{File: filepath.Join(t.TempDir(), "reports.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	clock := func() time.Time { return now }
	looks, err := review.NewStore(review.StoreOptions{DB: db, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	hook, err := alert.NewWebhook(alert.WebhookOptions{URL: server.URL, Secret: "x", Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	var silences []config.Silence
	sender, err := alert.New(alert.Options{DB: db, Webhook: hook, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &alerting{
		sender: sender, tell: sender.Raise, looks: looks, ledger: book, log: slog.New(slog.DiscardHandler), now: clock,
		domain: func(string) *config.Domain {
			return &config.Domain{Name: "example.com", Circumstances: &config.Circumstances{Care: &config.Care{Silences: silences}}}
		}, missed: make(chan struct{}, 1),
	}
	look := func(subjects ...string) {
		t.Helper()
		l := review.Look{At: now, Known: true}
		for _, s := range subjects {
			l.Problems = append(l.Problems, review.Problem{Code: "mx-tls-old", Subject: s, Severity: review.Error, Owner: review.MXOwner, Text: "old"})
		}
		if _, err := looks.Record(t.Context(), "example.com", l); err != nil {
			t.Fatal(err)
		}
		now = now.Add(20 * time.Minute)
	}
	want := func(subjects ...string) {
		t.Helper()
		if err := a.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		keys, err := sender.Open(context.Background(), "")
		var expected []string
		for _, s := range subjects {
			expected = append(expected, "finding/example.com/mx-tls-old/"+s)
		}
		if err != nil || !slices.Equal(keys, expected) {
			t.Errorf("told of %v (%v), want %v", keys, err, expected)
		}
	}
	look("a", "b")
	want() // one look may be a mishap
	look("a", "b")
	want("a", "b")
	look("a")
	want("a", "b") // nor does one close it
	look("a")
	want("a")
	silences = []config.Silence{{Subject: "a", Until: now.Add(time.Hour)}}
	want() // who was told of it wants to hear no more
	look("a")
	now = now.Add(time.Hour)
	want("a") // until then
	look()
	look()
	want()
}

// MX hosts that are others at each look are told of once a digest.
func TestMovedBackAndForthIsToldOnce(t *testing.T) {
	keys := map[string]bool{}
	a := &alerting{domain: func(string) *config.Domain { return nil }, tell: func(_ context.Context, alerts ...alert.Alert) error {
		for _, x := range alerts {
			keys[x.Key] = x.Event
		}
		return nil
	}}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for i := range 5 {
		a.moved([]review.Changes{{Domain: "example.com", At: now.Add(time.Duration(i) * time.Hour), MX: true}})
	}
	if len(keys) != 1 || !keys["mx/example.com"] {
		t.Errorf("told of %v", keys)
	}
}

// A hundred thousand alarms at a time are stored in parts, each of which has its time.
func TestManyAlarmsAreRaisedInParts(t *testing.T) {
	most, all := 0, 0
	a := &alerting{log: slog.New(slog.DiscardHandler), tell: func(_ context.Context, alerts ...alert.Alert) error {
		most, all = max(most, len(alerts)), all+len(alerts)
		return nil
	}}
	if err := a.raise(make([]alert.Alert, 100_000)); err != nil || most > 1000 || all != 100_000 {
		t.Errorf("%d in all, %d at a time: %v", all, most, err)
	}
}
