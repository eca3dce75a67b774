package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"mtasts-server/policyserve"
)

const (
	// hostileP99 is what senders bear: they give up after two to four seconds.
	hostileP99 = 2 * time.Second

	// hostileGiveUp is when a good fetch has failed.
	hostileGiveUp = 15 * time.Second

	// hostileBase is what the process takes before the attack (20 MiB), and the garbage
	// that may pile up (64 MiB, internal/app/memory.go).
	hostileBase = (20 + 64) << 20

	// hostileEach is what each connection may add. The dearest that all of them can be,
	// idle in HTTP/2, take 43 KiB; and a quarter of what lives may be garbage.
	hostileEach = 64 << 10

	// hostileConnections is the limit of the server, its default.
	hostileConnections = policyserve.DefaultConnections

	// hostileShare is how many of them an address may have, its default too.
	hostileShare = 256

	// hostileMost is what the server may take with all of them.
	hostileMost = 256 << 20

	// hostileManyAttackers are more than there are places.
	hostileManyAttackers = 10_000

	// raceSlow is by how much the race detector slows attackers and senders down. The
	// server runs without it, but without fewer attackers, and places to match, no
	// attack would come to be one in time.
	raceSlow = 16
)

// hostileInterval is the time from one good fetch to the next, which is begun whether the
// one before is done or not: a server that is stuck is not spared.
var hostileInterval = time.Second / time.Duration(min(160, hostileScale(320)))

// hostileScale is n, or a fraction of it: under the race detector, and where a process may
// not have so many files open.
func hostileScale(n int) int { return n / hostileShrink() }

var hostileShrink = sync.OnceValue(func() int {
	shrink := 1
	if raceDetector() {
		shrink = raceSlow
	}
	var files syscall.Rlimit // Go itself has raised the soft limit to the hard one
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		panic(err)
	}
	for hostileManyAttackers/shrink+100 > int(files.Cur) {
		shrink++
	}
	return shrink
})

// hostileMemory is what the server may take at any moment of an attack.
func hostileMemory() int64 {
	return int64(min(hostileMost, hostileBase+hostileScale(hostileConnections)*hostileEach))
}

// TestHostile lets hostile clients loose on a server while good senders fetch from other
// addresses. None of them may be refused, be told anything wrong, or wait for long; the
// server's memory stays bounded, and when the attack is over nothing of it is left.
//
// The attackers are a process of their own on the same machine: they take as much of the
// processors as they can get, which is more than a real one could.
func TestHostile(t *testing.T) {
	attack := time.Duration(drillCount(t, "MTASTS_HOSTILE_SECONDS", 1)) * time.Second
	var results []*hostileResult
	for _, a := range attacks {
		t.Run(hostileName.Replace(a.name), func(t *testing.T) {
			results = append(results, runAttack(t, a, attack))
		})
	}
	if n := hostileShrink(); n > 1 {
		t.Logf("attackers and places are 1/%d of what they should be: for the race detector, or for the limit on open files", n)
	}
	t.Log("\n" + hostileTable(results))
}

// hostileName makes the name of an attack one that -run can be given.
var hostileName = strings.NewReplacer(" ", "-", ",", "", "/", "")

// hostileResult is a line of the table.
type hostileResult struct {
	attack    string
	attackers int
	opened    int64
	latencies []time.Duration // of good fetches, the shortest first
	peak      int64           // memory of the server
	cpu       time.Duration
	elapsed   time.Duration
}

func runAttack(t *testing.T, a attack, length time.Duration) *hostileResult {
	s := newSite(t)
	var err error
	if s.bin, err = buildPlain(); err != nil {
		t.Fatal(err)
	}
	domains := make([]string, 8)
	var text strings.Builder
	for i := range domains {
		domains[i] = fmt.Sprintf("hostile%d.example", i)
		text.WriteString(drillTable(domains[i], 1))
	}
	s.replace("policies/a.toml", text.String())
	s.append("mtasts-server.toml", fmt.Sprintf("[limits]\nconnections = %d\nconnections_per_address = %d\n", hostileScale(hostileConnections), max(hostileScale(hostileShare), 32)))
	p := s.start()
	good := newGoodSenders(p, domains)
	for i := range domains {
		eventually(t, "the policy of "+domains[i]+" is served", func() error { return good.fetch(i) })
	}
	before := p.footprint()

	began, cpu := time.Now(), p.cpuTime()
	x := startAttackers(t, hostileOrder{Attack: a.name, Attackers: a.attackers, Server: p.https, Host: "mta-sts." + domains[0]})
	good.run(func() {
		x.awaitReady()
		time.Sleep(length)
	})
	if n := len(good.failures); n > 0 {
		t.Errorf("%d of %d good fetches failed; the first ones:\n%s", n, n+len(good.latencies), strings.Join(good.failures[:min(n, 3)], "\n"))
	}
	r := &hostileResult{attack: a.name, attackers: a.attackers, latencies: good.latencies}
	r.elapsed, r.cpu = time.Since(began), p.cpuTime()-cpu
	r.peak = p.status("VmHWM")
	r.opened = x.stop()
	slices.Sort(r.latencies)
	checkAttack(t, a, p, r)

	eventually(t, "nothing of the attack is left", func() error {
		if now := p.footprint(); now.goroutines > before.goroutines || now.files > before.files || now.connections > before.connections {
			return fmt.Errorf("%+v, before the attack %+v", now, before)
		}
		return nil
	})
	if err := good.fetch(0); err != nil {
		t.Error(err)
	}
	p.stop()
	return r
}

func checkAttack(t *testing.T, a attack, p *program, r *hostileResult) {
	t.Helper()
	if n := len(r.latencies); n < 10 {
		t.Errorf("%d good fetches tell nothing", n)
	} else if p99 := quantile(r.latencies, 0.99); p99 > hostileP99 {
		t.Errorf("p99 of %d good fetches is %v, want at most %v", n, p99, hostileP99)
	}
	if bound := hostileMemory(); r.peak > bound {
		t.Errorf("the server took %d MiB, want at most %d", r.peak>>20, bound>>20)
	}
	if r.opened < int64(r.attackers) {
		t.Errorf("%d connections by %d attackers are no attack", r.opened, r.attackers)
	}
	eventually(t, "the server felt it", func() error { // who ends is noted a moment later
		if p.series(a.felt) == 0 {
			return fmt.Errorf("%s is 0", a.felt)
		}
		return nil
	})
}

// quantile is the smallest of sorted that a part q of them does not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func hostileTable(results []*hostileResult) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| attack\t| attackers\t| connections\t| good fetches\t| p50\t| p99\t| longest\t| peak memory\t| processors\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
	for _, r := range results {
		fmt.Fprintf(w, "| %s\t| %d\t| %d\t| %d\t| %s\t| %s\t| %s\t| %d MiB\t| %.1f\t|\n", r.attack, r.attackers, r.opened, len(r.latencies),
			ms(quantile(r.latencies, 0.5)), ms(quantile(r.latencies, 0.99)), ms(quantile(r.latencies, 1)), r.peak>>20, r.cpu.Seconds()/r.elapsed.Seconds())
	}
	w.Flush()
	return b.String()
}

// goodSenders fetch as MTAs do: each time a new connection, a full handshake of TLS 1.3,
// one request, by HTTP/1.1 and HTTP/2 in turn.
type goodSenders struct {
	domains []string
	clients []*http.Client // each at an address of its own

	mu        sync.Mutex
	latencies []time.Duration
	failures  []string
}

func newGoodSenders(p *program, domains []string) *goodSenders {
	g := &goodSenders{domains: domains}
	for i := range 250 {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 0, byte(1+i))}}
		tr := p.transport(false)
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, p.https)
		}
		tr.TLSClientConfig.MinVersion = tls.VersionTLS13
		tr.ForceAttemptHTTP2 = i%2 == 0
		g.clients = append(g.clients, &http.Client{Transport: tr, Timeout: hostileGiveUp})
	}
	return g
}

// fetch makes fetch number i.
func (g *goodSenders) fetch(i int) error {
	domain := g.domains[i%len(g.domains)]
	body, err := getPolicy(g.clients[i%len(g.clients)], domain)
	if err == nil && body != drillBody(domain, 1) {
		err = fmt.Errorf("%s is served %q", domain, body)
	}
	return err
}

// run fetches until during returns, and then until the last fetch is done.
func (g *goodSenders) run(during func()) {
	var fetches sync.WaitGroup
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i, tick := 0, time.Tick(hostileInterval); ; i++ {
			select {
			case <-stop:
				return
			case <-tick:
			}
			fetches.Go(func() {
				began := time.Now()
				err := g.fetch(i)
				took := time.Since(began)
				g.mu.Lock()
				defer g.mu.Unlock()
				if err != nil {
					g.failures = append(g.failures, fmt.Sprintf("fetch %d, after %v: %v", i, took.Round(time.Millisecond), err))
					return
				}
				g.latencies = append(g.latencies, took)
			})
		}
	}()
	defer fetches.Wait()
	defer func() { close(stop); <-stopped }()
	during()
}

// footprint is what the server takes.
type footprint struct {
	goroutines, files, connections int
}

func (p *program) footprint() footprint {
	p.t.Helper()
	files, err := os.ReadDir(p.proc("fd"))
	if err != nil {
		p.t.Fatal(err)
	}
	return footprint{
		goroutines: int(p.series("go_goroutines")), files: len(files),
		connections: int(p.series("mtasts_connections_open")),
	}
}

func (p *program) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}

// status returns a size in bytes that the kernel tells of the process.
func (p *program) status(key string) int64 {
	p.t.Helper()
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key+":" && f[2] == "kB" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return n << 10
		}
	}
	p.t.Fatalf("no %s in %s", key, p.proc("status"))
	return 0
}

// cpuTime is how long the process has used processors.
func (p *program) cpuTime() time.Duration {
	p.t.Helper()
	return time.Duration(p.series("process_cpu_seconds_total") * float64(time.Second))
}

// series returns the value of one of the metrics.
func (p *program) series(name string) float64 {
	p.t.Helper()
	client := &http.Client{Timeout: programPatience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + p.admin + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	n, err := metricOf(string(text), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
