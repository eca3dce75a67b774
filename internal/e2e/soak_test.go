package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

const (
	// soakFiles with soakDomains each: all of them are renewed again and again, as
	// often as certmagic's own throttle, ten orders in ten seconds, lets us.
	soakFiles   = 10
	soakDomains = 5

	// soakValidity of certificates: renewed after two thirds, 80 s, which makes an
	// order every one to two seconds; 40 s are left for a busy machine.
	soakValidity = 2 * time.Minute

	// soakWarmUp is how much of the time belongs to the start: certificates are
	// ordered, caches fill up.
	soakWarmUp = 0.2
)

// TestSoak is a day in fast forward: the program with a CA whose certificates live for
// minutes, policy files that are edited, broken and mended without pause, senders that
// check chain and policy, and strangers who mean harm. No good fetch may fail, and nothing
// may grow: what the process holds in the last third of the time is compared with what it
// held in the first. MTASTS_SOAK says for how long, as "35m".
func TestSoak(t *testing.T) {
	text := os.Getenv("MTASTS_SOAK")
	if text == "" {
		t.Skip("it takes half an hour: run make soak, or set MTASTS_SOAK=3m")
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration < time.Minute {
		t.Fatalf("MTASTS_SOAK=%q: want a time from 1m", text)
	}
	ca := newPebble(t, pebbleOptions{validity: soakValidity})
	s := newSite(t)
	s.write("roots.pem", string(ca.httpsRootsPEM()))
	s.write("mtasts-server.toml", soakConfig(t, ca))
	e := newEditor(s)
	for range soakFiles {
		e.add(soakDomains)
	}
	for _, f := range e.files {
		s.replace(f.name, e.next(f))
	}
	// With the usual headroom for garbage memory would say little for an hour.
	s.wrapper = []string{"env", "GOGC=100"}
	p := s.start()
	ca.connect(p.acmePorts())
	roots := ca.roots()
	// None of the senders can be the first to ask: from here on no fetch may fail.
	first := soakClient(p, roots, true)
	for _, domain := range e.domains(true) {
		eventually(t, domain+" is served", func() error {
			_, _, err := e.fetch(first, domain)
			return err
		})
	}

	begun := time.Now()
	stop := make(chan struct{})
	var workers sync.WaitGroup
	e.tell(p.cmd.Process)
	workers.Go(func() { soakEdits(e, stop) })
	load := &senders{stop: make(chan struct{})}
	for i := range 6 {
		client := soakClient(p, roots, i%2 == 0)
		load.wg.Go(func() { load.run(t, e, client) })
	}
	enemies := startSoakEnemies(&workers, p.https, stop)

	var series []soakSample
	for tick := time.Tick(max(2*time.Second, duration/200)); time.Since(begun) < duration && !t.Failed(); {
		<-tick
		sample, err := p.soakSample(time.Since(begun))
		if err != nil {
			t.Errorf("no sample: %v", err)
		}
		sample.fetches, sample.attacks = load.fetched.Load(), enemies.Load()
		series = append(series, sample)
	}
	load.wait()
	close(stop)
	workers.Wait()
	printSoak(t, series)
	for _, line := range p.lines() {
		if strings.Contains(line, "could not be renewed") {
			t.Log(line) // it is tried again long before the certificate expires
		}
	}
	if t.Failed() {
		return
	}
	for _, domain := range e.domains(true) {
		eventually(t, domain+" is served as it was last written", func() error {
			n, _, err := e.fetch(first, domain)
			if err == nil && n != e.begun[domain] {
				err = fmt.Errorf("edit %d", n)
			}
			return err
		})
	}
	first.CloseIdleConnections()
	p.metric("mtasts_connections_open 0") // once they are idle for long enough
	p.stop()
	judgeSoak(t, series)
}

func soakConfig(t testing.TB, ca *pebbleCA) string {
	return fmt.Sprintf(`
policies = ["policies/*.toml"]
state = "state"
[listen]
https = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[certificates]
source = %q
directory = %q
email = "hostmaster@example.net"
roots = "roots.pem"
orders = 100_000
[certificates.preflight]
resolvers = [%q]
[log]
format = "json"
`, certs.SourceCertmagic, ca.directory(), testDNS(t).addr)
}

// soakClient is a sender that takes a breath before each fetch.
func soakClient(p *program, roots *x509.CertPool, keepAlive bool) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.https)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: !keepAlive,
		ForceAttemptHTTP2: keepAlive,
		MaxIdleConns:      20,
	}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: breath{tr}, Timeout: quickly}
}

type breath struct{ http.RoundTripper }

func (b breath) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(20 * time.Millisecond)
	return b.RoundTripper.RoundTrip(r)
}

// soakEdits edits files in all ways, good and bad, until stop, and leaves them whole.
func soakEdits(e *editor, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			for _, f := range e.files {
				e.s.replace(f.name, e.next(f))
			}
			return
		case <-time.After(mathrand.N(time.Second)):
		}
		e.edit(e.files[mathrand.N(len(e.files))])
		if mathrand.N(3) == 0 {
			_ = e.process.Signal(syscall.SIGHUP) // it is alive, or the test fails anyway
		}
	}
}

// startSoakEnemies lets strangers of each kind come without pause, and counts them.
func startSoakEnemies(workers *sync.WaitGroup, addr string, stop <-chan struct{}) *atomic.Int64 {
	count := new(atomic.Int64)
	for i, attack := range []func(c net.Conn, stop <-chan struct{}){
		soakSilent, soakGarbage, soakHalfHello, soakStranger, soakReset, soakRapidReset,
	} {
		for j := range 4 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(2+i), byte(1+j))}, Timeout: quickly}
			workers.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(mathrand.N(400 * time.Millisecond)):
					}
					c, err := d.Dial("tcp", addr)
					if err != nil {
						continue // they must suffer, not we
					}
					_ = c.SetDeadline(time.Now().Add(quickly))
					attack(c, stop)
					c.Close()
					count.Add(1)
				}
			})
		}
	}
	return count
}

// soakSilent says nothing until he is sent away.
func soakSilent(c net.Conn, stop <-chan struct{}) {
	defer context.AfterFunc(contextOf(stop), func() { c.Close() })()
	_, _ = io.Copy(io.Discard, c)
}

func contextOf(stop <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-stop; cancel() }()
	return ctx
}

func soakGarbage(c net.Conn, _ <-chan struct{}) {
	b := make([]byte, 1+mathrand.N(4000))
	rand.Read(b)
	_, _ = c.Write(b)
	_, _ = io.Copy(io.Discard, c)
}

// soakHalfHello begins a handshake.
func soakHalfHello(c net.Conn, stop <-chan struct{}) {
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: "mta-sts.d0.f0.example"}).Handshake()
		ours.Close()
	}()
	b := make([]byte, 100)
	n, _ := io.ReadFull(theirs, b)
	theirs.Close()
	_, _ = c.Write(b[:n])
	soakSilent(c, stop)
}

func soakHandshake(c net.Conn, name string, protos ...string) (*tls.Conn, error) {
	x := tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protos})
	return x, x.Handshake()
}

// soakStranger asks for a host that is not ours.
func soakStranger(c net.Conn, _ <-chan struct{}) {
	_, _ = soakHandshake(c, "mta-sts."+strings.ToLower(rand.Text())+".example")
}

// soakReset hangs up in the midst of a request, without a word.
func soakReset(c net.Conn, _ <-chan struct{}) {
	if x, err := soakHandshake(c, "mta-sts.d0.f0.example", "http/1.1"); err == nil {
		_, _ = io.WriteString(x, "GET "+mtasts.WellKnownPath+" HTTP/1.1\r\nHost: mta-")
	}
	_ = c.(*net.TCPConn).SetLinger(0)
}

// soakRapidReset begins streams and resets them at once (CVE-2023-44487).
func soakRapidReset(c net.Conn, _ <-chan struct{}) {
	const host = "mta-sts.d0.f0.example"
	x, err := soakHandshake(c, host, "h2")
	if err != nil {
		return
	}
	_, _ = io.WriteString(x, http2.ClientPreface)
	var header bytes.Buffer
	enc := hpack.NewEncoder(&header)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", host}, {":path", mtasts.WellKnownPath}} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return
		}
	}
	f := http2.NewFramer(x, nil)
	_ = f.WriteSettings()
	go func() { _, _ = io.Copy(io.Discard, x) }()
	for id := uint32(1); id < 200; id += 2 {
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: header.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return
		}
		header.Truncate(header.Len()) // the same fields, from the table or not, say the same
	}
}

// soakSample is what the process holds at a time.
type soakSample struct {
	at                       time.Duration
	goroutines, files, conns float64
	pss, heap                float64 // MiB
	renewed, failed, reloads float64
	fetches, attacks         int64
}

func (p *program) soakSample(at time.Duration) (soakSample, error) {
	s := soakSample{at: at}
	text, err := p.ask("/metrics")
	if err != nil {
		return s, err
	}
	for name, to := range map[string]*float64{
		"go_goroutines": &s.goroutines, "process_open_fds": &s.files, "mtasts_connections_open": &s.conns,
		"go_memstats_heap_alloc_bytes":                        &s.heap,
		`mtasts_certificates_orders_total{outcome="renewed"}`: &s.renewed,
		`mtasts_certificates_orders_total{outcome="failed"}`:  &s.failed,
		`mtasts_config_reloads_total{result="ok"}`:            &s.reloads,
	} {
		if *to, err = metricOf(text, name); err != nil {
			return s, err
		}
	}
	s.heap /= 1 << 20
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(rollup)) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			s.pss = kib / 1024
			return s, err
		}
	}
	return s, fmt.Errorf("no Pss in %q", rollup)
}

func metricOf(text, name string) (float64, error) {
	_, rest, ok := strings.Cut(text, "\n"+name+" ")
	if !ok {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(value, 64)
}

// printSoak prints about twenty of the samples.
func printSoak(t *testing.T, series []soakSample) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %10s %5s %5s %8s %8s %8s %7s %8s %8s %8s\n", "time", "goroutines", "files", "conns", "PSS MiB", "heap MiB", "renewed", "failed", "reloads", "fetches", "attacks")
	for i := 0; i < len(series); i += max(1, len(series)/20) {
		s := series[i]
		fmt.Fprintf(&b, "%8s %10.0f %5.0f %5.0f %8.1f %8.1f %8.0f %7.0f %8.0f %8d %8d\n",
			s.at.Round(time.Second), s.goroutines, s.files, s.conns, s.pss, s.heap, s.renewed, s.failed, s.reloads, s.fetches, s.attacks)
	}
	t.Log("\n" + b.String())
}

// judgeSoak compares the last third of the time, after the warm-up, with the first.
func judgeSoak(t *testing.T, series []soakSample) {
	t.Helper()
	series = series[int(float64(len(series))*soakWarmUp):]
	third := len(series) / 3
	if third < 5 {
		t.Fatalf("%d samples are too few", len(series))
	}
	for _, c := range []struct {
		what   string
		of     func(s soakSample) float64
		margin float64 // what may be more at the end, and why
	}{
		// Strangers come and go by chance, a goroutine and a file each: 24 of them at
		// a time, with four or so of the senders. A leak of one in each renewal or
		// reload would be hundreds.
		{"goroutines", func(s soakSample) float64 { return s.goroutines }, 20},
		{"open files", func(s soakSample) float64 { return s.files }, 20},
		// Garbage is as much as what lives, so its size depends on when it is looked
		// at. A leak of 10 KiB in each renewal would be 14 MiB in half an hour, one of
		// 1 KiB in each fetch 200 MiB.
		{"PSS in MiB", func(s soakSample) float64 { return s.pss }, 10},
	} {
		before, after := median(series[:third], c.of), median(series[len(series)-third:], c.of)
		t.Logf("%s: %.1f in the first third, %.1f in the last", c.what, before, after)
		if after > before+c.margin {
			t.Errorf("%s grew from %.1f to %.1f, by more than %.0f", c.what, before, after, c.margin)
		}
	}
	from, to := series[0], series[len(series)-1]
	minutes := (to.at - from.at).Minutes()
	for _, c := range []struct {
		what string
		n    float64
		want float64 // a minute
	}{
		{"renewals", to.renewed - from.renewed, 10},
		{"reloads", to.reloads - from.reloads, 10},
		{"good fetches", float64(to.fetches - from.fetches), 100},
		{"attacks", float64(to.attacks - from.attacks), 100},
	} {
		if c.n < c.want*minutes {
			t.Errorf("%.0f %s in %.1f minutes show nothing", c.n, c.what, minutes)
		}
	}
}

func median(series []soakSample, of func(soakSample) float64) float64 {
	sorted := slices.SortedFunc(slices.Values(series), func(a, b soakSample) int { return cmp.Compare(of(a), of(b)) })
	return of(sorted[len(sorted)/2])
}
