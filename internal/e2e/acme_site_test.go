package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
	"mtasts-server/policyserve"
)

const (
	// acmePollFor is how long anything is waited for. What takes long on a busy machine
	// is waited for a little longer; nothing depends on it being short.
	acmePollFor = 45 * time.Second

	acmePollEvery = 10 * time.Millisecond
)

// acmePoll waits until check returns no error.
func acmePoll(t testing.TB, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(acmePollFor); time.Now().Before(deadline); time.Sleep(acmePollEvery) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("waited in vain until %s: %v", what, err)
}

// acmeSources are the sources that ask a CA.
var acmeSources = []certs.Source{certs.SourceCertmagic, certs.SourceAutocert}

// eachACMESource runs test for each of them.
func eachACMESource(t *testing.T, test func(t *testing.T, source certs.Source)) {
	t.Helper()
	for _, source := range acmeSources {
		t.Run(string(source), func(t *testing.T) {
			t.Parallel()
			test(t, source)
		})
	}
}

// acmeAccount is what a site has to know of a CA.
func acmeAccount(p *pebbleCA) certs.CA {
	return certs.CA{Directory: p.directory(), Email: "hostmaster@example.net", Roots: p.httpsRoots()}
}

// acmeSite is a policy server with its certificates, put together as the program does
// it. Its clock can be set forward, to the time of a renewal or of a second attempt.
type acmeSite struct {
	t       testing.TB
	options certs.Options
	manager *certs.Manager
	server  *policyserve.Server
	https   net.Listener
	http    net.Listener
	ahead   atomic.Int64 // of the real time
	domains []string
	log     syncBuffer

	cancel context.CancelFunc // ends Run; nil before run
	ended  chan error         // what Run returned
	served sync.WaitGroup
	once   sync.Once
}

// newACMESite opens a site's listeners; it asks no CA before run.
func newACMESite(t testing.TB, o certs.Options) *acmeSite {
	t.Helper()
	s := &acmeSite{t: t, https: listenLoopback(t), http: listenLoopback(t), ended: make(chan error, 1)}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if len(o.Preflight.Resolvers) == 0 {
		o.Preflight.Resolvers = []string{testDNS(t).addr}
	}
	o.HTTPPort, o.TLSPort = s.ports()
	o.Now = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	o.Log = slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.options = o
	var err error
	if s.manager, err = certs.New(o); err != nil {
		t.Fatal(err)
	}
	s.server, err = policyserve.New(policyserve.Options{
		GetCertificate: s.manager.GetCertificate, NextProtos: s.manager.NextProtos(), Log: o.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.serve(func() error { return s.server.ServeTLS(s.https) })
	s.serve(func() error { return s.server.ServeRedirect(s.http, s.manager.HTTPHandler) })
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of the site:\n%s", s.log.String())
		}
	})
	return s
}

func listenLoopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *acmeSite) serve(f func() error) {
	s.served.Go(func() {
		if err := f(); err != nil {
			s.t.Errorf("a listener ended: %v", err)
		}
	})
}

// ports are those on which the CA finds the site.
func (s *acmeSite) ports() (http, https int) {
	return s.http.Addr().(*net.TCPAddr).Port, s.https.Addr().(*net.TCPAddr).Port
}

// run lets the site ask for certificates.
func (s *acmeSite) run() {
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	go func() { s.ended <- s.manager.Run(ctx) }()
}

// stop ends everything, as SIGTERM does.
func (s *acmeSite) stop() {
	s.once.Do(func() {
		if s.cancel != nil {
			s.cancel()
			if err := <-s.ended; err != nil {
				s.t.Errorf("Run: %v", err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), acmePollFor)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			s.t.Errorf("Shutdown: %v", err)
		}
		s.served.Wait()
	})
}

// publish makes domains all that is served.
func (s *acmeSite) publish(domains ...string) {
	s.t.Helper()
	ps := make([]policyserve.Publication, len(domains))
	for i, domain := range domains {
		ps[i] = policyserve.Publication{Domain: domain, Body: acmePolicy(domain), State: policyserve.Current}
	}
	table, err := policyserve.NewTable(ps)
	if err != nil {
		s.t.Fatal(err)
	}
	s.server.Publish(table)
	s.manager.Manage(table.Hosts())
	s.domains = domains
}

// acmePolicy is the policy of domain: no two have the same.
func acmePolicy(domain string) []byte {
	return fmt.Appendf(nil, "version: STSv1\r\nmode: enforce\r\nmx: mx.%s\r\nmax_age: 604800\r\n", domain)
}

// advance sets the site's clock forward, which it notices at the latest when it is told
// of its hosts.
func (s *acmeSite) advance(d time.Duration) {
	s.t.Helper()
	s.ahead.Add(int64(d))
	s.publish(s.domains...)
}

// status tells of one domain's host.
func (s *acmeSite) status(domain string) certs.HostStatus {
	all := s.manager.Status()
	i := slices.IndexFunc(all, func(h certs.HostStatus) bool { return h.Host == mtasts.PolicyHost(domain) })
	if i < 0 {
		return certs.HostStatus{}
	}
	return all[i]
}

// waitOK waits until domains have certificates, and what is next for them is planned.
func (s *acmeSite) waitOK(domains ...string) {
	s.t.Helper()
	acmePoll(s.t, "there are certificates", func() error {
		for _, domain := range domains {
			if h := s.status(domain); h.State != certs.StateOK || h.NextAttempt.IsZero() {
				return fmt.Errorf("%s: %+v", domain, h)
			}
		}
		return nil
	})
}

// waitFailing waits until an attempt for domain has failed for a reason that contains
// words, and the next one is planned.
func (s *acmeSite) waitFailing(domain, words string) certs.HostStatus {
	s.t.Helper()
	var h certs.HostStatus
	acmePoll(s.t, fmt.Sprintf("%s fails by %q", domain, words), func() error {
		h = s.status(domain)
		if h.State != certs.StateFailing || h.Failures == 0 || h.NextAttempt.IsZero() || !strings.Contains(h.LastError, words) {
			return fmt.Errorf("%+v", h)
		}
		return nil
	})
	return h
}

// fetch gets the policy of domain as a sender does, and returns the certificate.
func (s *acmeSite) fetch(domain string, roots *x509.CertPool) (*x509.Certificate, error) {
	return fetchPolicy(s.https.Addr().String(), domain, roots, acmePolicy(domain))
}

// fetchPolicy gets the policy of domain from the server at addr, and checks it.
func fetchPolicy(addr, domain string, roots *x509.CertPool, want []byte) (*x509.Certificate, error) {
	client := &http.Client{
		Timeout: acmePollFor,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			DisableKeepAlives: true,
		},
	}
	res, err := client.Get("https://" + mtasts.PolicyHost(domain) + mtasts.WellKnownPath)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, errors.New(res.Status)
	case !bytes.Equal(body, want):
		return nil, fmt.Errorf("the policy is %q, not %q", body, want)
	}
	return res.TLS.PeerCertificates[0], nil
}

// mustFetch is fetch where it has to work. The certificate must be for the host alone.
func (s *acmeSite) mustFetch(domain string, roots *x509.CertPool) *x509.Certificate {
	s.t.Helper()
	leaf, err := s.fetch(domain, roots)
	if err != nil {
		s.t.Fatal(err)
	}
	if want := []string{mtasts.PolicyHost(domain)}; !slices.Equal(leaf.DNSNames, want) {
		s.t.Fatalf("the certificate is for %q, not for %q", leaf.DNSNames, want)
	}
	return leaf
}

// handshakeError is how a handshake for serverName ends, nil where it works.
func (s *acmeSite) handshakeError(serverName string, protos ...string) error {
	conn, err := tls.Dial("tcp", s.https.Addr().String(), &tls.Config{
		ServerName: serverName, InsecureSkipVerify: true, NextProtos: protos,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	return nil
}

// refuses fails the test unless a handshake for serverName ends with unrecognized_name.
func (s *acmeSite) refuses(serverName string) {
	s.t.Helper()
	if err := s.handshakeError(serverName); err == nil || !strings.Contains(err.Error(), "remote error: tls: unrecognized name") {
		s.t.Errorf("server name %q: want unrecognized_name, got %v", serverName, err)
	}
}

// refusesChallenge fails the test unless a CA's handshake for serverName, of which no
// challenge is under way, ends with unrecognized_name, or, where TLS-ALPN-01 is switched
// off, with no_application_protocol.
func (s *acmeSite) refusesChallenge(serverName string) {
	s.t.Helper()
	err := s.handshakeError(serverName, "acme-tls/1")
	want := "remote error: tls: unrecognized name"
	if _, ours := s.server.Table().Lookup(serverName); ours && s.options.DisableTLSALPN01 {
		want = "remote error: tls: no application protocol"
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("challenge of %q: want %s, got %v", serverName, want, err)
	}
}
