package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// secondAttempt is by when a host that failed once was tried again.
const secondAttempt = 7 * time.Minute

// Whatever the CA does, who has a certificate is served, who has none is told of in the
// CA's words, and gets one when the CA is well again.
func TestACMETrouble(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		begin  func(p *pebbleCA)
		end    func(p *pebbleCA)
		words  string // of the error that the status tells
		orders int    // that come to the gate until all is well
	}{
		{"refuses connections", (*pebbleCA).down, (*pebbleCA).up, "connection refused", 2},
		{"answers 500", breakBy(faultStatus(http.StatusInternalServerError)), mended, "500", 2},
		{"limits the rate", breakBy(faultRateLimit), mended, "too many new orders (300) from this account in the last 3h0m0s", 3},
		{"hangs up", breakBy(faultHangUp), mended, "EOF", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachACMESource(t, func(t *testing.T, source certs.Source) {
				d := acmeDomains(2)
				served, waits := d[0], d[1]
				s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, served)
				leaf := s.mustFetch(served, p.roots())

				test.begin(p)
				s.publish(served, waits)
				h := s.waitFailing(waits, test.words)
				if wait := h.NextAttempt.Sub(s.options.Now()); h.Failures != 1 || wait > secondAttempt {
					t.Errorf("next attempt in %s: %+v", wait, h)
				}
				if sum := s.manager.Summary(); sum.Ready != 1 || sum.Failing != 1 || sum.Pending != 0 {
					t.Errorf("want one host ready and one failing: %+v", sum)
				}
				s.refuses(mtasts.PolicyHost(waits))
				if now := s.mustFetch(served, p.roots()); !now.Equal(leaf) {
					t.Error("another certificate is served")
				}

				test.end(p)
				s.advance(secondAttempt)
				s.waitOK(served, waits)
				s.mustFetch(waits, p.roots())
				if h := s.status(waits); h.Failures != 0 || h.LastError != "" {
					t.Errorf("the failure is not forgotten: %+v", h)
				}
				if n := len(p.gate.ordered()); n != test.orders {
					t.Errorf("%d orders, want %d", n, test.orders)
				}
			})
		})
	}
}

func breakBy(fault acmeFault) func(p *pebbleCA) { return func(p *pebbleCA) { p.gate.set(fault) } }

func mended(p *pebbleCA) { p.gate.set(nil) }

// A CA that tells one host after the other that there were too many orders is left in
// peace until some of its budget must be back.
func TestACMERateLimitOfAccount(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(4)
		s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, d[0])
		p.gate.set(faultRateLimit)
		s.publish(d...)
		for _, domain := range d[1:] {
			s.waitFailing(domain, "too many new orders (300)")
		}
		p.gate.set(nil)

		s.advance(secondAttempt)
		acmePoll(t, "orders are due and held back", func() error {
			if sum := s.manager.Summary(); sum.Waiting != len(d)-1 || !sum.ETA.After(s.options.Now()) {
				return fmt.Errorf("%+v", sum)
			}
			return nil
		})
		if n := len(p.gate.ordered()); n != len(d) {
			t.Errorf("%d orders came to the CA, want one for each host", n)
		}
		s.mustFetch(d[0], p.roots())

		s.advance(20 * time.Minute) // a tenth is kept for renewals: 30 of 300 in three hours
		s.waitOK(d...)
		s.mustFetch(d[3], p.roots())
	})
}

// A CA that does not answer keeps nobody from being served, and nobody from stopping.
func TestACMEHangs(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(3)
		s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, d[0])
		slow := newACMEHang()
		p.gate.set(slow.everything)
		s.publish(d[:2]...)
		slow.wait(t, slow.held, "the CA is asked")
		if h := s.status(d[1]); h.State != certs.StatePending {
			t.Errorf("want pending while the order is under way: %+v", h)
		}
		s.mustFetch(d[0], p.roots())
		s.refuses(mtasts.PolicyHost(d[1]))
		slow.release()
		s.waitOK(d[:2]...)

		dead := newACMEHang()
		p.gate.set(dead.everything)
		s.publish(d...)
		dead.wait(t, dead.held, "the CA is asked")
		s.stop()
		dead.wait(t, dead.gone, "the order is given up")
	})
}

// Hosts that fail, at once or only after a long time, do not stop others.
func TestACMEHostFailsAlone(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(6)
		broken, stuck, good := d[0], d[1], d[2:]
		p := newPebble(t, pebbleOptions{})
		s := newACMESite(t, certs.Options{Source: source, CAs: []certs.CA{acmeAccount(p)}})
		p.connect(s.ports())
		mend := testDNS(t).breakHost(mtasts.PolicyHost(broken))
		hang := newACMEHang()
		p.gate.set(hang.orders(mtasts.PolicyHost(stuck)))
		s.publish(d...)
		s.run()

		s.waitOK(good...)
		for _, domain := range good {
			s.mustFetch(domain, p.roots())
		}
		s.waitFailing(broken, "resolve URL")
		hang.wait(t, hang.held, "the order that gets stuck is under way")
		if sum := s.manager.Summary(); sum.Ready != len(good) || sum.Failing != 1 || sum.Pending != 1 {
			t.Errorf("want %d hosts ready, one failing, one pending: %+v", len(good), sum)
		}

		mend()
		hang.release()
		s.advance(secondAttempt)
		s.waitOK(d...)
		s.mustFetch(broken, p.roots())
		s.mustFetch(stuck, p.roots())
		for _, domain := range good {
			if n := len(p.gate.orderedFor(mtasts.PolicyHost(domain))); n != 1 {
				t.Errorf("%d orders for %s", n, domain)
			}
		}
	})
}

// A CA that takes a good nonce for a bad one, as RFC 8555 §6.5 allows, costs nobody his
// certificate.
func TestACMEBadNonce(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		domains := acmeDomains(2)
		p := newPebble(t, pebbleOptions{})
		s := newACMESite(t, certs.Options{Source: source, CAs: []certs.CA{acmeAccount(p)}})
		p.connect(s.ports())
		var mu sync.Mutex
		rejected := map[string]bool{}
		p.gate.set(func(w http.ResponseWriter, _ *http.Request, order *acmeOrder) bool {
			mu.Lock()
			defer mu.Unlock()
			if order == nil || rejected[order.hosts[0]] {
				return false
			}
			rejected[order.hosts[0]] = true
			w.Header().Set("Replay-Nonce", p.nonce())
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:badNonce","detail":"expired","status":400}`)
			return true
		})
		s.publish(domains...)
		s.run()
		s.waitOK(domains...)
		for _, domain := range domains {
			s.mustFetch(domain, p.roots())
			if n := len(p.gate.orderedFor(mtasts.PolicyHost(domain))); n != 2 {
				t.Errorf("%d orders for %s, want the first one and its repetition", n, domain)
			}
		}
	})
}
