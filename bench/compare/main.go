// Command compare measures mtasts-server beside other servers: the same certificates,
// the same policies, the same load, rounds taken in turns. It prints Markdown.
//
//	cd bench && go run ./compare -rounds 5 -domains 1,10000
//
// nginx and haproxy are used where they are installed (apt-get install nginx-light
// haproxy). What is measured is the CPU time of the server for each fetch, as that
// varies least between machines that do other things as well; the ratio to nginx in the
// same round, of which the median is told; and the latency at this load.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run of this program.
type bench struct {
	dir     string
	rounds  int
	seconds time.Duration
	modes   []string
	servers []string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("compare: ")
	var b bench
	flag.StringVar(&b.dir, "dir", "data", "directory for data and logs; 100,000 domains take 1 GB")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each measurement; the median is told")
	flag.DurationVar(&b.seconds, "d", 4*time.Second, "time of each measurement")
	modes := flag.String("modes", "full,resumed,keepalive,h2", "what to measure, see stsload")
	servers := flag.String("servers", "ours,nginx,haproxy", "whom to measure; those that are not installed are left out")
	domains := flag.String("domains", "1,10000", "numbers of domains")
	flag.Parse()
	b.modes, b.servers = strings.Split(*modes, ","), strings.Split(*servers, ",")
	var err error
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		log.Fatal(err)
	}
	if err := b.build(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %d processors, %s, %s\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), strings.Join(b.servers, ", "))
	for text := range strings.SplitSeq(*domains, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			log.Fatal(err)
		}
		if err := b.measure(n); err != nil {
			log.Fatal(err)
		}
	}
}

// build makes the programs.
func (b *bench) build() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	for _, build := range [][]string{
		{"build", "-o", b.tool("stscerts"), "./stscerts"},
		{"build", "-o", b.tool("stsload"), "./stsload"},
		{"build", "-C", "..", "-trimpath", "-ldflags", "-s -w", "-o", b.tool("mtasts-server"), "./cmd/mtasts-server"},
	} {
		if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(build, " "), err, out)
		}
	}
	b.servers = slices.DeleteFunc(b.servers, func(s string) bool {
		if s == "ours" {
			return false
		}
		_, err := exec.LookPath(s)
		if err != nil {
			log.Printf("%s is not installed: left out", s)
		}
		return err != nil
	})
	return nil
}

func (b *bench) tool(name string) string { return filepath.Join(b.dir, name) }

// result is what stsload reports, as far as it matters here.
type result struct {
	Requests  int     `json:"requests"`
	Errors    int     `json:"errors"`
	P99       float64 `json:"p99_us"`
	ClientCPU float64 `json:"client_cpu_us_per_request"`
	Server    struct {
		CPU      float64 `json:"cpu_us_per_request"`
		PSSAfter int64   `json:"pss_kb_after"`
	} `json:"server"`
}

func (b *bench) load(s *server, args ...string) (r result, err error) {
	args = append([]string{"-json", "-server", s.addr, "-ca", filepath.Join(s.data, "ca.pem"), "-pid", strconv.Itoa(s.cmd.Process.Pid)}, args...)
	out, err := exec.Command(b.tool("stsload"), args...).Output()
	if jerr := json.Unmarshal(out, &r); jerr != nil {
		return r, fmt.Errorf("stsload %s: %w: %s", strings.Join(args, " "), cmp.Or(err, jerr), out)
	}
	if err != nil || r.Errors > 0 {
		return r, fmt.Errorf("%s: %d errors: %s", s.name, r.Errors, out)
	}
	return r, nil
}

// measure prints the tables for n domains.
func (b *bench) measure(n int) error {
	data := filepath.Join(b.dir, strconv.Itoa(n))
	if out, err := exec.Command(b.tool("stscerts"), "-out", data, "-n", strconv.Itoa(n)).CombinedOutput(); err != nil {
		return fmt.Errorf("stscerts: %w: %s", err, out)
	}
	servers := make([]*server, 0, len(b.servers))
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	fmt.Printf("\n%d domains\n\n| server | start to the last right answer | PSS after each domain was fetched once |\n|---|---|---|\n", n)
	for i, name := range b.servers {
		s, err := b.start(name, data, n, 21443+i)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		took, err := b.await(s, n)
		if err != nil {
			return err
		}
		r, err := b.load(s, "-domains", strconv.Itoa(n), "-order", "seq", "-n", strconv.Itoa(n))
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.2f s | %d MiB |\n", name, took.Seconds(), r.Server.PSSAfter>>10)
	}
	fmt.Printf("\n| work | server | CPU per fetch, µs | ratio to %s | p99, ms |\n|---|---|---|---|---|\n", reference)
	for _, mode := range b.modes {
		if err := b.compare(servers, mode, n); err != nil {
			return err
		}
	}
	return b.edit(servers[0], n)
}

// reference is whom the others are compared with.
const reference = "nginx"

// compare measures all servers in turns and prints the medians.
func (b *bench) compare(servers []*server, mode string, n int) error {
	type series struct{ cpu, ratio, p99 []float64 }
	all := make([]series, len(servers))
	for round := range b.rounds {
		cpu := make([]float64, len(servers))
		of := 0.0
		for i := range servers {
			at := (i + round) % len(servers) // nobody is always first
			r, err := b.load(servers[at], "-mode", mode, "-domains", strconv.Itoa(n), "-d", b.seconds.String(), "-warmup", "500ms", "-groups", "x25519")
			if err != nil {
				return err
			}
			cpu[at] = r.Server.CPU
			all[at].cpu = append(all[at].cpu, r.Server.CPU)
			all[at].p99 = append(all[at].p99, r.P99/1000)
			if servers[at].name == reference {
				of = r.Server.CPU
			}
		}
		for i := range servers {
			if of > 0 {
				all[i].ratio = append(all[i].ratio, cpu[i]/of)
			}
		}
	}
	for i, s := range servers {
		fmt.Printf("| %s | %s | %.0f | %.2f | %.1f |\n", mode, s.name, median(all[i].cpu), median(all[i].ratio), median(all[i].p99))
	}
	return nil
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// edit measures how long it takes an edit of one file to be served.
func (b *bench) edit(s *server, n int) error {
	var took []float64
	for round := range b.rounds {
		age := 604800 + 1 + round
		began := time.Now()
		if err := writePolicies(s.dir, (n-1)/perFile, n, age); err != nil {
			return err
		}
		if _, err := b.load(s, "-mode", "wait", "-first", strconv.Itoa(n), "-max-age", strconv.Itoa(age), "-timeout", "1m"); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds()*1000)
	}
	fmt.Printf("\nOne edited file of %d: %.0f ms from the write to the new bytes at a client, 300 of them waiting for quiet.\n", (n+perFile-1)/perFile, median(took))
	return nil
}
