package policyserve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mtasts-server/policyserve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bodyCom = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n"
	bodyOrg = "version: STSv1\r\nmode: testing\r\nmx: mx.example.org\r\nmax_age: 86400\r\n"
)

// table serves example.com as configured and example.org as it was.
func table(t testing.TB) *policyserve.Table {
	t.Helper()
	table, err := policyserve.NewTable([]policyserve.Publication{
		{Domain: "example.com", Body: []byte(bodyCom), State: policyserve.Current},
		{Domain: "example.org", Body: []byte(bodyOrg), State: policyserve.Kept},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// world is a server that listens, and what its clients need to know.
type world struct {
	*policyserve.Server
	https, plain, http string
	roots              *x509.CertPool
}

// start serves table on three listeners until the end of the test.
func start(t testing.TB, o policyserve.Options) *world {
	t.Helper()
	w := &world{roots: x509.NewCertPool()}
	if o.GetCertificate == nil {
		cert := selfSigned(t, "mta-sts.example.com", "mta-sts.example.org")
		w.roots.AddCert(cert.Leaf)
		o.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if o.TrustedProxies == nil {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	s, err := policyserve.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = s
	s.Publish(table(t))
	done := make(chan error, 3)
	serve := func(f func(net.Listener) error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- f(l) }()
		return l.Addr().String()
	}
	w.https = serve(s.ServeTLS)
	w.plain = serve(s.ServePlain)
	w.http = serve(func(l net.Listener) error { return s.ServeRedirect(l, nil) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Errorf("serving: %v", err)
			}
		}
	})
	return w
}

func selfSigned(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (w *world) clientTLS(sni string, protos ...string) *tls.Config {
	return &tls.Config{ServerName: sni, RootCAs: w.roots, NextProtos: protos}
}

// client is an HTTP client whose every connection goes to the TLS listener.
func (w *world) client(t testing.TB, protocols *http.Protocols) *http.Client {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.roots}, Protocols: protocols,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.https)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// raw sends request over conn and returns all that comes back.
func raw(t testing.TB, conn net.Conn, request string) string {
	t.Helper()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

func (w *world) dialTLS(t testing.TB, sni string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", w.https, w.clientTLS(sni, "http/1.1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// parse reads one raw response.
func parse(t testing.TB, method, s string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return res, body.String()
}
