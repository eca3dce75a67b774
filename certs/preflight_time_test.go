package certs

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// view is what preflight sees in a test.
type view struct {
	mu    sync.Mutex
	of    map[string]verdict // any other host passes
	looks map[string][]time.Time
}

func (v *view) look(ctx context.Context, host string) verdict {
	_ = pause(ctx, 20*time.Millisecond)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looks[host] = append(v.looks[host], time.Now())
	return v.of[host]
}

func (v *view) set(host string, what verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[host] = what
}

func (v *view) looked(host string) []time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.looks[host])
}

// watch gives w a preflight.
func watch(w *world) *view {
	v := &view{of: map[string]verdict{}, looks: map[string][]time.Time{}}
	w.preflight = v.look
	return v
}

var (
	nowhere   = verdict{outcome: outcomeNoAddress, finding: "does not exist:\n publish\x1b[2J a CNAME"}
	forbidden = verdict{outcome: outcomeForbidden, finding: "CAA allows no CA", refused: []bool{true}}
	unknown   = verdict{outcome: outcomeUnknown}
)

// A host for which an order would be in vain costs the CA nothing, and gets its
// certificate within minutes of the record being published.
func TestPreflightHoldsAnOrderBack(t *testing.T) {
	for _, published := range []time.Duration{30 * time.Second, 5 * time.Minute, 20 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, false)
			w.accounts[0].pace = newPace(300, pacePer)
			v := watch(w)
			v.set(host, nowhere)
			w.add(host)
			defer w.start(t)()
			pass(published)
			held := w.task(host)
			if len(w.e.began(host)) != 0 || held.held == 0 || held.finding != "does not exist:  publish [2J a CNAME" || w.budget()[0].pace.left != 300 {
				t.Fatalf("after %v %d orders, %+v", published, len(w.e.began(host)), held)
			}
			if n := strings.Count(w.said(), "no certificate is asked for"); n != 1 {
				t.Errorf("told %d times", n)
			}
			v.set(host, verdict{})
			// Whoever publishes soon is found soon.
			pass(min(published+2*time.Minute, 36*time.Minute) + 10*time.Second)
			if got := w.task(host); w.cert(host) == nil || got.held != 0 || got.finding != "" {
				t.Errorf("published after %v: %+v", published, got)
			}
		})
	}
}

// What nobody knows holds nothing back, nor does a preflight that panics.
func TestPreflightThatKnowsNothing(t *testing.T) {
	for _, look := range []func(context.Context, string) verdict{
		func(context.Context, string) verdict { return unknown },
		func(context.Context, string) verdict { panic("look") },
		func(ctx context.Context, _ string) verdict { <-ctx.Done(); return unknown },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, false)
			w.preflight = look
			w.add(host)
			defer w.start(t)()
			pass(checkLimit + 6*time.Second)
			if w.cert(host) == nil {
				t.Errorf("%+v", w.task(host))
			}
		})
	}
}

// A name server that fails once in a while, as all do, is no reason to forget what it
// said before; one that fails on and on is.
func TestPreflightThatForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		v := watch(w)
		v.set(host, nowhere)
		w.add(host)
		defer w.start(t)()
		pass(5 * time.Hour)
		for range 5 {
			v.set(host, unknown)
			pass((believed-1)*30*time.Minute - time.Minute)
			v.set(host, nowhere)
			pass(37 * time.Minute)
		}
		if n := len(w.e.began(host)); n != 0 {
			t.Errorf("%d orders", n)
		}
		v.set(host, unknown)
		pass((believed + 1) * 36 * time.Minute)
		if w.cert(host) == nil {
			t.Errorf("%+v", w.task(host))
		}
	})
}

// Our view of DNS may be wrong: once in a while an order is let through, unless it is
// CAA that forbids it.
func TestProbes(t *testing.T) {
	for _, c := range []struct {
		why      string
		sees     verdict
		works    bool
		min, max int // orders in 60 days
	}{
		{"preflight is right", nowhere, false, 7, 11},
		{"preflight is wrong", nowhere, true, 1, 2},
		{"CAA forbids it", forbidden, false, 0, 0},
		{"CAA forbids it, and DNS does not always answer", forbidden, true, 0, 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.accounts[0].pace = newPace(300, pacePer)
				v := watch(w)
				v.set(host, c.sees)
				if !c.works {
					w.e.onOrder = refuse
				}
				w.add(host)
				defer w.start(t)()
				if c.works && c.max == 0 {
					pass(30 * time.Hour)
					v.set(host, unknown)
					pass(59 * time.Minute)
					v.set(host, c.sees)
				}
				pass(23 * time.Hour)
				early := len(w.e.began(host))
				pass(8 * time.Hour)
				second := len(w.e.began(host))
				pass(60*day - 31*time.Hour)
				if n := len(w.e.began(host)); early != 0 || n < c.min || n > c.max || second != min(c.min, 1) {
					t.Errorf("%d orders in a day, %d after a bit more, %d in 60 days, want %d to %d", early, second, n, c.min, c.max)
				}
				if n := len(v.looked(host)); !c.works && (n < 60*40 || n > 60*49) {
					t.Errorf("looked at %d times in 60 days", n)
				}
			})
		})
	}
}

// Probes take what nobody else needs of the budget, and while there is nothing left
// over a host is looked at as before.
func TestProbesLeaveTheBudgetToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		w.accounts[0].pace = newPace(20, pacePer)
		v := watch(w)
		hopeless := names("dead", 500)
		for _, host := range hopeless {
			v.set(host, nowhere)
		}
		w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
			if strings.HasPrefix(host, "dead") {
				return hang(ctx, host, cur)
			}
			return issue(ctx, host, cur)
		}
		w.add(hopeless...)
		defer w.start(t)()
		pass(3 * day)
		probes := len(w.e.count().sequence)
		if probes < 100 || probes > 20*8*3 {
			t.Errorf("%d probes", probes)
		}
		left := w.budget()[0].pace
		if left.wait(w.time(), 0.4) > 0 {
			t.Errorf("probes leave %v of 20", left.left)
		}
		// Five come at once, and need not wait.
		w.add(names("new", 5)...)
		pass(30 * time.Second)
		for _, host := range names("new", 5) {
			if w.cert(host) == nil {
				t.Errorf("%s waits", host)
			}
		}
		// So many come that nothing is left over; a record that is published
		// is found all the same.
		w.add(names("more", 1000)...)
		pass(6 * time.Hour)
		before := len(w.e.count().sequence)
		v.set(hopeless[7], verdict{})
		pass(37 * time.Minute)
		if got := w.task(hopeless[7]); got.held != 0 {
			t.Errorf("not found: %+v", got)
		}
		if dead := slices.IndexFunc(w.e.count().sequence[before:], func(h string) bool { return strings.HasPrefix(h, "dead") && h != hopeless[7] }); dead >= 0 {
			t.Error("a probe took the place of a new host")
		}
	})
}

// A certificate that is about to expire is renewed whatever preflight says, for as
// long as it is good for something.
func TestPreflightOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		v := watch(w)
		w.add(host)
		defer w.start(t)()
		pass(day)
		v.set(host, forbidden)
		w.e.mu.Lock()
		w.e.onOrder = refuse
		w.e.mu.Unlock()
		pass(70 * day)
		if got := w.task(host); len(w.e.began(host)) != 1 || got.held == 0 {
			t.Errorf("%d orders, %+v", len(w.e.began(host)), got)
		}
		pass(6 * day) // 75 of 90 are over
		tried := len(w.e.began(host))
		pass(12 * day)
		last := len(w.e.began(host))
		pass(20 * day) // it has expired
		after := len(w.e.began(host))
		if tried < 4 || last-tried < 40 || after-last > 12 {
			t.Errorf("%d orders, then %d, after the end %d", tried, last-tried, after-last)
		}
	})
}

// A certificate that lives for minutes only is looked at often enough.
func TestPreflightOfShortLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = time.Hour
		w := newWorld(t, 2, false)
		v := watch(w)
		w.e.onOrder = func(context.Context, string, *certificate) (*certificate, error) { return valid(life), nil }
		w.add(host)
		defer w.start(t)()
		pass(time.Minute)
		v.set(host, nowhere)
		for range 20 {
			pass(life)
			if w.cert(host).expired(w.time()) {
				t.Fatalf("it expired: %+v", w.task(host))
			}
		}
		if orders, looks := len(w.e.began(host)), len(v.looked(host)); orders > 25 || looks < 2*orders {
			t.Errorf("%d orders after %d looks: this shows nothing", orders, looks)
		}
	})
}

// An order that waits for the budget for hours begins with another look, and what is
// held back then costs nothing of it.
func TestPreflightIsRepeatedAfterAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, false)
		w.accounts[0].pace = newPace(10, pacePer)
		v := watch(w)
		w.add(names("h", 100)...)
		defer w.start(t)()
		pass(time.Hour)
		waiting, eta := w.queue(w.time())
		if waiting < 80 || eta.Before(w.time().Add(24*time.Hour)) {
			t.Errorf("%d wait until %v", waiting, eta)
		}
		began := len(w.e.count().sequence)
		for host := range w.hosts {
			v.set(host, nowhere)
		}
		pass(12 * time.Hour)
		if n := len(w.e.count().sequence); n != began {
			t.Errorf("%d orders in vain", n-began)
		}
		if left := w.budget()[0].pace; left.wait(w.time(), 0.8) > 0 {
			t.Errorf("%v of 10 are left", left.left)
		}
		if waiting, _ := w.queue(w.time()); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
	})
}

// Preflight of thousands is spread over time, and does not keep whoever comes new.
func TestPreflightOfThousands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		v := watch(w)
		hopeless := names("dead", 5000)
		for _, host := range hopeless {
			v.set(host, nowhere)
		}
		w.add(hopeless...)
		defer w.start(t)()
		pass(2 * time.Hour)
		for i := range 20 {
			host := fmt.Sprintf("new%d.example.com", i)
			w.add(host)
			pass(10 * time.Second)
			if w.cert(host) == nil {
				t.Errorf("%s waits", host)
			}
		}
		var all []time.Time
		for _, host := range hopeless {
			all = append(all, v.looked(host)...)
		}
		slices.SortFunc(all, time.Time.Compare)
		for i := 2 * looksPerSecond; i < len(all); i++ {
			if all[i].Sub(all[i-2*looksPerSecond]) < 900*time.Millisecond {
				t.Fatalf("%d looks within %v", 2*looksPerSecond, all[i].Sub(all[i-2*looksPerSecond]))
			}
		}
		if len(w.e.count().sequence) != 20 {
			t.Errorf("%d orders", len(w.e.count().sequence))
		}
	})
}

// A restart puts nobody's probe off, and what is due is looked at once more.
func TestRestartRemembersWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "attempts.json")
		w := newWorld(t, 1, false)
		v := watch(w)
		v.set(host, nowhere)
		w.add(host)
		stop := w.start(t)
		pass(20 * time.Hour)
		before := w.task(host)
		stop()
		m, changed := w.remember()
		if !changed {
			t.Fatal("nothing is to be remembered")
		}
		check(t, writeAttempts(file, m))
		next := newWorld(t, 1, false)
		next.preflight = v.look
		former, err := readAttempts(file)
		check(t, err)
		next.former = former
		next.add(host)
		defer next.start(t)()
		pass(time.Second)
		if got := next.task(host); got.probeAt != before.probeAt || got.held <= before.held || got.finding != before.finding || got.failures != 0 {
			t.Errorf("%+v\nbefore %+v", got, before)
		}
		pass(10 * time.Hour)
		if n := len(next.e.began(host)); n != 1 {
			t.Errorf("%d orders", n)
		}
	})
}

// Where CAA refuses one CA, the other one is asked.
func TestCAALeavesOneCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorldOfTwo(t, 300, 300)
		v := watch(w)
		v.set("first.example.com", verdict{refused: []bool{false, true}})
		v.set("second.example.com", verdict{refused: []bool{true, false}})
		w.add("first.example.com", "second.example.com", "any.example.com")
		defer w.start(t)()
		pass(time.Minute)
		if got := asked(); got["first.example.com"] != "0" || got["second.example.com"] != "1" || got["any.example.com"] != "0" {
			t.Errorf("%v", got)
		}
	})
}
