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
// in a hundred hosts never point here, and new ones come every day.
//
// MTASTS_YEAR_HOSTS sets how many hosts there are; 100,000 take a quarter of an hour.
func TestYear(t *testing.T) {
	hosts := 300
	if s := os.Getenv("MTASTS_YEAR_HOSTS"); s != "" {
		var err error
		if hosts, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, lifetime := range []time.Duration{90 * day, 64 * day, 45 * day} {
		t.Run(fmt.Sprintf("certificates of %d days", lifetime/day), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { year(t, hosts, lifetime) })
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
	middle := c.notBefore.Add(c.lifetime() * 2 / 3)
	return window{start: middle.Add(-day), end: middle.Add(day), again: time.Now().Add(day)}, nil
}

func year(t *testing.T, hosts int, lifetime time.Duration) {
	limit := max(1, hosts*300/100_000)
	ca := &letsEncrypt{
		t: t, lifetime: lifetime, budget: newPace(limit),
		broken: map[string]bool{}, failures: map[string][]time.Time{}, known: map[string]*certificate{}, expired: map[string]bool{},
	}
	w := newWorld(t, 16, true)
	w.pace = newPace(limit)
	w.e.onOrder, w.e.onWindow = ca.order, ca.window
	// The hosts come in the order in which a provider moves them over, and the first
	// day brings all.
	names := make([]string, hosts)
	for i := range names {
		names[i] = fmt.Sprintf("h%d.example", i)
		ca.broken[names[i]] = i%20 == 0
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
		"%d orders, %d renewals, %d failed validations, %d polls, %d expired, %d orders refused",
		hosts+365, hosts/20, limit, allThere.Hours()/24, slowest, ca.orders, ca.renewals, ca.validation, w.e.asks, len(ca.expired), ca.refused)
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
