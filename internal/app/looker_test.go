package app

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

// Whose record and policy host are gone is at fault for as long as senders may hold a policy,
// and not when he has withdrawn it in time.
func TestLookAtWithdrawn(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	book, err := ledger.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	serve := func(mode string) {
		t.Helper()
		body := []byte("version: STSv1\r\nmode: " + mode + "\r\nmx: mx.example.com\r\nmax_age: 86400\r\n")
		if err := book.Publish(now, []ledger.Publication{{Domain: "example.com", ID: mtasts.ID(body), Source: "a.toml", Body: body}}); err != nil {
			t.Fatal(err)
		}
	}
	checker, err := sendercheck.New(sendercheck.Options{SkipMX: true, Now: clock, Resolver: lookup.Over(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = dns.RcodeNameError
		return m, nil
	}, clock)})
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{checker: checker, ledger: book, domain: func(string) *config.Domain { return nil }, now: clock}
	want := func(when string, want bool) {
		t.Helper()
		look, err := l.look(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, p := range look.Problems {
			codes = append(codes, p.Code)
		}
		if slices.Contains(codes, sendercheck.NotPublished) != want || slices.Contains(codes, sendercheck.PolicyHostMissing) != want {
			t.Errorf("%s: found %v", when, codes)
		}
	}
	serve("enforce")
	want("enforced", true)
	now = now.Add(time.Hour)
	serve("none")
	want("withdrawn", true)
	now = now.Add(23 * time.Hour)
	want("while senders may hold it", true)
	now = now.Add(2 * time.Hour)
	want("when nobody holds it any more", false)
}
