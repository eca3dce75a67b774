package intake_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/policyserve"
)

// gate keeps what arrives, and those that are large for as long as it is closed.
type gate struct {
	open    chan struct{}
	arrived chan struct{}
	large   int
}

func newGate(large int) *gate {
	return &gate{make(chan struct{}), make(chan struct{}, 10_000), large}
}

func (g *gate) deliver(_ context.Context, a *reports.Arrival) error {
	if len(a.Data) >= g.large {
		g.arrived <- struct{}{}
		<-g.open
		runtime.KeepAlive(a.Data) // or its memory would be free before it is
	}
	return nil
}

// as says who the client of a request is, in tests.
const as = "X-Client"

func clientByHeader(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddr(r.Header.Get(as))
	return a
}

// send posts n bytes as somebody, and returns the status.
func (w *postWorld) send(t testing.TB, from string, n int) int {
	t.Helper()
	res, _ := say(t, w.dial(t), poster("/", "", as+": "+from+"\r\n", strings.Repeat("x", n)))
	if res.StatusCode == 503 && res.Header.Get("Retry-After") != "120" {
		t.Errorf("not told when to come again: %v", res.Header)
	}
	return res.StatusCode
}

// sendAll has several sent at once, which the gate holds.
func (g *gate) sendAll(t testing.TB, w *postWorld, n int, from ...string) (wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	for _, f := range from {
		wg.Go(func() {
			if got := w.send(t, f, n); got != 200 {
				t.Errorf("%s: %d", f, got)
			}
		})
	}
	for range from {
		<-g.arrived
	}
	return func() { close(g.open); wg.Wait() }
}

// Who finds no room is told so after a while; small bodies find room beside large ones.
func TestPostHasRoomForSmallOnes(t *testing.T) {
	g := newGate(1 << 20)
	w := startPost(t, intake.PostOptions{
		Deliver: g.deliver, Client: clientByHeader,
		Limits: intake.PostLimits{Bytes: 4 * intake.MaxPosted, Wait: 30 * time.Millisecond},
	}, policyserve.Options{}, nil)
	wait := g.sendAll(t, w, 6<<20, "192.0.2.1", "192.0.2.2")
	if got := w.send(t, "192.0.2.3", 9<<20); got != 503 {
		t.Errorf("one large body too many: %d", got)
	}
	if got := w.send(t, "192.0.2.3", 200<<10); got != 200 {
		t.Errorf("a small one: %d", got)
	}
	wait()
	if got := w.send(t, "192.0.2.3", 9<<20); got != 200 {
		t.Errorf("when there is room: %d", got)
	}
	if n := held(t, w); n != 0 {
		t.Errorf("%v bytes are held still", n)
	}
}

// As it is by default one address cannot take all the room for large ones.
func TestPostRoomOfOneAddress(t *testing.T) {
	g := newGate(1<<20 - 1)
	w := startPost(t, intake.PostOptions{Deliver: g.deliver, Client: clientByHeader, Limits: intake.PostLimits{Wait: 30 * time.Millisecond}}, policyserve.Options{}, nil)
	var wg sync.WaitGroup
	for _, mib := range []int{6, 6, 4, 2, 1} {
		wg.Go(func() { w.send(t, "192.0.2.1", mib<<20-1) })
		<-g.arrived
	}
	other := make(chan int)
	go func() { other <- w.send(t, "192.0.2.2", 3<<19) }()
	select {
	case <-g.arrived:
		close(g.open)
		<-other
	case got := <-other:
		t.Errorf("one address took all the room: %d", got)
		close(g.open)
	}
	wg.Wait()
}

// What one address takes, others have still.
func TestPostSharesOfAddresses(t *testing.T) {
	for name, limits := range map[string]intake.PostLimits{
		"requests": {RequestsPerAddress: 2, Wait: 30 * time.Millisecond, Bytes: 200 << 20},
		"bytes":    {BytesPerAddress: 2 * intake.MaxPosted, Wait: 30 * time.Millisecond, Bytes: 200 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(6 << 20)
			w := startPost(t, intake.PostOptions{Deliver: g.deliver, Client: clientByHeader, Limits: limits}, policyserve.Options{}, nil)
			wait := g.sendAll(t, w, 6<<20, "2001:db8::1", "2001:db8::2") // of one /64
			for from, want := range map[string]int{"2001:db8::3": 503, "2001:db8:0:1::1": 200, "192.0.2.1": 200, "": 200} {
				if got := w.send(t, from, 5<<20); got != want {
					t.Errorf("%s: %d", from, got)
				}
			}
			wait()
			if got := w.send(t, "2001:db8::3", 5<<20); got != 200 {
				t.Errorf("when they are gone: %d", got)
			}
		})
	}
}

// Who finds no room waits for it.
func TestPostWaitsForRoom(t *testing.T) {
	g := newGate(1)
	w := startPost(t, intake.PostOptions{Deliver: g.deliver, Limits: intake.PostLimits{RequestsPerAddress: 1, Wait: time.Minute}}, policyserve.Options{TrustedProxies: []netip.Prefix{}}, nil)
	wait := g.sendAll(t, w, 2, "first")
	var second sync.WaitGroup
	second.Go(func() {
		if got := w.send(t, "second", 2); got != 200 {
			t.Errorf("got %d", got)
		}
	})
	wait()
	second.Wait()
}

// However many post at once, memory for their bodies is bounded, and who finds none is
// told so.
func TestPostOfTwoThousandAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("2,000 connections")
	}
	const n, size, room = 2000, 256 << 10, 4 * intake.MaxPosted
	g := newGate(1)
	w := startPost(t, intake.PostOptions{
		Deliver: g.deliver, Client: clientByHeader, Limits: intake.PostLimits{Bytes: room, Wait: 100 * time.Millisecond, PieceTime: time.Minute},
	}, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: n + 10, HandshakeTimeout: time.Minute, HeaderTimeout: time.Minute}}, nil)
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what counts is what is held
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = w.dial(t)
	}
	runtime.GC()
	before := heap()
	request := []byte(poster("/", "", "", strings.Repeat("x", size))) // of nobody who is known: all share what there is
	answers := make(chan int, n)
	for _, c := range conns {
		go func() {
			go func() { _, _ = c.Write(request) }()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				answers <- 0
				return
			}
			res.Body.Close()
			answers <- res.StatusCode
		}()
	}
	var peak uint64
	count := map[int]int{}
	arrived := 0
	for range n { // each is held, or has an answer
		select {
		case status := <-answers:
			count[status]++
		case <-g.arrived:
			arrived++
		}
		peak = max(peak, heap())
	}
	close(g.open)
	for range arrived {
		count[<-answers]++
	}
	// All of them would be 500 MiB. What is not collected yet counts as well, and so does
	// what TLS keeps for each connection, on both ends.
	grown := int64(peak) - int64(before)
	t.Logf("%d MiB more than before, answers %v", grown>>20, count)
	if grown > 4*room {
		t.Error("that is too much")
	}
	if count[200] == 0 || count[503] == 0 || count[200]+count[503] != n {
		t.Error("not all were stored or told to come again, or not some of both")
	}
	if n := held(t, w); n != 0 {
		t.Errorf("%v bytes are held still", n)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The source is the client, who a proxy names or not.
func TestPostBehindProxy(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	w := startPost(t, intake.PostOptions{Limits: intake.PostLimits{RequestsPerAddress: 1}}, policyserve.Options{ProxyProtocol: true, TrustedProxies: local}, nil)
	named, err := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 443}).Format()
	if err != nil {
		t.Fatal(err)
	}
	for first, want := range map[string]string{string(named): "2001:db8::7", "": "127.0.0.1"} {
		for _, addr := range []string{w.plain, w.https} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, first); err != nil {
				t.Fatal(err)
			}
			if addr == w.https {
				c = tls.Client(c, &tls.Config{ServerName: postHost, RootCAs: w.roots})
			}
			res, _ := say(t, c, poster("/k3v9", "", "", "{}"))
			if a := w.last(); res.StatusCode != 200 || a == nil || a.Source != want {
				t.Errorf("%s: %+v", res.Status, a)
			}
		}
	}
}

func TestNewPostChecks(t *testing.T) {
	keep := func(context.Context, *reports.Arrival) error { return nil }
	for _, o := range []intake.PostOptions{
		{},
		{Deliver: keep, Limits: intake.PostLimits{Bytes: intake.MaxPosted}},
		{Deliver: keep, Limits: intake.PostLimits{BytesPerAddress: intake.MaxPosted}},
		{Deliver: keep, Limits: intake.PostLimits{RequestsPerAddress: -1}},
	} {
		if _, err := intake.NewPost(o); err == nil {
			t.Errorf("%+v was taken", o.Limits)
		}
	}
}
