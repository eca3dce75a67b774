package certs

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	p := newPace(300, pacePer)
	for i := range 270 {
		if wait := p.wait(now, paceReserve); wait != 0 {
			t.Fatalf("order %d waits for %v", i, wait)
		}
		p.take()
	}
	if wait := p.wait(now, paceReserve); wait != 36*time.Second+time.Millisecond { // "1 per 36 seconds"
		t.Errorf("the next new host waits for %v", wait)
	}
	for i := range 30 {
		if wait := p.wait(now, 0); wait != 0 {
			t.Errorf("renewal %d waits for %v", i, wait)
		}
		p.take()
	}
	if p.wait(now, 0) == 0 {
		t.Error("more than the CA grants")
	}
	if wait := p.wait(now.Add(36*time.Second), 0); wait > time.Second {
		t.Errorf("36 s later a renewal waits for %v", wait)
	}
	p.take()
	if p.wait(now.Add(-time.Hour), 0) == 0 || p.wait(now.Add(-time.Hour+time.Minute), 0) != 0 {
		t.Error("the clock was set back, and with it the budget")
	}
	p.give()
	if p.wait(now, 0) != 0 {
		t.Error("what was given back is lost")
	}
	p.empty(now, time.Hour)
	if wait := p.wait(now.Add(40*time.Minute), 0); wait != 20*time.Minute {
		t.Errorf("the CA said an hour, and after 40 minutes the next one waits for %v", wait)
	}
	if wait := p.wait(now.Add(-time.Hour*24*365), 0); wait > maxRetryAfter {
		t.Errorf("the clock was set back, and an order waits for %v", wait)
	}
	if one := newPace(1, pacePer); one.wait(now, paceReserve) != 0 {
		t.Error("a budget of one order is never spent")
	}
	var free pace
	if free.wait(now, paceReserve) != 0 || !lastBegins([]account{{}}, now, 100_000).IsZero() {
		t.Error("no limit is a limit")
	}
}

func TestLastBegins(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	full, empty, shut := newPace(300, pacePer), newPace(300, pacePer), newPace(300, pacePer)
	empty.empty(now, 0)
	shut.empty(now, time.Hour)
	for _, c := range []struct {
		why    string
		orders int
		paces  []pace
		want   time.Duration // to a minute
	}{
		{"nothing waits", 0, []pace{empty}, 0},
		{"there is budget for all", 270, []pace{full}, 0},
		{"the rest is for renewals", 271, []pace{full}, time.Minute},
		{"100,000 hosts take 42 days", 100_000, []pace{empty}, 1000*time.Hour + 18*time.Minute},
		{"21 with a second CA", 100_000, []pace{empty, empty}, 500*time.Hour + 18*time.Minute},
		{"two days less with a full budget", 100_000, []pace{empty, full}, 500*time.Hour + 9*time.Minute - 81*time.Minute},
		{"a CA that said when to come back", 1, []pace{shut}, time.Hour},
		{"the other one goes on", 1, []pace{shut, empty}, 19 * time.Minute},
	} {
		var accounts []account
		for _, p := range c.paces {
			accounts = append(accounts, account{pace: p})
		}
		got := time.Duration(0)
		if at := lastBegins(accounts, now, c.orders); !at.IsZero() {
			got = at.Sub(now)
		}
		if (got - c.want).Abs() > time.Minute {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

func TestPacesAreRemembered(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "orders.json")
	fresh := func() []account {
		return []account{{name: "a", pace: newPace(300, pacePer)}, {name: "b", pace: newPace(50, pacePer)}}
	}
	first := fresh()
	check(t, readPaces(path, first, now))
	if first[0].pace.left != 300 || first[1].pace.left != 50 {
		t.Errorf("a first start has %v", first)
	}
	first[0].pace.empty(now, 30*time.Minute)
	first[1].pace.take()
	check(t, writePaces(path, first))
	again := append([]account{{name: "new", pace: newPace(9, pacePer)}}, fresh()...)
	check(t, readPaces(path, again, now.Add(20*time.Minute)))
	if wait := again[1].pace.wait(now.Add(20*time.Minute), 0); wait != 10*time.Minute {
		t.Errorf("the CA said half an hour, and 20 minutes later an order waits for %v", wait)
	}
	if again[0].pace.left != 9 || again[1].pace.left > 34 || again[2].pace.left != 49 {
		t.Errorf("20 minutes later there are %v", again)
	}
	check(t, writeFile(path, []byte(`{"accounts": {"a": {"left": 1e9`), 0o600))
	if readPaces(path, again, now) == nil {
		t.Error("half a file is believed")
	}
	check(t, writeFile(path, []byte(`{"accounts": {"a": {"left": 1e9, "at": "2999-01-01T00:00:00Z"}}}`), 0o600))
	check(t, readPaces(path, again, now))
	if p := again[1].pace; p.left != 300 || p.at.After(now) {
		t.Errorf("from the future: %v", p)
	}
}

// new hosts wait for the budget; renewals, and hosts with a certificate from
// elsewhere in the CA's eyes, go on.
func TestNewHostsWaitForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		w.accounts[0].pace = newPace(20, pacePer)
		w.e.onStored = func(_ context.Context, host string) (*certificate, error) {
			if host[0] == 'r' {
				return aged(90*day, 61*day), nil // due
			}
			return nil, errUnusable
		}
		for i := range 100 {
			w.add(fmt.Sprintf("n%d.example", i))
		}
		for i := range 30 {
			w.add(fmt.Sprintf("r%d.example", i))
		}
		stop := w.start(t)
		pass(3 * time.Hour)
		began := len(w.e.count().sequence)
		waiting, eta := w.queue(w.time())
		pass(15 * time.Hour)
		later := len(w.e.count().sequence)
		pass(5 * day)
		stop()
		if began > 40 || began < 35 {
			t.Errorf("%d orders in the first three hours, of a budget of 20 and 20 that came", began)
		}
		if waiting != 130-began || eta.IsZero() {
			t.Errorf("%d wait, until %v", waiting, eta)
		}
		if later-began < 85 || later > 130 {
			t.Errorf("%d orders after 15 hours more", later)
		}
		if n := len(w.e.count().sequence); n != 130 {
			t.Errorf("%d orders in the end, for 130 hosts", n)
		}
		renewals := slices.IndexFunc(w.e.count().sequence[:began], func(h string) bool { return h[0] == 'n' })
		if renewals > 30 {
			t.Errorf("the first new host came after %d renewals", renewals)
		}
	})
}

// What the CA says of its limits goes before what we reckon, unless it says so of one
// host only.
func TestRateLimitEmptiesTheBudget(t *testing.T) {
	for limited, stopped := range map[int]bool{1: false, 2: false, 3: true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1, false)
			w.accounts[0].pace = newPace(300, pacePer)
			w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
				if host != "good.example" {
					return nil, fmt.Errorf("%w: too many", errRateLimited)
				}
				return issue(ctx, host, cur)
			}
			for i := range limited {
				w.add(fmt.Sprintf("h%d.example", i))
			}
			stop := w.start(t)
			pass(time.Minute)
			w.add("good.example")
			pass(3 * time.Minute)
			early := w.cert("good.example") == nil
			pass(20 * time.Minute) // 31 of 36 s each: a tenth of the budget, and one
			late := w.cert("good.example") == nil
			stop()
			if early != stopped || late {
				t.Errorf("%d hosts met a limit: another one waits: %v, later on: %v", limited, early, late)
			}
		})
	}
}
