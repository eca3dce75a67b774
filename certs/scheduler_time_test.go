package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const host = "mta-sts.example.com"

func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		why   string
		order func(context.Context, string, *certificate) (*certificate, error)
	}{
		{"a host that fails is not put off by a year", refuse},
		{"nor is the question when to renew", issue},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, true)
				w.e.onOrder = c.order
				w.e.onWindow = func(context.Context, *certificate) (window, error) { return window{}, nil }
				w.add(host)
				defer w.start(t)()
				pass(2 * day)
				w.setClock(-365 * day)
				before := len(w.e.count().sequence) + w.e.count().asks
				pass(maxNap + maxAsk + time.Minute)
				if after := len(w.e.count().sequence) + w.e.count().asks; after <= before {
					t.Errorf("nothing was done for a day: %+v", w.task(host))
				}
				if !strings.Contains(w.said(), "the clock was set") {
					t.Error("nobody is told")
				}
			})
		})
	}
}

// With a clock that is a year fast the certificates look expired, the new ones too.
// The CA must not pay for that, and nothing is lost.
func TestClockSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		w.add(host)
		defer w.start(t)()
		pass(day)
		w.setClock(365 * day)
		pass(maxNap + 10*time.Second)
		if n := len(w.e.began(host)); n != 2 {
			t.Errorf("%d orders, want one of a certificate that looks expired", n-1)
		}
		pass(2 * day)
		if n := len(w.e.began(host)); n > 2+12 {
			t.Errorf("%d orders in two days", n-1)
		}
		if bad := w.task(host); !strings.Contains(bad.lastError, "is this clock right?") {
			t.Errorf("nobody is told: %+v", bad)
		}
		w.setClock(0)
		pass(maxNap + maxRetry + time.Minute)
		if good := w.task(host); good.failures != 0 || good.lastError != "" || w.cert(host).expired(time.Now()) {
			t.Errorf("still failing: %+v", good)
		}
	})
}

// Of all the certificates that look expired then, a few are ordered to find out. When the
// clock is set right, none is.
func TestClockSetForwardWithManyHosts(t *testing.T) {
	for _, c := range []struct {
		why   string
		order func(context.Context, string, *certificate) (*certificate, error)
		most  int // orders while it is wrong
	}{
		{"the CA issues by its own clock", issue, 40},
		{"the CA's own certificate looks expired", func(context.Context, string, *certificate) (*certificate, error) {
			return nil, fmt.Errorf("asking the CA: %w", x509.CertificateInvalidError{Reason: x509.Expired})
		}, 40},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 16, false)
				w.add(names("h", 500)...)
				defer w.start(t)()
				pass(day)
				at := len(w.e.count().sequence)
				w.e.set(c.order)
				w.setClock(365 * day)
				pass(6 * time.Hour)
				if n := len(w.e.count().sequence) - at; n == 0 || n > c.most {
					t.Errorf("%d orders while the clock is wrong, want 1 to %d", n, c.most)
				}
				at = len(w.e.count().sequence)
				w.e.set(nil)
				w.setClock(0)
				pass(day)
				if n := len(w.e.count().sequence) - at; n != 0 {
					t.Errorf("%d orders when it is right again", n)
				}
				for _, host := range names("h", 500) {
					if task := w.task(host); task.failures != 0 || task.lastError != "" {
						t.Fatalf("%s: %+v", host, task)
					}
				}
			})
		})
	}
}

// A machine that slept for half a year renews all it has, after a first one.
func TestClockSetForwardRightly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		w.add(names("h", 500)...)
		defer w.start(t)()
		pass(day)
		at := len(w.e.count().sequence)
		w.e.set(func(ctx context.Context, _ string, _ *certificate) (*certificate, error) {
			if err := pause(ctx, 5*time.Second); err != nil {
				return nil, err
			}
			c := valid(90 * day)
			c.from, c.until = c.from+moment(180*day), c.until+moment(180*day)
			return c, nil
		})
		w.setClock(180 * day)
		pass(maxNap + time.Hour)
		if n := len(w.e.count().sequence) - at; n != 500 {
			t.Errorf("%d orders, want all 500", n)
		}
	})
}

// While nothing can be stored nothing is ordered; then everything is, at once.
func TestNothingIsOrderedThatCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16, false)
		var well atomic.Bool
		w.storable = well.Load
		w.add(names("h", 20)...)
		defer w.start(t)()
		pass(day)
		if n := len(w.e.count().sequence); n != 0 {
			t.Errorf("%d orders", n)
		}
		well.Store(true)
		pass(holdOrders + time.Minute)
		if n := len(w.e.count().sequence); n != 20 {
			t.Errorf("%d orders, want one of each host", n)
		}
	})
}

// A clock that NTP pulls a little is not worth a word.
func TestClockSlewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		w.add(host)
		defer w.start(t)()
		for i := range 100 {
			w.setClock(time.Duration(i%2) * (maxDrift - time.Second))
			pass(maxNap)
		}
		if text := w.said(); strings.Contains(text, "the clock was set") {
			t.Error(text)
		}
	})
}

func TestRenewalInformation(t *testing.T) {
	after := func(from, to time.Duration) func(*certificate) (window, error) {
		return func(c *certificate) (window, error) {
			return window{start: c.notBefore().Add(from), end: c.notBefore().Add(to), why: "https://ca.example/\n\x1b[2Jwhy"}, nil
		}
	}
	for _, c := range []struct {
		why      string
		window   func(*certificate) (window, error)
		from, to time.Duration // the second order, after the first
		asks     [2]int        // in the first ten days, from and to
	}{
		{"it moves the renewal to before our own time", after(20*day, 22*day), 20 * day, 22 * day, [2]int{33, 41}},
		{"and to after it", after(65*day, 66*day), 65 * day, 66 * day, [2]int{33, 41}},
		{"but not into the last sixth", after(80*day, 85*day), 75 * day, 75*day + 10*time.Second, [2]int{33, 41}},
		{"a window in the past is now", after(-2*day, -day), time.Hour, 6*time.Hour + 10*time.Second, [2]int{33, 241}},
		{"a CA that does not answer costs nothing but questions", func(*certificate) (window, error) { return window{}, errRefused }, 56*day + 6*time.Hour, 60*day + 10*time.Second, [2]int{33, 50}},
		{"one that knows no answer is asked once", func(*certificate) (window, error) { return window{}, errors.ErrUnsupported }, 56*day + 6*time.Hour, 60*day + 10*time.Second, [2]int{1, 1}},
		{"Retry-After is kept", func(*certificate) (window, error) {
			return window{again: time.Now().Add(time.Hour)}, nil
		}, 56*day + 6*time.Hour, 60*day + 10*time.Second, [2]int{195, 240}},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, true)
				w.e.onWindow = func(_ context.Context, cur *certificate) (window, error) { return c.window(cur) }
				w.add(host)
				defer w.start(t)()
				pass(10 * day)
				if n := w.e.count().asks; n < c.asks[0] || n > c.asks[1] {
					t.Errorf("%d questions in ten days, want %d to %d", n, c.asks[0], c.asks[1])
				}
				pass(70 * day)
				at := w.e.began(host)
				if len(at) < 2 {
					t.Fatal("not renewed")
				}
				if got := at[1].Sub(at[0]); got < c.from || got > c.to {
					t.Errorf("renewed after %v, want %v to %v", got, c.from, c.to)
				}
				if text := w.said(); strings.Contains(text, "\x1b") || strings.Contains(text, `\x1b`) {
					t.Errorf("the CA writes to our terminal: %q", text)
				}
			})
		})
	}
}

func TestRenewalInformationIsNotAskedForUnlessWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		w.add(host)
		defer w.start(t)()
		pass(100 * day)
		if w.e.count().asks != 0 || len(w.e.count().sequence) != 2 {
			t.Errorf("%d questions, %d orders", w.e.count().asks, len(w.e.count().sequence))
		}
	})
}

// Whatever CA, disk and luck do, no host is ordered more than twice in any hour:
// Let's Encrypt allows five failed validations per host and hour.
func TestNeverMoreThanTwoOrdersInAnyHour(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { twoOrdersAnHour(t, seed) })
		})
	}
}

func twoOrdersAnHour(t *testing.T, seed uint64) {
	w := newWorld(t, 8, true)
	r := rand.New(rand.NewPCG(seed, 0)) // for all: the engine's mutex guards it
	draw := func(n int) int {
		w.e.mu.Lock()
		defer w.e.mu.Unlock()
		return r.IntN(n)
	}
	w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
		switch draw(8) {
		case 0:
			return refuse(ctx, host, cur)
		case 1:
			return hang(ctx, host, cur)
		case 2:
			panic("order")
		case 3:
			return aged(90*day, 80*day), nil
		case 4:
			return valid(90 * day), errDisk
		case 5:
			return nil, nil
		}
		return issue(ctx, host, cur)
	}
	w.e.onWindow = func(ctx context.Context, cur *certificate) (window, error) {
		switch draw(8) {
		case 0:
			return window{}, errRefused
		case 1:
			panic("window")
		case 2:
			return window{start: cur.notBefore(), end: cur.notAfter()}, nil
		case 3:
			return window{end: time.Now().Add(-day)}, nil
		}
		return window{start: time.Now().Add(-2 * day), end: time.Now().Add(-day), again: time.Now()}, nil
	}
	w.add(names("h", 20)...)
	defer w.start(t)()
	pass(20 * day)
	for host := range w.hosts {
		at := w.e.began(host)
		if len(at) < 20 {
			t.Errorf("%s: only %d orders, this shows nothing", host, len(at))
		}
		for i := 2; i < len(at); i++ {
			if gap := at[i].Sub(at[i-2]); gap < time.Hour {
				t.Errorf("%s: three orders within %v, the last at %v", host, gap, at[i])
			}
		}
	}
	if w.e.count().most > 8 {
		t.Errorf("%d jobs at a time on 8 slots", w.e.count().most)
	}
}

// A new certificate is served, whatever is wrong with it or with the disk.
func TestANewCertificateIsServed(t *testing.T) {
	for _, c := range []struct {
		why   string
		order func() (*certificate, error)
		err   string // of the last attempt
	}{
		{"that was not stored", func() (*certificate, error) { return valid(90 * day), errDisk }, errDisk.Error()},
		{"that is to be renewed already", func() (*certificate, error) { return aged(90*day, 61*day), nil }, "is this clock right?"},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.e.onOrder = func(context.Context, string, *certificate) (*certificate, error) { return c.order() }
				w.add(host)
				defer w.start(t)()
				pass(time.Minute)
				if w.cert(host) == nil {
					t.Error("it is not")
				}
				if got := w.task(host); !strings.Contains(got.lastError, c.err) || len(w.e.count().sequence) != 1 {
					t.Errorf("%d orders, %+v", len(w.e.count().sequence), got)
				}
			})
		})
	}
}

// While the disk cannot be read nobody knows whether a certificate is needed.
func TestADiskThatCannotBeReadIsNoReasonToOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		var repaired atomic.Bool
		w.e.onStored = func(context.Context, string) (*certificate, error) {
			if !repaired.Load() {
				return nil, errDisk
			}
			return valid(90 * day), nil
		}
		w.add(host)
		defer w.start(t)()
		pass(day)
		if got := w.task(host); len(w.e.count().sequence) != 0 || got.lastError != errDisk.Error() || !w.hosts[host].looked.Load() {
			t.Errorf("%d orders, %+v", len(w.e.count().sequence), got)
		}
		repaired.Store(true)
		pass(lookWait(9) + time.Second)
		if got := w.task(host); w.cert(host) == nil || got.lastError != "" {
			t.Errorf("not read again: %+v", got)
		}
	})
}
