package intake_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/policyserve"
)

const postHost = "reports.example.net"

// postWorld is a server that takes reports, and what it took.
type postWorld struct {
	*intake.Post
	https, plain string
	roots        *x509.CertPool

	mu  sync.Mutex
	got []reports.Arrival
}

// startPost serves reports over TLS, and without for a proxy, until the end of the test.
// What arrives is kept, if o does not say who keeps it. behind, if not nil, comes before
// the handler.
func startPost(t testing.TB, o intake.PostOptions, s policyserve.Options, behind func(http.Handler) http.Handler) *postWorld {
	t.Helper()
	w := &postWorld{roots: x509.NewCertPool()}
	if o.Deliver == nil {
		o.Deliver = w.keep
	}
	if o.Client == nil {
		o.Client = policyserve.Client
	}
	var err error
	if w.Post, err = intake.NewPost(o); err != nil {
		t.Fatal(err)
	}
	var h http.Handler = w.Post
	if behind != nil {
		h = behind(h)
	}
	cert := postCertificate(t)
	w.roots.AddCert(cert.Leaf)
	s.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	s.Hosts = map[string]http.Handler{postHost: h}
	s.TrustedProxies = append(s.TrustedProxies, netip.MustParsePrefix("127.0.0.2/32"))
	server, err := policyserve.New(s)
	if err != nil {
		t.Fatal(err)
	}
	table, err := policyserve.NewTable([]policyserve.Publication{{Domain: "example.com", Body: []byte("policy"), State: policyserve.Current}})
	if err != nil {
		t.Fatal(err)
	}
	server.Publish(table)
	done := make(chan error, 2)
	serve := func(f func(net.Listener) error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- f(l) }()
		return l.Addr().String()
	}
	w.https, w.plain = serve(server.ServeTLS), serve(server.ServePlain)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("serving: %v", err)
			}
		}
	})
	return w
}

func (w *postWorld) keep(_ context.Context, a *reports.Arrival) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := *a
	kept.Data = append([]byte(nil), a.Data...)
	w.got = append(w.got, kept)
	return nil
}

// last takes what arrived last; nil: nothing.
func (w *postWorld) last() *reports.Arrival {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.got) == 0 {
		return nil
	}
	a := w.got[len(w.got)-1]
	w.got = nil
	return &a
}

func postCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{postHost, "mta-sts.example.com"}, IsCA: true, BasicConstraintsValid: true,
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

// dial opens a connection with TLS.
func (w *postWorld) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: postHost, RootCAs: w.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// say sends a request in its bytes, and returns the answer, which may come before the end.
func say(t testing.TB, c net.Conn, request string) (*http.Response, string) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, request) }()
	return hear(t, c)
}

func hear(t testing.TB, c net.Conn) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if brokenOff := errors.Is(err, io.ErrUnexpectedEOF); err != nil && !brokenOff || brokenOff != (res.StatusCode == 503) {
		t.Errorf("%s with the end %v", res.Status, err)
	}
	return res, string(b)
}

// client speaks one of the two protocols.
func (w *postWorld) client(t testing.TB, proto int) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(proto == 1)
	protocols.SetHTTP2(proto == 2)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.roots}, Protocols: &protocols,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.https)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// gathered is the value of a metric whose labels have these values, in their order.
func gathered(t testing.TB, w *postWorld, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.Post)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && slices.EqualFunc(m.Label, labels, func(l *dto.LabelPair, s string) bool { return l.GetValue() == s }) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s %q", name, labels)
	return 0
}
