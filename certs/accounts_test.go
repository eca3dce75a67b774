package certs

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newWorldOfTwo has two CAs, of which each issues, and grants so many orders in three
// hours. asked tells which were asked for each host, in their order.
func newWorldOfTwo(t *testing.T, first, second int) (w *world, asked func() map[string]string) {
	w = newWorld(t, 16, true)
	w.accounts = []account{{name: "first", pace: newPace(first, pacePer)}, {name: "second", pace: newPace(second, pacePer)}}
	var mu sync.Mutex
	seen := map[string]string{}
	w.e.onOrderFrom = func(ctx context.Context, host string, cur *certificate, a int) (*certificate, error) {
		mu.Lock()
		seen[host] += fmt.Sprint(a)
		mu.Unlock()
		if w.e.onOrder != nil {
			if c, err := w.e.onOrder(ctx, host, cur); c != nil || err != nil {
				return c, err
			}
		}
		c, err := issue(ctx, host, cur)
		if c != nil {
			c.issuer = w.accounts[a].name
		}
		return c, err
	}
	return w, func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(seen)
	}
}

// A new host goes to the first CA that has budget, and each CA's is kept.
func TestNewHostsGoWhereThereIsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorldOfTwo(t, 20, 50)
		w.add(names("h", 300)...)
		defer w.start(t)()
		pass(5 * time.Minute)
		count := func() (n [2]int) {
			for _, accounts := range asked() {
				n[accounts[0]-'0']++
			}
			return n
		}
		if n := count(); n[0] < 18 || n[0] > 19 || n[1] < 45 || n[1] > 47 { // a tenth is for renewals
			t.Errorf("%v of budgets of 20 and 50", n)
		}
		_, eta := w.queue(w.time())
		pass(9 * time.Hour)
		if n := count(); n[0] > 20+60 || n[1] > 50+150 || n[0]+n[1] < 18+45+209 {
			t.Errorf("%v after nine hours more", n)
		}
		pass(eta.Sub(w.time()) + time.Minute)
		if n := count(); n[0]+n[1] < 298 { // half an order here and half there are none
			t.Errorf("%v when the last was to have begun", n)
		}
		for host, accounts := range asked() {
			if len(accounts) != 1 {
				t.Errorf("%s: ordered from %s", host, accounts)
			}
		}
	})
}

// A renewal goes to who issued the certificate, where it is exempt from the limits,
// and to the other CA only when that one fails.
func TestRenewalsStayWithTheirCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorldOfTwo(t, 1, 100)
		var mu sync.Mutex
		failing := ""
		w.e.onOrder = func(_ context.Context, host string, cur *certificate) (*certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if seen := asked()[host]; cur != nil && failing != "" && strings.HasSuffix(seen, failing) {
				return nil, errRefused
			}
			return nil, nil
		}
		w.e.onWindow = func(_ context.Context, c *certificate) (window, error) {
			return window{start: c.notBefore().Add(30 * day), end: c.notBefore().Add(31 * day)}, nil
		}
		w.add(names("h", 21)...)
		defer w.start(t)()
		pass(day)
		first := asked()
		pass(33 * day)
		for host, accounts := range asked() {
			if accounts != first[host]+first[host] {
				t.Errorf("%s: ordered from %s", host, accounts)
			}
		}
		second := asked()
		mu.Lock()
		failing = "1"
		mu.Unlock()
		pass(33 * day)
		moved := 0
		for host, accounts := range asked() {
			last := strings.TrimPrefix(accounts, second[host])
			switch first[host] {
			case "0":
				if last != "0" {
					t.Errorf("%s: renewed by %s", host, last)
				}
			case "1":
				// The other CA has one order in three hours.
				if !strings.HasPrefix(last, "1") {
					t.Errorf("%s: renewed by %s", host, last)
				}
				if strings.HasSuffix(last, "10") {
					moved++
				}
			}
		}
		if moved != 20 {
			t.Errorf("%d of 20 moved to the CA that works", moved)
		}
	})
}

// Where one CA limits the rate, its own budget is what is empty.
func TestRateLimitOfOneCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := newWorldOfTwo(t, 300, 300)
		w.e.onOrder = func(_ context.Context, host string, _ *certificate) (*certificate, error) {
			if strings.HasSuffix(asked()[host], "0") {
				return nil, retryAfter{fmt.Errorf("%w: too many", errRateLimited), 2 * time.Hour}
			}
			return nil, nil
		}
		defer w.start(t)()
		for i := range 20 {
			w.add(fmt.Sprintf("h%d.example.com", i))
			pass(time.Minute)
		}
		limited := 0
		for _, accounts := range asked() {
			limited += strings.Count(accounts, "0")
		}
		if limited != limitedInARow || len(asked()) != 20 {
			t.Errorf("the CA that takes no orders had %d of them: %v", limited, asked())
		}
		for host := range w.hosts {
			if w.cert(host) == nil {
				t.Errorf("%s has no certificate: %+v", host, w.task(host))
			}
		}
		if first := w.budget()[0].pace; first.wait(w.time(), 0) < 90*time.Minute {
			t.Errorf("the CA said two hours: %v", first.wait(w.time(), 0))
		}
	})
}

// A host that is told to come back later does so, within a day.
func TestRetryAfterOfAHost(t *testing.T) {
	for said, want := range map[time.Duration]time.Duration{time.Minute: 5 * time.Minute, 2 * time.Hour: 2 * time.Hour, 1000 * time.Hour: maxHostRetryAfter} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, false)
			w.e.onOrder = func(context.Context, string, *certificate) (*certificate, error) {
				return nil, retryAfter{fmt.Errorf("%w: too many", errRateLimited), said}
			}
			w.add(host)
			defer w.start(t)()
			pass(time.Minute)
			got := w.task(host)
			if wait := got.retryAt.time().Sub(got.lastAttempt.time()); wait < want || wait > want*6/5 {
				t.Errorf("the CA said %v: tried again after %v", said, wait)
			}
		})
	}
}
