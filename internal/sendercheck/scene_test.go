package sendercheck_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/internal/sendercheck/sendertest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a domain in a world of its own, example.com, and all is well with it until a
// test changes that.
type scene struct {
	*sendertest.World
	t testing.TB

	host, mx   netip.Addr // where they are
	policy     string
	policyLeaf sendertest.Leaf
	policyTLS  *tls.Config  // nil: one with policyLeaf
	handler    http.Handler // nil: one that serves policy
	mxLeaf     sendertest.Leaf
	mail       *sendertest.MXHost
	absent     []string // names without records
	zone       []string // records beside the usual
	options    sendercheck.Options
	want       *sendercheck.Want
	noHost     bool // nothing listens at host
	noMail     bool // nor at mx
}

const good = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmax_age: 1209600\r\n"

func newScene(t testing.TB) *scene {
	w, err := sendertest.Start()
	check(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &scene{
		World: w, t: t, host: w.Address(), mx: w.Address(), policy: good,
		policyLeaf: sendertest.Leaf{Names: []string{"mta-sts.example.com"}},
		mxLeaf:     sendertest.Leaf{Names: []string{"mx1.example.com"}},
		mail:       new(sendertest.MXHost),
		options: sendercheck.Options{
			Resolver: lookup.New([]string{w.Resolver}, nil), Roots: w.Pool(), HTTPSPort: w.HTTPSPort, SMTPPort: w.SMTPPort,
			AllowPrivate: true, Hello: "checker.example.net", HTTPTimeout: time.Minute, SMTPTimeout: time.Minute,
		},
	}
}

// issue makes a TLS configuration with a certificate.
func (s *scene) issue(l sendertest.Leaf) *tls.Config {
	cert, err := s.Issue(l)
	check(s.t, err)
	return sendertest.Server(cert)
}

// at adds a policy host at another address, with the usual certificate.
func (s *scene) at(addr netip.Addr, handler http.Handler) {
	check(s.t, s.PolicyHost(addr, s.issue(s.policyLeaf), handler))
}

// look starts all servers and looks.
func (s *scene) look() *sendercheck.Report {
	return s.checker().Check(s.t.Context(), "example.com", s.want)
}

func (s *scene) checker() *sendercheck.Checker {
	usual := map[string]string{
		"mx":     "example.com. IN MX 10 mx1.example.com.",
		"mx1":    "mx1.example.com. IN A " + s.mx.String(),
		"host":   "mta-sts.example.com. IN A " + s.host.String(),
		"txt":    `_mta-sts.example.com. IN TXT "v=STSv1; id=1;"`,
		"tlsrpt": `_smtp._tls.example.com. IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@example.com"`,
		"tlsa":   `_25._tcp.mx1.example.com. IN TXT "there is no TLSA"`,
	}
	for name, line := range usual {
		if !slices.Contains(s.absent, name) {
			check(s.t, s.Publish(line))
		}
	}
	check(s.t, s.Publish(s.zone...))
	if !s.noHost {
		if s.policyTLS == nil {
			s.policyTLS = s.issue(s.policyLeaf)
		}
		if s.handler == nil {
			s.handler = sendertest.Text(s.policy)
		}
		check(s.t, s.PolicyHost(s.host, s.policyTLS, s.handler))
	}
	if !s.noMail {
		if s.mail.TLS == nil {
			s.mail.TLS = s.issue(s.mxLeaf)
		}
		check(s.t, s.MXHost(s.mx, s.mail))
	}
	c, err := sendercheck.New(s.options)
	check(s.t, err)
	return c
}

// answers is a policy host that gives an answer of any kind.
func answers(status int, header map[string]string, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	})
}

// raw is a policy host that says something that need not be HTTP.
func raw(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprint(conn, text)
		_ = conn.Close()
	})
}

func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("there is none")
}
