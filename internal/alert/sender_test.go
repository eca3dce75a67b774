package alert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mtasts-server/internal/alert"
	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		databasetest.Stop()
		os.Exit(code)
	}))
}

// desk is a person with a web hook and a clock.
type desk struct {
	t      *testing.T
	now    time.Time
	o      alert.Options
	sender *alert.Sender
	web    *httptest.Server

	mu     sync.Mutex
	got    []alert.Message
	ids    []string
	answer func(http.ResponseWriter, *http.Request) // nil: 204
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func newDesk(t *testing.T, o database.Options) *desk {
	t.Helper()
	d := &desk{t: t, now: noon}
	d.web = httptest.NewServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.web.Close)
	db, err := database.Open(o)
	d.check(err)
	t.Cleanup(func() { db.Close() })
	hook, err := alert.NewWebhook(alert.WebhookOptions{URL: d.web.URL, Secret: "s", Now: d.clock})
	d.check(err)
	d.o = alert.Options{DB: db, Webhook: hook, Digest: alert.DefaultDigest, Now: d.clock}
	d.restart()
	return d
}

func onDisk(t *testing.T) database.Options {
	return database.Options{File: filepath.Join(t.TempDir(), "a.db")}
}

func (d *desk) clock() time.Time { return d.now }

func (d *desk) check(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) restart() {
	d.t.Helper()
	d.restartOnly()
	d.check(d.sender.Step(d.t.Context()))
}

func (d *desk) restartOnly() {
	d.t.Helper()
	var err error
	d.sender, err = alert.New(d.o)
	d.check(err)
}

func (d *desk) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.answer != nil {
		d.answer(w, r)
		return
	}
	var m alert.Message
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &m); err != nil {
		d.t.Errorf("%v: %s", err, body)
	}
	d.got, d.ids = append(d.got, m), append(d.ids, r.Header.Get("Webhook-Id"))
	w.WriteHeader(http.StatusNoContent)
}

func (d *desk) raise(alerts ...alert.Alert) {
	d.t.Helper()
	d.check(d.sender.Raise(d.t.Context(), alerts...))
}

// after lets time pass, and returns what comes then, in short.
func (d *desk) after(pass time.Duration) []string {
	d.t.Helper()
	d.now = d.now.Add(pass)
	d.check(d.sender.Step(d.t.Context()))
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	for _, m := range d.got {
		lines = append(lines, short(m))
	}
	d.got = nil
	return lines
}

func (d *desk) want(pass time.Duration, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.after(pass)); diff != "" {
		d.t.Fatalf("at %s (-want +got):\n%s", d.now.Format(time.DateTime), diff)
	}
}

// tomorrow is how long it is to the next digest.
func (d *desk) tomorrow() time.Duration {
	at := d.now.Truncate(24 * time.Hour).Add(alert.DefaultDigest)
	if !at.After(d.now) {
		at = at.Add(24 * time.Hour)
	}
	return at.Sub(d.now)
}

func short(m alert.Message) string {
	keys := func(items []alert.Item) string {
		var list []string
		for _, i := range items {
			list = append(list, i.Key)
		}
		return strings.Join(list, ",")
	}
	if m.Kind == alert.Opened || m.Kind == alert.Closed {
		return fmt.Sprintf("%s %s", m.Kind, keys(slices.Concat(m.Opened, m.Closed)))
	}
	return fmt.Sprintf("%s +%d[%s] -%d[%s] =%d[%s]", m.Kind, m.Counts.Opened, keys(m.Opened), m.Counts.Closed, keys(m.Closed), m.Counts.Still, keys(m.Still))
}

func urgent(key string) alert.Alert {
	return alert.Alert{Key: key, Domain: key + ".example", Code: "mx-not-in-policy", Severity: alert.Error, Urgent: true, Title: "mail will be lost", Text: "text"}
}

func warning(key string) alert.Alert {
	return alert.Alert{Key: key, Domain: key + ".example", Code: "no-tlsrpt", Severity: alert.Warning, Title: "nobody reports", Text: "text"}
}

func closed(key string) alert.Alert { return alert.Alert{Key: key, Closed: true} }

func TestUrgentAtOnceAndTheRestInTheDigest(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		d.raise(urgent("a"), warning("b"))
		d.want(0, "opened a")
		d.raise(urgent("a"), warning("b")) // the next look finds them again
		d.want(time.Hour)
		d.want(d.tomorrow()-time.Second, nil...)
		d.want(time.Second, "digest +1[b] -0[] =1[a]")
		d.want(time.Hour)
		d.raise(closed("a"), closed("b"), closed("never heard of"))
		d.want(0, "closed a")
		d.raise(closed("a"), closed("b"))
		d.want(d.tomorrow(), "digest +0[] -1[b] =0[]")
		d.want(24 * time.Hour) // nothing to tell
	})
}

func TestErrorThatLosesNoMailWaits(t *testing.T) {
	d := newDesk(t, onDisk(t))
	a := urgent("a")
	a.Urgent = false
	b := urgent("b")
	b.Severity = alert.Warning // is none that loses mail, whatever is flagged
	d.raise(a, b)
	d.want(0)
	d.raise(urgent("a")) // it got worse
	d.want(0, "opened a")
	d.want(d.tomorrow(), "digest +1[b] -0[] =1[a]")
}

func TestRestartKeepsWhatWaits(t *testing.T) {
	d := newDesk(t, onDisk(t))
	d.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	d.raise(urgent("a"), warning("b"))
	d.want(0)
	d.raise(urgent("c"))
	d.restart()
	d.answer = nil
	d.want(time.Hour, "opened a", "opened c")
	d.restart()
	d.want(d.tomorrow(), "digest +1[b] -0[] =2[a,c]")
	d.now = d.now.Add(30 * time.Hour) // the machine was off at seven
	d.raise(warning("e"))
	d.restart()
	d.want(0, "digest +1[e] -0[] =2[a,c]")
}

func TestEventsAreToldOnce(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		a, b := urgent("a"), warning("b")
		a.Event, b.Event = true, true
		d.raise(a, b)
		d.want(0, "opened a")
		d.want(d.tomorrow(), "digest +1[b] -0[] =0[]")
		d.want(24 * time.Hour)
		d.want(72 * time.Hour)
		var n int
		d.check(d.o.DB.QueryRow("SELECT count(*) FROM alerts").Scan(&n))
		if n != 0 {
			t.Errorf("%d are not forgotten", n)
		}
	})
}

// Who raises alerts learns after a restart which ones are open.
func TestOpen(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		for _, key := range []string{"rollout/b/heard", "rollout/a/heard", "rollout_x", "finding/a", "100%"} {
			d.raise(alert.Alert{Key: key, Severity: alert.Warning, Title: key})
		}
		d.raise(alert.Alert{Key: "rollout/c/heard", Severity: alert.Warning})
		d.raise(alert.Alert{Key: "rollout/c/heard", Closed: true})
		d.restart()
		for beginning, want := range map[string]string{
			"rollout/": "[rollout/a/heard rollout/b/heard]", "rollout_": "[rollout_x]", "%": "[]", "nothing": "[]",
		} {
			keys, err := d.sender.Open(t.Context(), beginning)
			if err != nil || fmt.Sprint(keys) != want {
				t.Errorf("%q: %v (%v), want %s", beginning, keys, err, want)
			}
		}
	})
}

func TestFlapIsNotTenAlarms(t *testing.T) {
	d := newDesk(t, onDisk(t))
	var all []string
	for range 10 {
		d.raise(urgent("a"))
		all = append(all, d.after(time.Minute)...)
		d.raise(closed("a"))
		all = append(all, d.after(time.Minute)...)
	}
	if len(all) != 6 {
		t.Errorf("%d messages: %q", len(all), all)
	}
	d.want(d.tomorrow(), "digest +0[] -1[a] =0[]")
	d.want(24 * time.Hour)
	d.raise(urgent("a")) // a day later it is news
	d.want(0, "opened a")
}

func TestStorm(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		var alerts, ends []alert.Alert
		for i := range 1057 {
			alerts = append(alerts, urgent(fmt.Sprintf("k%04d", i)))
			ends = append(ends, closed(fmt.Sprintf("k%04d", i)))
		}
		d.raise(alerts...)
		if got := d.after(0); len(got) != 20 || got[0] != "opened k0000" {
			t.Fatalf("%d: %q", len(got), got)
		}
		d.want(4 * time.Minute)
		got := d.after(time.Minute)
		if len(got) != 1 || !strings.HasPrefix(got[0], "more +1037[k0020,") || strings.Count(got[0], "k") != 200 {
			t.Fatalf("%d: %q", len(got), got)
		}
		d.raise(urgent("late"))
		d.want(10 * time.Minute)
		// It ends: again a few one by one, and the rest together.
		d.now = d.now.Add(time.Hour)
		d.want(0, "opened late")
		d.raise(ends...)
		if got := d.after(time.Hour); len(got) != 21 || !strings.HasPrefix(got[20], "more +0[] -1037[") {
			t.Fatalf("%d: %q", len(got), got)
		}
	})
}

func TestStormThatPassesBeforeItIsTold(t *testing.T) {
	d := newDesk(t, onDisk(t))
	var alerts, ends []alert.Alert
	for i := range 30 {
		alerts, ends = append(alerts, urgent(fmt.Sprint(i))), append(ends, closed(fmt.Sprint(i)))
	}
	d.raise(alerts...)
	if got := d.after(0); len(got) != 20 {
		t.Fatalf("%q", got)
	}
	d.raise(ends...)
	if got := d.after(5 * time.Minute); len(got) != 1 || !strings.HasPrefix(got[0], "more +0[] -20[") {
		t.Errorf("the ends of what was told: %q", got)
	}
	if got := d.after(d.tomorrow()); len(got) != 1 || !strings.HasPrefix(got[0], "digest +0[] -10[") {
		t.Errorf("what nobody was told: %q", got)
	}
}

func TestTwoProcessesTellOnce(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		other, err := alert.New(d.o)
		d.check(err)
		var wg sync.WaitGroup
		for _, s := range []*alert.Sender{d.sender, other, d.sender, other} {
			wg.Go(func() {
				for i := range 10 {
					if err := s.Raise(t.Context(), urgent(fmt.Sprint(i)), warning(fmt.Sprint("w", i))); err != nil {
						t.Error(err)
					}
					if err := s.Step(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := d.after(0); len(got) != 10 {
			t.Errorf("%d messages: %q", len(got), got)
		}
	})
}

func TestRunSendsAndEnds(t *testing.T) {
	d := newDesk(t, onDisk(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	arrived := make(chan struct{}, 1)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { arrived <- struct{}{} }
	go func() { done <- d.sender.Run(ctx) }()
	d.raise(urgent("a"))
	<-arrived
	cancel()
	d.check(<-done)
}

// What somebody silences is in no digest any more, and no end of it is told; when the silence
// is over it is told anew.
func TestSilencedIsNotToldOf(t *testing.T) {
	d := newDesk(t, onDisk(t))
	quiet := func(key string) alert.Alert { return alert.Alert{Key: key, Closed: true, Quiet: true} }
	d.raise(urgent("a"), warning("b"))
	d.want(0, "opened a")
	d.raise(quiet("a"), quiet("b"), quiet("never heard of"))
	d.want(d.tomorrow())
	d.raise(quiet("a"), closed("b"))
	d.want(24 * time.Hour)
	d.raise(urgent("a"))
	d.want(0, "opened a")
	d.raise(closed("a"))
	d.want(0, "closed a")
}
