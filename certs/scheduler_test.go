package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// names makes n host names.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%d.example.com", prefix, i)
	}
	return all
}

// A customer's host that has just been added gets its certificate at once, or as
// soon as one of the hopeless orders under way has ended, however many hosts there
// are whose orders hang until a timeout.
func TestHopelessHostsDoNotDelayANewOne(t *testing.T) {
	for _, c := range []struct {
		why    string
		before time.Duration
		within time.Duration // the new host gets its certificate
		stored func(context.Context, string) (*certificate, error)
	}{
		{"they are new as well", 0, orderLimit + 10*time.Second, nil},
		{"they have failed for days", 4 * day, 10 * time.Second, nil},
		{"their renewal is due, all at once", 0, orderLimit + 10*time.Second, func(_ context.Context, host string) (*certificate, error) {
			if strings.HasPrefix(host, "dead") {
				return aged(90*day, 80*day), nil
			}
			return nil, fs.ErrNotExist
		}},
		{"their certificates expired long ago", 4 * day, 10 * time.Second, func(_ context.Context, host string) (*certificate, error) {
			if strings.HasPrefix(host, "dead") {
				return aged(90*day, 100*day), nil
			}
			return nil, fs.ErrNotExist
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 16, false)
				w.e.onStored = c.stored
				w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
					if strings.HasPrefix(host, "dead") {
						return hang(ctx, host, cur)
					}
					return issue(ctx, host, cur)
				}
				w.add(names("dead", 5000)...)
				defer w.start(t)()
				pass(c.before)
				for _, host := range names("good", 20) {
					pass(37 * time.Minute)
					w.add(host)
					pass(c.within)
					if w.cert(host) == nil {
						t.Errorf("%s has no certificate after %v", host, c.within)
					}
				}
				if w.e.count().most > 16 {
					t.Errorf("%d jobs at a time on 16 slots", w.e.count().most)
				}
			})
		})
	}
}

// Whoever corrects the DNS record after the first failure does not queue up behind
// those who have failed for weeks.
func TestWhoFailedOnceDoesNotWaitForTheHopeless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		w.e.onStored = func(_ context.Context, host string) (*certificate, error) {
			if strings.HasPrefix(host, "expired") {
				return aged(90*day, 100*day), nil
			}
			return nil, fs.ErrNotExist
		}
		w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
			switch {
			case !strings.HasPrefix(host, "good"):
				return hang(ctx, host, cur)
			case len(w.e.began(host)) == 1:
				return refuse(ctx, host, cur)
			}
			return issue(ctx, host, cur)
		}
		w.add(names("expired", 2500)...)
		w.add(names("dead", 2500)...)
		defer w.start(t)()
		pass(30 * day)
		for _, host := range names("good", 10) {
			w.add(host)
			first := orderLimit + time.Second
			pass(first + retryWait(1, 0, 1) + orderLimit + 5*time.Second)
			if w.cert(host) == nil {
				t.Errorf("%s has no certificate after its second order was due", host)
			}
		}
		for host := range w.hosts {
			if n := len(w.e.began(host)); n == 0 {
				t.Errorf("%s was never asked for in a month", host)
			}
		}
	})
}

func TestRenewalsComeBeforeNewHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ages := map[string]time.Duration{"c.example.com": 70 * day, "a.example.com": 95 * day, "b.example.com": 80 * day}
		w := newWorld(t, 1, false)
		w.e.onStored = func(_ context.Context, host string) (*certificate, error) {
			if age, ok := ages[host]; ok {
				return aged(90*day, age), nil
			}
			return nil, fs.ErrNotExist
		}
		w.add("old.example.com")
		w.add("a.example.com", "b.example.com", "c.example.com")
		w.add("new.example.com")
		defer w.start(t)()
		pass(time.Hour)
		got := strings.Join(w.e.count().sequence, " ")
		want := "a.example.com b.example.com c.example.com new.example.com old.example.com"
		if got != want {
			t.Errorf("ordered %s\nwant    %s", got, want)
		}
	})
}

func TestRenewalsGoOnForYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, false)
		w.add(names("h", 100)...)
		defer w.start(t)()
		pass(time.Hour)
		for range 2 * 365 {
			pass(day)
			for host := range w.hosts {
				if left := time.Until(w.cert(host).notAfter()); left < 29*day {
					t.Fatalf("%s: %v left", host, left)
				}
			}
		}
		// 730 days by 60 to 56.25.
		for host := range w.hosts {
			if n := len(w.e.began(host)); n < 13 || n > 14 {
				t.Errorf("%s: %d orders in two years, want 13 or 14", host, n)
			}
		}
		if n := w.renewed.Load() + w.obtained.Load(); w.obtained.Load() != 100 || n != int64(len(w.e.count().sequence)) {
			t.Errorf("%d obtained and %d renewed in %d orders", w.obtained.Load(), w.renewed.Load(), len(w.e.count().sequence))
		}
	})
}

func TestAHostThatLeftIsForgotten(t *testing.T) {
	for _, c := range []struct {
		why   string
		order func(context.Context, string, *certificate) (*certificate, error)
		after time.Duration // until it leaves
		want  int           // orders
	}{
		{"while it waits for its renewal", issue, time.Hour, 1},
		{"while its order is under way", hang, time.Minute, 1},
		{"while it waits after a failure", refuse, time.Minute, 1},
		{"before anything was done", hang, 0, 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.e.onOrder = c.order
				w.add("a.example.com")
				if c.after == 0 {
					w.remove("a.example.com")
				}
				defer w.start(t)()
				pass(c.after)
				w.remove("a.example.com")
				synctest.Wait()
				if w.e.count().running != 0 {
					t.Error("its order was not cancelled")
				}
				pass(100 * day)
				if n := len(w.e.began("a.example.com")); n != c.want {
					t.Errorf("%d orders in 100 days, want %d", n, c.want)
				}
				if m, _ := w.remember(); len(m) != 0 {
					t.Errorf("still remembered: %v", m)
				}
				w.scheduler.mu.Lock()
				defer w.scheduler.mu.Unlock()
				if len(w.tasks)+w.waiting.Len()+len(w.ending)+w.running != 0 {
					t.Errorf("left over: %d tasks, %d waiting, %d ending, %d running", len(w.tasks), w.waiting.Len(), len(w.ending), w.running)
				}
			})
		})
	}
}

// An order takes a while to end after it was cancelled. A host that is back before
// waits for that: two orders at a time would answer each other's challenges.
func TestAHostThatLeavesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, false)
		w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
			c, err := issue(ctx, host, cur)
			if err != nil {
				time.Sleep(time.Minute)
			}
			return c, err
		}
		w.add("a.example.com")
		defer w.start(t)()
		pass(time.Second)
		for range 3 {
			w.remove("a.example.com")
			w.add("a.example.com")
			pass(time.Second)
		}
		if n := len(w.e.began("a.example.com")); n != 1 {
			t.Errorf("%d orders began before the first one ended", n)
		}
		pass(2 * time.Minute)
		if w.cert("a.example.com") == nil || len(w.e.began("a.example.com")) != 2 {
			t.Errorf("certificate %v after orders at %v", w.cert("a.example.com"), w.e.began("a.example.com"))
		}
	})
}

var errDisk = errors.New("input/output error")

// A panic below costs one attempt of one host.
func TestPanics(t *testing.T) {
	for _, c := range []struct {
		why  string
		set  func(e *fakeEngine)
		want func(w *world) string
	}{
		{"in a read", func(e *fakeEngine) {
			e.onStored = func(_ context.Context, host string) (*certificate, error) {
				if host == "bad.example.com" {
					panic("read " + host)
				}
				return nil, fs.ErrNotExist
			}
		}, func(w *world) string {
			if bad := w.task("bad.example.com"); bad.lookFailed < 10 || !strings.Contains(bad.lastError, "read bad") {
				return fmt.Sprintf("it is not read again: %+v", bad)
			}
			return ""
		}},
		{"in an order", func(e *fakeEngine) {
			e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
				if host == "bad.example.com" {
					panic(errDisk)
				}
				return issue(ctx, host, cur)
			}
		}, func(w *world) string {
			if bad := w.task("bad.example.com"); bad.failures < 5 || !strings.Contains(bad.lastError, errDisk.Error()) {
				return fmt.Sprintf("it is not ordered again: %+v", bad)
			}
			return ""
		}},
		{"in a question when to renew", func(e *fakeEngine) {
			e.onWindow = func(context.Context, *certificate) (window, error) {
				var w *window
				return *w, nil
			}
		}, func(w *world) string {
			bad := w.task("bad.example.com")
			if n := len(w.e.began("bad.example.com")); n != 1 || bad.failures != 0 || bad.askFailed < 3 || bad.lastError != "" {
				return fmt.Sprintf("it was ordered %d times: %+v", n, bad)
			}
			return ""
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, true)
				c.set(w.e)
				w.add("bad.example.com")
				w.add(names("good", 20)...)
				defer w.start(t)()
				pass(day)
				for _, host := range names("good", 20) {
					if w.cert(host) == nil {
						t.Errorf("%s has no certificate", host)
					}
				}
				if text := c.want(w); text != "" {
					t.Error(text)
				}
				if n := strings.Count(w.said(), "level=ERROR"); n == 0 {
					t.Error("nobody is told of the panic")
				}
			})
		})
	}
}

// The program ends when all jobs have, and what was cancelled is nobody's failure.
func TestTheEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, false)
		w.e.onOrder = hang
		w.add(names("h", 5)...)
		stop := w.start(t)
		pass(time.Minute)
		stop()
		if w.e.count().running != 0 || len(w.e.count().sequence) != 2 {
			t.Errorf("%d orders run on, of %d", w.e.count().running, len(w.e.count().sequence))
		}
		if m, changed := w.remember(); changed || len(m) != 0 || w.failed.Load() != 0 {
			t.Errorf("failures: %v, %d", m, w.failed.Load())
		}
	})
}

// The lanes' shares add up: whatever the slots, each lane gets one at least, those
// who never failed leave one to those who did, and these half to the others.
func TestShares(t *testing.T) {
	for slots := 1; slots <= maxSlots; slots++ {
		for l := range laneCount {
			if n := l.share(slots); n < 1 || n > slots {
				t.Errorf("%d slots: lane %d may hold %d", slots, l, n)
			}
		}
		if n := laneAgain.share(slots); slots > 1 && n > slots/2 {
			t.Errorf("%d slots: those who failed may hold %d", slots, n)
		}
		for _, l := range []lane{laneRenew, laneFresh} {
			if n := l.share(slots); slots > 1 && n == slots {
				t.Errorf("%d slots: lane %d may hold all", slots, l)
			}
		}
	}
	if got := slices.Collect(func(yield func(int) bool) {
		for l := range laneCount {
			if !yield(l.share(16)) {
				return
			}
		}
	}); !slices.Equal(got[1:], []int{4, 14, 4, 14, 8, 2}) {
		t.Errorf("shares of 16 slots: %v", got)
	}
}
