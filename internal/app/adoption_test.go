package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/reports"
	"mtasts-server/mtasts"
)

// The ledger is lost: what DNS announces says how strict the policy was.
func TestAdoption(t *testing.T) {
	for _, c := range []struct {
		dns        string
		age        string // announced, with the mode
		mx         string
		auto, hand string // is served then, with a table that says enforce and 30d
	}{
		{"enforce", "30d", "", "enforce 30d", "enforce 30d"},
		{"enforce", "7d", "", "enforce 1w", "enforce 30d"}, // who enforces is not guarded
		{"enforce", "1d", "", "enforce 1d", "enforce 30d"},
		{"testing", "1d", "", "testing 1d", "testing 1d"},
		{"testing", "30d", "", "testing 30d", "testing 30d"}, // only the mode was edited
		{"testing", "7d", "", "testing 1w", "testing 1w"},
		{"testing", "1d", "mx.other.example", "enforce 30d", "enforce 30d"}, // nobody knows how strict it was
		{"nothing", "", "", "testing 1d", "testing 1d"},
		{"dead", "", "", "", ""},
	} {
		t.Run(c.dns+" "+c.age+" "+c.mx, func(t *testing.T) {
			y := newHousehold(t, "refuse")
			auto, hand, testing := y.move("auto.example", "enforce", "30d", true), y.move("hand.example", "enforce", "30d", false), y.move("testing.example", "testing", "1d", true)
			for _, r := range y.residents {
				if c.age == "" {
					continue
				}
				age, err := time.ParseDuration(strings.ReplaceAll(c.age, "d", "") + "h")
				y.check(err)
				mx := mtasts.MXPattern(r.mx[0])
				if c.mx != "" {
					mx = mtasts.MXPattern(c.mx)
				}
				p := mtasts.Policy{Mode: mtasts.Mode(c.dns), MaxAge: int((24 * age).Seconds()), MX: []mtasts.MXPattern{mx}}
				y.records[r.name] = mtasts.ID(p.Body())
			}
			y.dead = c.dns == "dead"
			y.save()
			y.want(auto, "before DNS was asked", "")
			y.want(hand, "before DNS was asked", "")
			y.want(testing, "before DNS was asked", "testing 1d")
			if known := y.app.publisher.stager.waits; !known(auto.name) || known(testing.name) {
				t.Error("reports on what waits for DNS are not taken")
			}
			y.app.steward.attend(t.Context())
			y.want(auto, "then", c.auto)
			y.want(hand, "then", c.hand)
			y.want(testing, "then", "testing 1d")
			if !y.dead {
				return
			}
			y.dead = false // as nothing is announced, they begin in testing
			y.clock = y.clock.Add(time.Hour)
			y.app.steward.ask(t.Context())
			y.want(auto, "once DNS answers", "testing 1d")
		})
	}
}

// Thousands of domains do not ask a dead DNS one after the other, nor wait for those of them
// that never answer.
func TestAdoptionOfMany(t *testing.T) {
	y := newHousehold(t, "refuse")
	var unknown []string
	for i := range 1000 {
		unknown = append(unknown, y.move(fmt.Sprintf("d%d.example", i), "enforce", "30d", false).name)
	}
	y.save()
	var asked atomic.Int64
	y.app.steward.resolver = lookup.Over(func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		asked.Add(1)
		if !y.dead && strings.Contains(q.Question[0].Name, "7.example") {
			return nil, context.DeadlineExceeded
		}
		return y.answer(ctx, q)
	}, func() time.Time { return y.clock })
	y.dead = true
	y.app.steward.ask(t.Context())
	if n := asked.Load(); n < adoptInVain || n > 10*adoptInVain {
		t.Errorf("dead DNS was asked %d times", n)
	}
	y.dead = false
	y.clock = y.clock.Add(time.Hour)
	y.app.steward.ask(t.Context())
	if left := y.app.publisher.stager.unasked(); len(left) != 100 || !strings.HasSuffix(left[0], "7.example") {
		t.Errorf("%d of %d wait: %v", len(left), len(unknown), left[:min(3, len(left))])
	}
}

// A journal with a damaged line may have lost what was served of a domain: it is no reason to
// serve less.
func TestAdoptionAfterDamage(t *testing.T) {
	y := newHousehold(t, "refuse")
	a := y.move("a.example", "enforce", "30d", false)
	a.extra = overrideUntil("2027-01-02")
	y.save()
	b := y.move("b.example", "testing", "1d", false)
	y.save()
	y.want(a, "at first", "enforce 30d")
	y.records[a.name] = mtasts.ID(a.now().body)
	text, err := os.ReadFile("state/ledger/journal")
	y.check(err)
	y.check(os.WriteFile("state/ledger/journal", []byte(strings.Replace(string(text), "a.example", "x.example", 1)), 0o600))
	y.clock = y.clock.Add(10 * day)
	y.restart()
	if y.app.publisher.ledger.Len() != 1 || len(y.app.publisher.ledger.Damage()) != 1 {
		t.Fatalf("the journal is not damaged as it should be: %v", y.app.publisher.ledger.Damage())
	}
	y.want(b, "with a damaged journal", "testing 1d")
	y.app.steward.attend(t.Context())
	y.want(a, "with a damaged journal", "enforce 30d")
}

// Of a damaged journal what is left of a domain may be older than what was served: that is no
// reason to serve less, not even until DNS was asked, nor to take its record out of DNS.
func TestAdoptionAfterDamageOfTheNewest(t *testing.T) {
	for _, c := range []struct{ dns, first, then string }{
		{"enforce", "", "enforce 30d"},
		{"testing", "", "testing 30d"}, // the ledger is right: it was another line
		{"nothing", "", "testing 30d"},
		{"dead", "", ""},
	} {
		t.Run(c.dns, func(t *testing.T) {
			y := newHousehold(t, "refuse")
			a := y.move("a.example", "testing", "30d", false)
			y.save()
			y.records[a.name] = mtasts.ID(a.now().body)
			y.clock = y.clock.Add(time.Hour)
			a.mode, a.extra = "enforce", overrideUntil("2027-01-02")
			y.save()
			y.want(a, "at first", "enforce 30d")
			y.dead = c.dns == "dead"
			switch c.dns {
			case "enforce":
				y.records[a.name] = mtasts.ID(a.now().body)
			case "nothing":
				delete(y.records, a.name)
			}
			text, err := os.ReadFile("state/ledger/journal")
			y.check(err)
			at := strings.LastIndex(string(text), "a.example")
			y.check(os.WriteFile("state/ledger/journal", []byte(string(text[:at])+"x"+string(text[at+1:])), 0o600))
			y.clock = y.clock.Add(10 * day)
			y.restart()
			if e, ok := y.app.publisher.ledger.Lookup(a.name); !ok || e.Mode != mtasts.ModeTesting {
				t.Fatalf("the journal is not damaged as it should be: %v", e)
			}
			for range 2 { // looking again changes nothing
				y.want(a, "before DNS was asked", c.first)
				y.app.publisher.look()
			}
			y.app.steward.attend(t.Context())
			y.want(a, "then", c.then)
			a.extra = ""
			y.save()
			y.want(a, "after an edit", c.then)
		})
	}
}

// A zone of ours loses its records with the ledger. What known reporters have seen of late is
// no reason to serve less; what anybody sent is none to serve more.
func TestAdoptionWhereTheRecordIsLostToo(t *testing.T) {
	y := newHousehold(t, "refuse")
	a, old, forged := y.move("a.example", "enforce", "30d", false), y.move("old.example", "enforce", "1d", false), y.move("forged.example", "enforce", "30d", false)
	a.extra, old.extra = overrideUntil("2027-01-02"), overrideUntil("2027-01-02")
	y.save()
	y.days(7)
	old.silent = true
	y.days(3)
	r := reportOn(forged.name, y.clock.Add(-day).Truncate(day), "big.example", []byte(strings.ReplaceAll(string(a.now().body), a.name, forged.name)), 20, 0, "")
	_, err := y.app.archive.reports.Put(t.Context(), []*reports.Arrival{{
		Channel: reports.HTTPS, Received: y.clock, MediaType: "application/tlsrpt+json", Unauthenticated: reports.NoAuthentication, Data: r,
	}})
	y.check(err)
	y.check(os.RemoveAll("state/ledger"))
	clear(y.records)
	y.restart()
	y.app.steward.attend(t.Context())
	y.want(a, "with nothing but reports", "enforce 30d")
	y.want(old, "as nobody holds it any more", "testing 1d")
	y.want(forged, "with what anybody sent", "testing 1d")
}
