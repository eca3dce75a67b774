package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mtasts-server/certs"
)

var hosts = []string{"mta-sts.example.com", "mta-sts.example.net", "mta-sts.xn--bcher-kva.example"}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told hands on what is logged: how a test waits for something to happen.
type told chan slog.Record

func (told) Enabled(context.Context, slog.Level) bool { return true }

func (c told) Handle(_ context.Context, r slog.Record) error {
	select {
	case c <- r:
	default: // nobody waits any more
	}
	return nil
}

func (c told) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c told) WithGroup(string) slog.Handler      { return c }

// wait returns the records up to the nth that has this message.
func (c told) wait(message string, n int) []slog.Record {
	var all []slog.Record
	for n > 0 {
		r := <-c
		all = append(all, r)
		if r.Message == message {
			n--
		}
	}
	return all
}

// local is a Manager with the local CA in dir.
func local(t *testing.T, dir string, now func() time.Time) (*certs.Manager, told) {
	t.Helper()
	log := make(told, 10_000)
	m, err := certs.New(certs.Options{Source: certs.SourceLocal, Dir: dir, Log: slog.New(log), Now: now})
	must(t, err)
	return m, log
}

// run runs m until end, which waits for its end.
func run(t *testing.T, m *certs.Manager) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// once runs m until all of n hosts have got a certificate.
func once(t *testing.T, m *certs.Manager, log told, n int) {
	t.Helper()
	end := run(t, m)
	log.wait("got a certificate", n)
	end()
}

// served is what m hands out for a host, nil for nothing.
func served(t testing.TB, m *certs.Manager, name string) *tls.Certificate {
	t.Helper()
	c, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	must(t, err)
	return c
}

func leaf(t testing.TB, c *tls.Certificate) *x509.Certificate {
	t.Helper()
	if c == nil {
		t.Fatal("no certificate")
	}
	cert, err := x509.ParseCertificate(c.Certificate[0])
	must(t, err)
	return cert
}

// dial makes a TLS connection to m, as a sender does, and returns what it saw.
func dial(t *testing.T, m *certs.Manager, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: m.GetCertificate, MinVersion: tls.VersionTLS12})
	must(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err == nil {
			_ = conn.(*tls.Conn).Handshake() // the client tells what came of it
			conn.Close()
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	conn := tls.Client(raw, client)
	err = conn.Handshake()
	raw.Close()
	<-done
	return conn.ConnectionState(), err
}

func localRoots(t *testing.T, m *certs.Manager) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(m.LocalRoot())
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("no certificate in %q", data)
	}
	if bytes.Contains(data, []byte("PRIVATE KEY")) {
		t.Error("the CA's key lies in the file for the public")
	}
	return pool
}

func TestLocal(t *testing.T) {
	defer noLeak(t)()
	m, log := local(t, filepath.Join(t.TempDir(), "state", "certs"), nil)
	m.Manage(hosts)
	for _, h := range m.Status() {
		if h.State != certs.StatePending || !h.NotAfter.IsZero() || h.Source != certs.SourceLocal {
			t.Errorf("before Run: %+v", h)
		}
	}
	end := run(t, m)
	log.wait("got a certificate", len(hosts))
	end()

	roots := localRoots(t, m)
	for _, host := range hosts {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			state, err := dial(t, m, &tls.Config{ServerName: host, RootCAs: roots, MaxVersion: version})
			if err != nil {
				t.Errorf("%s: %v", host, err)
				continue
			}
			if got := state.PeerCertificates[0].DNSNames; !slices.Equal(got, []string{host}) {
				t.Errorf("%s: the certificate is for %q", host, got)
			}
		}
		if c := served(t, m, host); leaf(t, c).IsCA {
			t.Errorf("%s: it may sign others", host)
		}
	}
	if served(t, m, hosts[0]).PrivateKey == served(t, m, hosts[1]).PrivateKey {
		t.Error("two hosts share a key")
	}
	sum := m.Summary()
	if sum.Hosts != 3 || sum.Ready != 3 || sum.Pending+sum.Failing != 0 || !sum.EarliestExpiry.After(time.Now()) {
		t.Errorf("%+v", sum)
	}
	for _, h := range m.Status() {
		if h.State != certs.StateOK || h.Issuer != "local" || h.LastError != "" || !h.NextAttempt.After(time.Now()) || !h.NextAttempt.Before(h.NotAfter) {
			t.Errorf("%+v", h)
		}
	}
	if err := m.Run(t.Context()); err == nil || err.Error() != "certificates: already running" {
		t.Errorf("a second Run: %v", err)
	}
}

// noLeak fails the test where goroutines are left of what comes after it.
func noLeak(t *testing.T) func() {
	already := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		// certmagic's lock files are refreshed by goroutines which see only
		// after some seconds that their file is gone.
		goleak.VerifyNone(t, already, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	}
}

func TestServerNames(t *testing.T) {
	m, log := local(t, t.TempDir(), nil)
	m.Manage(hosts)
	once(t, m, log, len(hosts))
	for _, c := range []struct {
		why, name string
		found     bool
	}{
		{"as configured", "mta-sts.example.com", true},
		{"upper case", "MTA-STS.EXAMPLE.COM", true},
		{"mixed case", "Mta-Sts.Example.Net", true},
		{"a final dot", "mta-sts.example.com.", true},
		{"an A-label in upper case", "MTA-STS.XN--BCHER-KVA.EXAMPLE", true},
		{"none", "", false},
		{"unknown", "mta-sts.example.org", false},
		{"a parent", "example.com", false},
		{"a child", "a.mta-sts.example.com", false},
		{"an address", "192.0.2.1", false},
		{"a path", "../../../etc/passwd", false},
		{"more than a name", strings.Repeat("a.", 10_000), false},
	} {
		if got := served(t, m, c.name); (got != nil) != c.found {
			t.Errorf("%s: %q gives %v", c.why, c.name, got)
		}
	}

	roots := localRoots(t, m)
	if _, err := dial(t, m, &tls.Config{ServerName: "MTA-STS.Example.COM", RootCAs: roots}); err != nil {
		t.Errorf("upper case in a handshake: %v", err)
	}
	for why, client := range map[string]*tls.Config{
		"unknown": {ServerName: "mta-sts.example.org", RootCAs: roots},
		"no name": {InsecureSkipVerify: true},
	} {
		if _, err := dial(t, m, client); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s in a handshake: %v, want the alert unrecognized_name", why, err)
		}
	}
}

// A restart serves from the disk at once, and orders nothing.
func TestRestartServesFromDisk(t *testing.T) {
	dir := t.TempDir()
	m, log := local(t, dir, nil)
	m.Manage(hosts)
	once(t, m, log, len(hosts))
	before := map[string][]byte{}
	for _, host := range hosts {
		before[host] = served(t, m, host).Certificate[0]
	}

	m, log = local(t, dir, nil)
	m.Manage(append(slices.Clone(hosts), "mta-sts.example.org"))
	for _, host := range hosts {
		if c := served(t, m, host); c == nil || !bytes.Equal(c.Certificate[0], before[host]) {
			t.Errorf("%s: not the certificate from before the restart", host)
		}
	}
	end := run(t, m)
	for _, r := range log.wait("got a certificate", 1) {
		r.Attrs(func(a slog.Attr) bool {
			if r.Message == "got a certificate" && a.Key == "host" && a.Value.String() != "mta-sts.example.org" {
				t.Errorf("ordered again: %v", a.Value)
			}
			return true
		})
	}
	end()
	for _, host := range hosts {
		if c := served(t, m, host); !bytes.Equal(c.Certificate[0], before[host]) {
			t.Errorf("%s: replaced by the restart", host)
		}
	}
	if _, err := dial(t, m, &tls.Config{ServerName: hosts[0], RootCAs: localRoots(t, m)}); err != nil {
		t.Error(err)
	}
}

func TestManage(t *testing.T) {
	m, log := local(t, t.TempDir(), nil)
	m.Manage(hosts[:2])
	end := run(t, m)
	defer end()
	log.wait("got a certificate", 2)
	kept := served(t, m, hosts[1])

	m.Manage(hosts[1:])
	if served(t, m, hosts[0]) != nil {
		t.Error("a host that left is served")
	}
	if served(t, m, hosts[1]) != kept {
		t.Error("a host that stayed has another certificate")
	}
	log.wait("got a certificate", 1)
	if served(t, m, hosts[2]) == nil {
		t.Error("a host that came has none")
	}

	m.Manage([]string{hosts[0], "Mta-Sts.example.com", "../x.example.com", hosts[0], ""})
	log.wait("no certificate: this is not a host name in its normal form", 3)
	if served(t, m, hosts[0]) == nil {
		t.Error("a host that came back is not served from the disk")
	}
	if all := m.Status(); len(all) != 1 || all[0].Host != hosts[0] {
		t.Errorf("%+v", all)
	}
	m.Manage(nil)
	if sum := m.Summary(); sum != (certs.Summary{}) || served(t, m, hosts[0]) != nil {
		t.Errorf("nobody is left, but %+v", sum)
	}
}

func TestLocalRenewal(t *testing.T) {
	dir := t.TempDir()
	var fast atomic.Int64 // by how much the clock is
	now := func() time.Time { return time.Now().Add(time.Duration(fast.Load())) }
	m, log := local(t, dir, now)
	m.Manage(hosts[:1])
	once(t, m, log, 1)
	before := leaf(t, served(t, m, hosts[0]))

	fast.Store(int64(5 * 24 * time.Hour))
	m, log = local(t, dir, now)
	m.Manage(hosts[:1])
	if got := leaf(t, served(t, m, hosts[0])); !got.Equal(before) {
		t.Error("the old one is good until there is a new one")
	}
	once(t, m, log, 1)
	got := leaf(t, served(t, m, hosts[0]))
	if got.Equal(before) || !got.NotAfter.After(before.NotAfter) {
		t.Errorf("not renewed: valid until %v", got.NotAfter)
	}
	if _, err := dial(t, m, &tls.Config{ServerName: hosts[0], RootCAs: localRoots(t, m), Time: now}); err != nil {
		t.Error(err)
	}
}
