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
	p := newPace(300)
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
	p.empty(now)
	if eta := p.eta(now, 100_000); eta.Sub(now).Round(time.Hour) != 1000*time.Hour { // 42 days
		t.Errorf("100,000 hosts take %v", eta.Sub(now))
	}
	if one := newPace(1); one.wait(now, paceReserve) != 0 {
		t.Error("a budget of one order is never spent")
	}
	var free pace
	if free.wait(now, paceReserve) != 0 || !free.eta(now, 100_000).IsZero() {
		t.Error("no limit is a limit")
	}
}

func TestPaceIsRemembered(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "orders.json")
	p := newPace(300)
	check(t, readPace(path, &p, now))
	if p.left != 300 {
		t.Errorf("a first start has %v", p.left)
	}
	p.empty(now)
	check(t, writePace(path, p))
	again := newPace(300)
	check(t, readPace(path, &again, now.Add(time.Hour)))
	if again.wait(now.Add(time.Hour), 0) != 0 || again.left > 101 {
		t.Errorf("an hour later there are %v", again.left)
	}
	check(t, writeFile(path, []byte(`{"left": 1e9`), 0o600))
	if readPace(path, &again, now) == nil {
		t.Error("half a file is believed")
	}
	check(t, writeFile(path, []byte(`{"left": 1e9, "at": "2999-01-01T00:00:00Z"}`), 0o600))
	check(t, readPace(path, &again, now))
	if again.left != 300 || again.at.After(now) {
		t.Errorf("from the future: %v", again)
	}
}

// new hosts wait for the budget; renewals, and hosts with a certificate from
// elsewhere in the CA's eyes, go on.
func TestNewHostsWaitForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		w.pace = newPace(20)
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
			w.pace = newPace(300)
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
