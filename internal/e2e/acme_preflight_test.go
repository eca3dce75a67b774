package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// waitHeld waits until no order is made for domain, for a reason that contains words.
func (s *acmeSite) waitHeld(domain, words string) {
	s.t.Helper()
	acmePoll(s.t, fmt.Sprintf("%s is held back by %q", domain, words), func() error {
		h := s.status(domain)
		if !h.Held || h.State != certs.StateFailing || h.Failures != 0 || h.NextAttempt.IsZero() || !strings.Contains(h.LastError, words) {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
}

// secondLook is by when a host that was held back once is looked at again.
const secondLook = 2 * time.Minute

// A host for which an order would be in vain costs the CA nothing, and gets its
// certificate minutes after the mistake in DNS was corrected.
func TestACMEPreflight(t *testing.T) {
	t.Parallel()
	const identity = "ca.example.net"
	for _, test := range []struct {
		name  string
		ours  []netip.Prefix
		begin func(dns testDNSServer, domain, host string)
		end   func(dns testDNSServer, domain, host string)
		words string
	}{
		{
			name:  "no address",
			begin: func(dns testDNSServer, _, host string) { dns.AddDNSARecord(host, []string{"none"}) },
			end:   func(dns testDNSServer, _, host string) { dns.DeleteDNSARecord(host) },
			words: "has no address in DNS: publish a CNAME, or A and AAAA, that leads to this server",
		},
		{
			name:  "somewhere else",
			ours:  []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
			begin: func(dns testDNSServer, _, host string) { dns.AddDNSARecord(host, []string{"192.0.2.1"}) },
			end:   func(dns testDNSServer, _, host string) { dns.DeleteDNSARecord(host) },
			words: "leads to 192.0.2.1, which is not this server",
		},
		{
			name: "CAA of the policy domain",
			begin: func(dns testDNSServer, domain, _ string) {
				dns.AddDNSCAARecord(domain, []challtestsrv.CAAPolicy{{Tag: "issue", Value: "other.example"}})
			},
			end: func(dns testDNSServer, domain, _ string) {
				dns.AddDNSCAARecord(domain, []challtestsrv.CAAPolicy{{Tag: "issue", Value: identity + "; validationmethods=http-01,tls-alpn-01"}})
			},
			words: `allows only "other.example": add issue "` + identity + `"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachACMESource(t, func(t *testing.T, source certs.Source) {
				d := acmeDomains(2)
				wrong, good := d[0], d[1]
				host := mtasts.PolicyHost(wrong)
				dns := testDNS(t)
				test.begin(dns, wrong, host)
				s, p := startACME(t, certs.Options{
					Source: source, Preflight: certs.Preflight{Addresses: test.ours},
				}, pebbleOptions{identities: []string{identity}}, good)
				s.publish(d...)
				s.waitHeld(wrong, test.words)
				s.refuses(host)
				if orders := p.gate.orderedFor(host); len(orders) != 0 {
					t.Errorf("%d orders in vain", len(orders))
				}

				test.end(dns, wrong, host)
				// DNS is asked again when what it said has become old.
				acmePoll(t, "the host is found", func() error {
					s.advance(secondLook)
					if h := s.status(wrong); h.Held {
						return fmt.Errorf("%+v", h)
					}
					return nil
				})
				s.waitOK(d...)
				s.mustFetch(wrong, p.roots())
				if orders := p.gate.orderedFor(host); len(orders) != 1 {
					t.Errorf("%d orders", len(orders))
				}
			})
		})
	}
}

// Where CAA forbids the first CA, the second one is asked, and the first is left alone.
func TestACMEPreflightOfTwoCAs(t *testing.T) {
	t.Parallel()
	domain := acmeDomains(1)[0]
	a, b := newPebble(t, pebbleOptions{identities: []string{"a.example"}}), newPebble(t, pebbleOptions{identities: []string{"b.example"}})
	s := newACMESite(t, certs.Options{Source: certs.SourceCertmagic, CAs: []certs.CA{acmeAccount(a), acmeAccount(b)}})
	a.connect(s.ports())
	b.connect(s.ports())
	testDNS(t).AddDNSCAARecord(mtasts.PolicyHost(domain), []challtestsrv.CAAPolicy{{Tag: "issue", Value: "b.example"}})
	s.publish(domain)
	s.run()
	s.waitOK(domain)
	s.mustFetch(domain, b.roots())
	if n := len(a.gate.ordered()); n != 0 {
		t.Errorf("%d orders came to the CA that may not issue", n)
	}
}

// Each CA has its own budget: when that of the first is spent, the second is asked.
func TestACMEBudgets(t *testing.T) {
	t.Parallel()
	d := acmeDomains(3)
	a, b := newPebble(t, pebbleOptions{}), newPebble(t, pebbleOptions{})
	first, second := acmeAccount(a), acmeAccount(b)
	first.Orders, second.Orders = 1, 1
	o := certs.Options{Source: certs.SourceCertmagic, CAs: []certs.CA{first, second}, Dir: t.TempDir()}
	s := newACMESite(t, o)
	a.connect(s.ports())
	b.connect(s.ports())
	s.publish(d...)
	s.run()
	acmePoll(t, "the budgets are spent", func() error {
		if sum := s.manager.Summary(); sum.Ready != 2 || sum.Waiting != 1 || sum.ETA.IsZero() {
			return fmt.Errorf("%+v", sum)
		}
		return nil
	})
	s.stop()
	if x, y := len(a.gate.ordered()), len(b.gate.ordered()); x != 1 || y != 1 {
		t.Errorf("%d and %d orders, of budgets of one each", x, y)
	}

	// A restart spends nothing that is not there.
	again := newACMESite(t, o)
	again.publish(d...)
	again.run()
	acmePoll(t, "one waits", func() error {
		if sum := again.manager.Summary(); sum.Ready != 2 || sum.Waiting != 1 {
			return fmt.Errorf("%+v", sum)
		}
		return nil
	})
	if x, y := len(a.gate.ordered()), len(b.gate.ordered()); x+y != 2 {
		t.Errorf("%d and %d orders after a restart", x, y)
	}
}

// A host that the CA tells to come back later does so. certmagic does not say when.
func TestACMERetryAfter(t *testing.T) {
	t.Parallel()
	domain := acmeDomains(1)[0]
	p := newPebble(t, pebbleOptions{})
	s := newACMESite(t, certs.Options{Source: certs.SourceAutocert, CAs: []certs.CA{acmeAccount(p)}})
	p.connect(s.ports())
	p.gate.set(rateLimit(time.Hour))
	s.publish(domain)
	s.run()
	h := s.waitFailing(domain, "too many new orders")
	if wait := h.NextAttempt.Sub(s.options.Now()); wait < 50*time.Minute {
		t.Errorf("the CA said an hour, and the next order comes in %s", wait)
	}
}
