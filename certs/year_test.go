package certs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A year at a provider, under the limits that Let's Encrypt publishes, made smaller in
// proportion: a budget of 300 new orders in three hours for 100,000 hosts, which renew
// within their window for free; five failed validations for each host and hour. Five
// in a hundred hosts never point here, and new ones come every day. The first year is
// without preflight, to see what that saves.
//
// MTASTS_YEAR_HOSTS sets how many hosts there are; 100,000 take a quarter of an hour.
func TestYear(t *testing.T) {
	hosts := 100
	if s := os.Getenv("MTASTS_YEAR_HOSTS"); s != "" {
		var err error
		if hosts, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	var without *letsEncrypt
	t.Run("certificates of 90 days without preflight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { without = year(t, hosts, 90*day, false) })
	})
	for _, lifetime := range []time.Duration{90 * day, 64 * day, 45 * day} {
		t.Run(fmt.Sprintf("certificates of %d days", lifetime/day), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := year(t, hosts, lifetime, true)
				if without != nil { // else it was not asked for
					t.Logf("preflight saved %d orders in vain of %d, and %d failed validations of %d",
						without.vain-ca.vain, without.vain, without.validation-ca.validation, without.validation)
				}
				// A probe after a day, and in the end one a week.
				if hopeless := len(ca.broken); ca.vain > 56*hopeless || ca.validation != 2*ca.vain {
					t.Errorf("%d orders in vain and %d failed validations of %d hopeless hosts", ca.vain, ca.validation, hopeless)
				}
			})
		})
	}
}

// letsEncrypt is a CA that holds us to its limits.
type letsEncrypt struct {
	t        *testing.T
	lifetime time.Duration
	budget   pace

	mu         sync.Mutex
	broken     map[string]bool
	failures   map[string][]time.Time // of the last hour
	known      map[string]*certificate
	expired    map[string]bool
	orders     int
	renewals   int
	refused    int
	vain       int // orders for the broken
	looks      int // of preflight
	validation int // that failed
}

func (ca *letsEncrypt) order(ctx context.Context, host string, cur *certificate) (*certificate, error) {
	now := time.Now()
	ca.mu.Lock()
	if cur != nil && cur.expired(now) {
		ca.expired[host] = true
	}
	if cur == nil { // what names a certificate to replace, in its window, is exempt
		ca.orders++
		if ca.budget.wait(now, 0) > time.Second {
			ca.refused++
			ca.mu.Unlock()
			return nil, errRateLimited
		}
		ca.budget.take()
	} else {
		ca.renewals++
	}
	broken := ca.broken[host]
	if broken {
		ca.vain++
	}
	ca.mu.Unlock()
	if err := pause(ctx, time.Duration(2+rand.IntN(10))*time.Second); err != nil {
		return nil, err
	}
	if !broken {
		c := valid(ca.lifetime)
		ca.mu.Lock()
		defer ca.mu.Unlock()
		ca.known[host] = c
		return c, nil
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	now = time.Now()
	for range 2 { // http-01 and tls-alpn-01
		ca.validation++
		last := ca.failures[host]
		for len(last) > 0 && now.Sub(last[0]) > time.Hour {
			last = last[1:]
		}
		if last = append(last, now); len(last) > 5 {
			ca.t.Errorf("%s: %d failed validations within an hour", host, len(last))
		}
		ca.failures[host] = last
	}
	return nil, errRefused
}

func (ca *letsEncrypt) window(_ context.Context, c *certificate) (window, error) {
	// Let's Encrypt proposes two days around two thirds of the lifetime.
	middle := c.notBefore().Add(c.lifetime() * 2 / 3)
	return window{start: middle.Add(-day), end: middle.Add(day), again: time.Now().Add(day)}, nil
}

// look sees that the broken ones are not in DNS. One question in a thousand is not
// answered, and one answer in a thousand is wrong.
func (ca *letsEncrypt) look(ctx context.Context, host string) verdict {
	if err := pause(ctx, time.Duration(5+rand.IntN(200))*time.Millisecond); err != nil {
		return verdict{outcome: outcomeUnknown}
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.looks++
	switch rand.IntN(1000) {
	case 0:
		return verdict{outcome: outcomeUnknown}
	case 1:
		return verdict{outcome: outcomeNoAddress, finding: "a mistake"}
	}
	if ca.broken[host] {
		return verdict{outcome: outcomeNoAddress, finding: "it does not exist"}
	}
	return verdict{}
}

func year(t *testing.T, hosts int, lifetime time.Duration, preflight bool) *letsEncrypt {
	limit := max(1, hosts*300/100_000)
	ca := &letsEncrypt{
		t: t, lifetime: lifetime, budget: newPace(limit, pacePer),
		broken: map[string]bool{}, failures: map[string][]time.Time{}, known: map[string]*certificate{}, expired: map[string]bool{},
	}
	w := newWorld(t, 16, true)
	w.accounts[0].pace = newPace(limit, pacePer)
	w.e.onOrder, w.e.onWindow = ca.order, ca.window
	if preflight {
		w.preflight = ca.look
	}
	// The hosts come in the order in which a provider moves them over, and the first
	// day brings all.
	names := make([]string, hosts)
	for i := range names {
		names[i] = fmt.Sprintf("h%d.example", i)
		if i%20 == 0 {
			ca.broken[names[i]] = true
		}
	}
	began := time.Now()
	w.add(names...)
	stop := w.start(t)
	var slowest, allThere time.Duration
	for d := range 365 {
		host := fmt.Sprintf("late%d.example", d)
		w.add(host) // somebody signs up each day
		came := time.Now()
		for w.cert(host) == nil && time.Since(came) < 12*time.Hour {
			pass(10 * time.Minute)
		}
		if w.cert(host) == nil {
			t.Errorf("day %d: who signed up has no certificate after %v", d, time.Since(came))
		}
		slowest = max(slowest, time.Since(came))
		pass(time.Until(began.Add(time.Duration(d+1) * day)))
		if allThere == 0 && covered(w) >= hosts-hosts/20 {
			allThere = time.Since(began)
		}
	}
	have, good := covered(w), hosts-hosts/20+365
	stop()
	if have != good || len(ca.expired) > 0 || ca.refused > 0 {
		t.Errorf("%d of %d hosts are ready, %d expired, %d orders were refused", have, good, len(ca.expired), ca.refused)
	}
	if w.e.most > 16 {
		t.Errorf("%d jobs at a time", w.e.most)
	}
	t.Logf("%d hosts, %d of them hopeless, a budget of %d in 3 h\n"+
		"all others have a certificate after %.1f days; who signs up later, after %v at most\n"+
		"%d orders, %d of them in vain, %d renewals, %d failed validations, %d looks, %d polls, %d expired, %d orders refused",
		hosts+365, hosts/20, limit, allThere.Hours()/24, slowest, ca.orders, ca.vain, ca.renewals, ca.validation, ca.looks, w.e.asks, len(ca.expired), ca.refused)
	return ca
}

// covered counts the hosts with a certificate that has not expired.
func covered(w *world) int {
	n := 0
	for _, s := range w.hosts {
		if c := s.cert.Load(); c != nil && !c.expired(w.time()) {
			n++
		}
	}
	return n
}
