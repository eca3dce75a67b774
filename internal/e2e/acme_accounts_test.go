package e2e_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// twoCAs is a site that has a CA to fall back to, and domains.
func twoCAs(t *testing.T, first pebbleOptions, domains ...string) (s *acmeSite, a, b *pebbleCA) {
	t.Helper()
	a, b = newPebble(t, first), newPebble(t, pebbleOptions{})
	s = newACMESite(t, certs.Options{
		Source: certs.SourceCertmagic, ARI: true, CAs: []certs.CA{acmeAccount(a), acmeAccount(b)},
	})
	a.connect(s.ports())
	b.connect(s.ports())
	s.publish(domains...)
	return s, a, b
}

func TestACMEFallback(t *testing.T) {
	t.Parallel()
	domain, blocked := acmeDomains(1)[0], acmeDomains(1)[0]
	for _, test := range []struct {
		name, domain string
		first        pebbleOptions
		begin        func(p *pebbleCA)
		words        string
	}{
		{"first refuses connections", domain, pebbleOptions{}, (*pebbleCA).down, "connection refused"},
		{"first refuses the domain", blocked, pebbleOptions{blocked: []string{blocked}}, mended, "rejectedIdentifier"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, a, b := twoCAs(t, test.first, test.domain)
			test.begin(a)
			s.run()
			s.waitOK(test.domain)
			s.mustFetch(test.domain, b.roots())
			if _, err := s.fetch(test.domain, a.roots()); !isUnknownAuthority(err) {
				t.Errorf("want a certificate that is not of the first CA: %v", err)
			}
			if h := s.status(test.domain); !strings.HasPrefix(h.Issuer, b.addr) {
				t.Errorf("want the second CA at %s as the issuer: %+v", b.addr, h)
			}

			// Where both fail, both are told of.
			b.gate.set(faultRateLimit)
			other := acmeDomains(1)[0]
			if test.domain == blocked {
				other = "sub." + blocked
			}
			s.publish(test.domain, other)
			s.waitFailing(other, test.words)
			s.waitFailing(other, "too many new orders")
		})
	}
}

func isUnknownAuthority(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// A renewal that moves to the other CA does not tell it of a certificate that it does
// not know: it would refuse the order (RFC 9773 §5).
func TestACMEFallbackRenewal(t *testing.T) {
	t.Parallel()
	domain := acmeDomains(1)[0]
	s, a, b := twoCAs(t, pebbleOptions{}, domain)
	s.run()
	s.waitOK(domain)
	old := s.mustFetch(domain, a.roots())
	a.setRenewalInfo(old, `{"suggestedWindow":{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}}`)
	a.gate.set(func(w http.ResponseWriter, r *http.Request, order *acmeOrder) bool {
		return order != nil && faultStatus(http.StatusServiceUnavailable)(w, r, order)
	})
	s.advance(askWindow)
	s.waitRenewed(domain, certPool(a, b), old)
	s.waitOK(domain)
	s.mustFetch(domain, b.roots())
	for _, order := range b.gate.orderedFor(mtasts.PolicyHost(domain)) {
		if order.replaces != "" {
			t.Errorf("the second CA was told of %q", order.replaces)
		}
	}
}

// certPool has the roots of all of cas.
func certPool(cas ...*pebbleCA) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, p := range cas {
		pool.AddCert(p.ca.GetRootCert(0).Cert)
	}
	return pool
}

// eabKey is the MAC key of an account at the CA.
const eabKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wE"

func TestACMEExternalAccountBinding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, id, key string
		words         string // of the CA's refusal; "" where it agrees
	}{
		{"bound", "kid-1", eabKey, ""},
		{"bound by a padded key", "kid-1", eabKey + "=", ""},
		{"not bound", "", "", "externalAccountBinding"},
		{"wrong key", "kid-1", strings.ToUpper(eabKey), "external account binding JWS verification error"},
		{"unknown key", "kid-2", eabKey, "references a key that is not known"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachACMESource(t, func(t *testing.T, source certs.Source) {
				domain := acmeDomains(1)[0]
				p := newPebble(t, pebbleOptions{eabKeys: map[string]string{"kid-1": eabKey}})
				ca := acmeAccount(p)
				ca.EABKeyID, ca.EABMACKey = test.id, test.key
				s := newACMESite(t, certs.Options{Source: source, CAs: []certs.CA{ca}})
				p.connect(s.ports())
				s.publish(domain)
				s.run()
				if test.words != "" {
					s.waitFailing(domain, test.words)
					return
				}
				s.waitOK(domain)
				s.mustFetch(domain, p.roots())
			})
		})
	}
}

func TestACMEProfile(t *testing.T) {
	t.Parallel()
	const sixDays = 6 * 24 * time.Hour
	for _, test := range []struct {
		profile string
		words   string // why it fails; "" where it works
	}{
		{"shortlived", ""},
		{"unheard-of", "unknown profile name 'unheard-of'; supported profiles: map[default: shortlived:]"},
	} {
		t.Run(test.profile, func(t *testing.T) {
			t.Parallel()
			domain := acmeDomains(1)[0]
			p := newPebble(t, pebbleOptions{shortlived: sixDays})
			ca := acmeAccount(p)
			ca.Profile = test.profile
			s := newACMESite(t, certs.Options{Source: certs.SourceCertmagic, CAs: []certs.CA{ca}})
			p.connect(s.ports())
			s.publish(domain)
			s.run()
			if test.words != "" {
				s.waitFailing(domain, test.words)
				return
			}
			s.waitOK(domain)
			leaf := s.mustFetch(domain, p.roots())
			if life := leaf.NotAfter.Sub(leaf.NotBefore); life.Round(time.Minute) != sixDays {
				t.Errorf("the certificate is valid for %s", life)
			}
			if h := s.status(domain); h.NextAttempt.Sub(leaf.NotBefore) > sixDays*2/3 {
				t.Errorf("the renewal is planned for %s only", h.NextAttempt)
			}
			if order := p.gate.ordered()[0]; order.profile != test.profile {
				t.Errorf("profile %q was asked for", order.profile)
			}
		})
	}
}
