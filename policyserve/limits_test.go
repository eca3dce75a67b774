package policyserve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/policyserve"
)

// ended waits until the other side closes c.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.Copy(io.Discard, c)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Errorf("%s is still open", c.LocalAddr())
	}
	c.Close()
}

func fetch(t *testing.T, w *world) {
	t.Helper()
	res, body := parse(t, "GET", raw(t, w.dialTLS(t, "mta-sts.example.com"), get(wellKnown, "mta-sts.example.com")))
	if res.StatusCode != 200 || body != bodyCom {
		t.Errorf("%s %q", res.Status, body)
	}
}

// no per-address limit, as all clients of a test have one address
const unlimited = 1 << 20

// Silent, half-open, slow and idle connections lose their places to who comes new.
func TestFullHouse(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{Connections: 8, ConnectionsPerAddress: unlimited, IdleTimeout: time.Hour, HandshakeTimeout: time.Hour, HeaderTimeout: time.Hour}, TrustedProxies: []netip.Prefix{}})
	silent := []net.Conn{dial(t, w.https), dial(t, w.https)}
	half := dial(t, w.https)
	if _, err := half.Write([]byte("\x16\x03\x01\x02\x00\x01")); err != nil {
		t.Fatal(err)
	}
	garbage := dial(t, w.http)
	if _, err := garbage.Write([]byte("GET / HT")); err != nil {
		t.Fatal(err)
	}
	shaken := w.dialTLS(t, "mta-sts.example.com")
	slow := w.dialTLS(t, "mta-sts.example.com")
	if _, err := io.WriteString(slow, "GET /.well-"); err != nil {
		t.Fatal(err)
	}
	idle := w.dialTLS(t, "mta-sts.example.com")
	if _, err := io.WriteString(idle, strings.Replace(get(wellKnown, "mta-sts.example.com"), "close", "keep-alive", 1)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(idle), nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	for range 100 {
		fetch(t, w)
	}
	// A fetch that came late has pushed out none but the first: seven were there.
	last := make([]net.Conn, 8)
	for i := range last {
		last[i] = dial(t, w.https)
	}
	fetch(t, w)
	for _, c := range append([]net.Conn{half, garbage, shaken, slow, idle}, silent...) {
		ended(t, c)
	}
	for _, c := range last {
		c.Close()
	}
}

func TestOneAddress(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: 3}, TrustedProxies: []netip.Prefix{}})
	var first []net.Conn
	for range 3 {
		first = append(first, w.dialTLS(t, "mta-sts.example.com"))
	}
	ended(t, dial(t, w.https)) // the fourth is refused
	for i, c := range first {  // and the first three go on
		if res, _ := parse(t, "GET", raw(t, c, get(wellKnown, "mta-sts.example.com"))); res.StatusCode != 200 {
			t.Errorf("connection %d: %s", i, res.Status)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) { // the places come back
		if c, err := tls.Dial("tcp", w.https, w.clientTLS("mta-sts.example.com", "http/1.1")); err == nil {
			c.Close()
			return
		}
	}
	t.Error("the address is still shut out")
}

// A trusted proxy brings many clients.
func TestProxyHasNoShare(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: 1}})
	a, b := dial(t, w.plain), dial(t, w.plain)
	defer a.Close()
	if res, _ := parse(t, "GET", raw(t, b, get(wellKnown, "mta-sts.example.com"))); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestPlainIsForProxies(t *testing.T) {
	w := start(t, policyserve.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	c := dial(t, w.plain)
	_, _ = io.WriteString(c, get(wellKnown, "mta-sts.example.com")) // it may be closed already
	ended(t, c)
}

func TestTimeouts(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{HandshakeTimeout: 50 * time.Millisecond, HeaderTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond}})
	for name, start := range map[string]func() net.Conn{
		"silent before the handshake": func() net.Conn { return dial(t, w.https) },
		"silent after the handshake":  func() net.Conn { return w.dialTLS(t, "mta-sts.example.com") },
		"silent on port 80":           func() net.Conn { return dial(t, w.http) },
		"silent on the plain one":     func() net.Conn { return dial(t, w.plain) },
		"half a header": func() net.Conn {
			c := dial(t, w.http)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: ")
			return c
		},
		"a body that never comes": func() net.Conn {
			c := dial(t, w.http)
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: mta-sts.example.com\r\nContent-Length: 100\r\n\r\n")
			return c
		},
	} {
		t.Run(name, func(t *testing.T) { ended(t, start()) })
	}
}

// Where only one handshake is computed at a time, those who never finish theirs do not
// stop others.
func TestHandshakesInTurn(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{Handshakes: 1, HandshakeTimeout: 30 * time.Second, ConnectionsPerAddress: unlimited}})
	hello := clientHello(t)
	for range 20 {
		c := dial(t, w.https)
		defer c.Close()
		if _, err := c.Write(hello); err != nil { // and never the Finished
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { fetch(t, w) })
	}
	wg.Wait()
}

// clientHello is what a client sends first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "mta-sts.example.com"}).Handshake()
		client.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestShutdownDrains(t *testing.T) {
	inside, finish := make(chan struct{}), make(chan struct{})
	s, err := policyserve.New(policyserve.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Publish(table(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- s.ServeRedirect(l, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(inside)
				<-finish
				next.ServeHTTP(w, r)
			})
		})
	}()
	fresh := dial(t, l.Addr().String()) // asks nothing, and is not waited for
	c := dial(t, l.Addr().String())
	if _, err := io.WriteString(c, get("/", "mta-sts.example.com")); err != nil {
		t.Fatal(err)
	}
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	ended(t, fresh)
	if nc, err := net.Dial("tcp", l.Addr().String()); err == nil {
		nc.Close()
		t.Error("a new connection during shutdown")
	}
	close(finish)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 301 {
		t.Errorf("the request under way: %v, %v", res, err)
	}
	c.Close()
	if err := errors.Join(<-stopped, <-served); err != nil {
		t.Error(err)
	}
	if err := s.ServePlain(closedListener(t)); err != nil {
		t.Errorf("serving after the end: %v", err)
	}
}

func closedListener(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Whatever clients send, the series stay the same.
func TestMetricsAreClosed(t *testing.T) {
	w := start(t, policyserve.Options{})
	before := testutil.CollectAndCount(w.Server)
	for _, request := range []string{get("/", "evil-1.example"), get("/evil", "evil-2.example"), "BREW / HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n"} {
		raw(t, dial(t, w.plain), request)
		raw(t, dial(t, w.http), request)
	}
	fetch(t, w)
	if after := testutil.CollectAndCount(w.Server); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	if problems, err := testutil.CollectAndLint(w.Server); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
