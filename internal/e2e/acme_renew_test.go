package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// renewalValidity is short enough to wait for a renewal, after two thirds of it, and long
// enough for a busy machine to renew in the third that is left.
const renewalValidity = 20 * time.Second

// fetchOnAndOn fetches the policy of domain again and again until the returned function
// is called. None of these fetches may fail.
func fetchOnAndOn(s *acmeSite, domain string, roots *x509.CertPool) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * acmePollEvery):
			}
			if _, err := s.fetch(domain, roots); err != nil {
				s.t.Errorf("a sender could not fetch: %v", err)
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// waitRenewed waits until another certificate than old is served.
func (s *acmeSite) waitRenewed(domain string, roots *x509.CertPool, old *x509.Certificate) *x509.Certificate {
	s.t.Helper()
	var leaf *x509.Certificate
	acmePoll(s.t, "the certificate is renewed", func() (err error) {
		if leaf, err = s.fetch(domain, roots); err == nil && leaf.SerialNumber.Cmp(old.SerialNumber) == 0 {
			err = fmt.Errorf("serial %x still, valid until %s", leaf.SerialNumber, leaf.NotAfter)
		}
		return err
	})
	return leaf
}

// renewal is a site whose certificate is about to be renewed.
type renewal struct {
	*acmeSite
	ca     *pebbleCA
	domain string
	old    *x509.Certificate
}

func startRenewal(t *testing.T, source certs.Source) *renewal {
	t.Helper()
	domain := acmeDomains(1)[0]
	s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{validity: renewalValidity}, domain)
	r := &renewal{s, p, domain, s.mustFetch(domain, p.roots())}
	t.Cleanup(fetchOnAndOn(s, domain, p.roots()))
	return r
}

// All wait for their renewals together, which takes what one of them takes.
func TestACMERenewal(t *testing.T) {
	t.Parallel()
	var well, ill []*renewal
	for _, source := range acmeSources {
		well = append(well, startRenewal(t, source))
		ill = append(ill, startRenewal(t, source))
	}
	for _, r := range ill {
		r.ca.down()
	}
	for _, r := range ill {
		r.checkFailing()
		r.ca.up()
	}
	for _, r := range slices.Concat(ill, well) {
		leaf := r.waitRenewed(r.domain, r.ca.roots(), r.old)
		if at := r.old.NotBefore.Add(renewalValidity / 2); !leaf.NotBefore.After(at) || !leaf.NotBefore.Before(r.old.NotAfter) {
			t.Errorf("%s: renewed at %s, want from %s to %s", r.options.Source, leaf.NotBefore, at, r.old.NotAfter)
		}
		if bytes.Equal(leaf.RawSubjectPublicKeyInfo, r.old.RawSubjectPublicKeyInfo) {
			t.Errorf("%s: the new certificate has the key of the old one", r.options.Source)
		}
		r.waitOK(r.domain)
		checkReplaces(t, r.options.Source, r.ca.gate.orderedFor(mtasts.PolicyHost(r.domain)), r.old)
	}
}

// A CA that knows nothing of the certificate to be replaced gives another all the same.
func TestACMEReplacesRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"alreadyReplaced", "malformed", "serverInternal"} {
		r := startRenewal(t, certs.SourceCertmagic)
		r.ca.gate.set(func(w http.ResponseWriter, _ *http.Request, order *acmeOrder) bool {
			if order == nil || order.replaces == "" {
				return false
			}
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprintf(w, `{"type":"urn:ietf:params:acme:error:%s","detail":"could not find an order for the given certificate"}`, kind)
			return true
		})
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r.waitRenewed(r.domain, r.ca.roots(), r.old)
			orders := r.ca.gate.orderedFor(mtasts.PolicyHost(r.domain))
			if last := orders[len(orders)-1]; last.replaces != "" {
				t.Errorf("the last order replaces %q", last.replaces)
			}
		})
	}
}

// checkFailing waits until the renewal has failed, as the CA is down. That takes nothing
// away from senders, and there is another attempt while the certificate is good.
func (r *renewal) checkFailing() {
	r.t.Helper()
	h := r.waitFailing(r.domain, "connection refused")
	if !h.NotAfter.Equal(r.old.NotAfter) || !h.NextAttempt.Before(r.old.NotAfter) {
		r.t.Errorf("the next attempt does not come before the certificate expires: %+v", h)
	}
	if sum := r.manager.Summary(); sum.Ready != 1 || sum.Failing != 1 {
		r.t.Errorf("want one host both ready and failing: %+v", sum)
	}
	if leaf := r.mustFetch(r.domain, r.ca.roots()); !leaf.Equal(r.old) {
		r.t.Error("another certificate is served while the CA is down")
	}
}

// checkReplaces checks that the second of two orders names old, the certificate that came
// of the first, as far as the source can.
func checkReplaces(t *testing.T, source certs.Source, orders []acmeOrder, old *x509.Certificate) {
	t.Helper()
	want := ""
	if source == certs.SourceCertmagic {
		want = fmt.Sprintf("%x.%s", old.AuthorityKeyId, old.SerialNumber)
	}
	if len(orders) != 2 {
		t.Fatalf("%d orders, want two", len(orders))
	}
	if first := orders[0].replaces; first != "" {
		t.Errorf("the first order replaces %q", first)
	}
	if got := decodeCertID(orders[1].replaces); got != want {
		t.Errorf("the second order replaces %q, want %q", got, want)
	}
}

// decodeCertID makes the name of a certificate (RFC 9773 §4.1) readable.
func decodeCertID(id string) string {
	aki, serial, ok := strings.Cut(id, ".")
	if !ok {
		return id
	}
	a, err1 := base64.RawURLEncoding.DecodeString(aki)
	n, err2 := base64.RawURLEncoding.DecodeString(serial)
	if errors.Join(err1, err2) != nil {
		return id
	}
	return fmt.Sprintf("%x.%s", a, new(big.Int).SetBytes(n))
}

// askWindow is by when the CA was asked about a new certificate.
const askWindow = 6*time.Hour + time.Minute

func TestACMERenewalInfo(t *testing.T) {
	t.Parallel()
	d := acmeDomains(2)
	early, other := d[0], d[1]
	s, p := startACME(t, certs.Options{Source: certs.SourceCertmagic, ARI: true}, pebbleOptions{}, early, other)
	old, kept := s.mustFetch(early, p.roots()), s.mustFetch(other, p.roots())
	defer fetchOnAndOn(s, early, p.roots())()
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	p.setRenewalInfo(old, `{"suggestedWindow":{"start":"`+at(-2*time.Hour)+`","end":"`+at(-time.Hour)+`"},`+
		`"explanationURL":"https://ca.example/incident"}`)

	s.advance(askWindow)
	s.waitRenewed(early, p.roots(), old)
	s.waitOK(early, other)
	checkReplaces(t, certs.SourceCertmagic, p.gate.orderedFor(mtasts.PolicyHost(early)), old)
	if leaf := s.mustFetch(other, p.roots()); !leaf.Equal(kept) {
		t.Error("the other host's certificate was renewed too")
	}
	if !strings.Contains(s.log.String(), "https://ca.example/incident") {
		t.Error("the CA's explanation is not in the log")
	}

	// Asked again, the CA is content, and nothing more is ordered.
	asked := p.gate.count("/renewalInfo/")
	s.advance(24 * time.Hour)
	acmePoll(t, "the CA is asked about both", func() error {
		if n := p.gate.count("/renewalInfo/"); n < asked+2 {
			return fmt.Errorf("%d questions, %d before", n, asked)
		}
		return nil
	})
	s.waitOK(early, other)
	if n := len(p.gate.ordered()); n != 3 {
		t.Errorf("%d orders, want three", n)
	}
}

// Without renewal information all goes by the lifetime.
func TestACMERenewalInfoFails(t *testing.T) {
	t.Parallel()
	domain := acmeDomains(1)[0]
	s, p := startACME(t, certs.Options{Source: certs.SourceCertmagic, ARI: true}, pebbleOptions{}, domain)
	old := s.mustFetch(domain, p.roots())
	planned := s.status(domain).NextAttempt
	p.gate.set(func(w http.ResponseWriter, r *http.Request, order *acmeOrder) bool {
		return strings.Contains(r.URL.Path, "/renewalInfo/") && faultStatus(http.StatusServiceUnavailable)(w, r, order)
	})
	asked := p.gate.count("/renewalInfo/")
	s.advance(askWindow)
	acmePoll(t, "the CA is asked", func() error {
		if p.gate.count("/renewalInfo/") == asked {
			return errors.New("no question")
		}
		return nil
	})
	s.waitOK(domain)
	if h := s.status(domain); !h.NextAttempt.Equal(planned) || h.LastError != "" {
		t.Errorf("want the renewal at %s still, and no error: %+v", planned, h)
	}
	if leaf := s.mustFetch(domain, p.roots()); !leaf.Equal(old) || len(p.gate.ordered()) != 1 {
		t.Error("the certificate was renewed")
	}
}
