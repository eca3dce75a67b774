package policyserve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"mtasts-server/policyserve"
)

// counting is a listener whose connections count what is written to them.
type counting struct {
	net.Listener
	writes atomic.Int64
	since  atomic.Int64 // when the last write began that has not ended; 0: all have
}

type countingConn struct {
	net.Conn
	l *counting
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{c, l}, nil
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.l.writes.Add(1)
	c.l.since.Store(time.Now().UnixNano())
	defer c.l.since.Store(0)
	return c.Conn.Write(b)
}

// startCounting is start with a TLS listener that counts.
func startCounting(t *testing.T, o policyserve.Options) (*world, *counting) {
	t.Helper()
	w := start(t, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{Listener: l}
	done := make(chan error, 1)
	go func() { done <- w.ServeTLS(c) }()
	t.Cleanup(func() { <-done }) // what it says is how the listener broke
	t.Cleanup(func() { l.Close() })
	w.https = l.Addr().String()
	return w, c
}

// What is said before we listen is one write: the server's flight, and the ticket with the
// answer and the end of TLS.
func TestOneWrite(t *testing.T) {
	w, l := startCounting(t, policyserve.Options{})
	request := get(wellKnown, "mta-sts.example.com")
	for _, tt := range []struct {
		name    string
		version uint16
		want    int64
	}{
		{"TLS 1.3", tls.VersionTLS13, 2},
		{"TLS 1.2", tls.VersionTLS12, 3}, // here the client waits for a second flight
	} {
		l.writes.Store(0)
		config := w.clientTLS("mta-sts.example.com", "http/1.1")
		config.MaxVersion, config.ClientSessionCache = tt.version, tls.NewLRUClientSessionCache(1)
		for i, resumed := range []bool{false, true} {
			c, err := tls.Dial("tcp", w.https, config)
			if err != nil {
				t.Fatal(err)
			}
			if res, body := parse(t, "GET", raw(t, c, request)); res.StatusCode != 200 || body != bodyCom {
				t.Errorf("%s: %s %q", tt.name, res.Status, body)
			}
			if got := c.ConnectionState().DidResume; got != resumed {
				t.Errorf("%s: connection %d resumed: %v; the ticket did not come", tt.name, i, got)
			}
			if i == 0 && l.writes.Load() != tt.want {
				t.Errorf("%s: %d writes for one fetch, want %d", tt.name, l.writes.Load(), tt.want)
			}
		}
	}
}

// Requests that come together are answered together, in their order.
func TestPipelining(t *testing.T) {
	w, l := startCounting(t, policyserve.Options{})
	const n = 20
	kept := strings.Replace(get(wellKnown, "mta-sts.example.com"), "close", "keep-alive", 1)
	c := w.dialTLS(t, "mta-sts.example.com")
	before := l.writes.Load()
	all := raw(t, c, strings.Repeat(kept, n-1)+get(wellKnown, "mta-sts.example.com"))
	if got := strings.Count(all, bodyCom); got != n {
		t.Errorf("%d answers, want %d", got, n)
	}
	if got := l.writes.Load() - before; got > n/2 {
		t.Errorf("%d writes for %d answers", got, n)
	}
}

// A connection may be idle for longer than a request may take.
func TestIdleOutlivesHeader(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{HeaderTimeout: 500 * time.Millisecond, IdleTimeout: time.Hour}})
	c := w.dialTLS(t, "mta-sts.example.com")
	defer c.Close()
	r := bufio.NewReader(c)
	for range 3 {
		if _, err := io.WriteString(c, strings.Replace(get(wellKnown, "mta-sts.example.com"), "close", "keep-alive", 1)); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != bodyCom {
			t.Fatalf("%q, %v", body, err)
		}
		time.Sleep(700 * time.Millisecond) // the timeout under test is real time
	}
}

// Who asks and does not read the answers is cut off, and does not hold up a stop.
func TestWhoDoesNotRead(t *testing.T) {
	askForMuch := func(t *testing.T, w *world) {
		t.Helper()
		c := w.dialTLS(t, "mta-sts.example.com")
		t.Cleanup(func() { c.NetConn().Close() })
		if err := c.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		kept := strings.Replace(get(wellKnown, "mta-sts.example.com"), "close", "keep-alive", 1)
		go func() { // more than buffers take; it ends with the connection
			for {
				if _, err := io.WriteString(c, strings.Repeat(kept, 100)); err != nil {
					return
				}
			}
		}()
	}
	t.Run("is cut off", func(t *testing.T) {
		w := start(t, policyserve.Options{Limits: policyserve.Limits{WriteTimeout: 200 * time.Millisecond, HandshakeTimeout: 5 * time.Second}})
		askForMuch(t, w)
		emptied(t, w)
	})
	t.Run("does not hold up a stop", func(t *testing.T) {
		w, l := startCounting(t, policyserve.Options{Limits: policyserve.Limits{WriteTimeout: time.Hour, HandshakeTimeout: time.Hour}})
		askForMuch(t, w)
		for began := time.Now(); l.since.Load() == 0 || time.Since(time.Unix(0, l.since.Load())) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatal("the server never waited for the client")
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		stopped := make(chan struct{})
		go func() {
			_ = w.Shutdown(ctx) // an error where it was busy, none where it counted as idle
			close(stopped)
		}()
		select {
		case <-stopped:
		case <-time.After(time.Minute):
			t.Fatal("the stop waits for who does not read")
		}
		emptied(t, w)
	})
}

// emptied waits until there are no connections.
func emptied(t *testing.T, w *world) {
	t.Helper()
	for began := time.Now(); open(w) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("still connected")
		}
	}
}

// open is how many connections there are.
func open(w *world) int {
	ch := make(chan prometheus.Metric, 200)
	w.Collect(ch)
	close(ch)
	for m := range ch {
		var out dto.Metric
		if strings.Contains(m.Desc().String(), "mtasts_connections_open") && m.Write(&out) == nil {
			return int(out.GetGauge().GetValue())
		}
	}
	return -1
}

// The answer to a request that is too long arrives before the end.
func TestLongHeader(t *testing.T) {
	w := start(t, policyserve.Options{})
	for name, dial := range map[string]func() net.Conn{
		"over TLS": func() net.Conn { return w.dialTLS(t, "mta-sts.example.com") },
		"plain":    func() net.Conn { return dial(t, w.plain) },
	} {
		request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: mta-sts.example.com\r\nX-Long: %s\r\n\r\n", wellKnown, strings.Repeat("x", 16<<10))
		if res, _ := parse(t, "GET", raw(t, dial(), request)); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
}
