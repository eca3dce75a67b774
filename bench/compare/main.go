// Command compare measures mtasts-server beside other servers: the same certificates,
// the same policies, the same load, rounds taken in turns. It prints Markdown on
// standard output, and how far it is on standard error.
//
//	cd bench && go run ./compare -rounds 5 -domains 1,10000
//
// nginx and haproxy are used where they are installed (apt-get install nginx-light
// haproxy), Caddy where Go can build it (caddy/, a module of its own). What is measured
// is the CPU time of the server for each fetch, as that varies least between machines
// that do other things as well; the ratio to nginx with the same domains in the same
// round; and the latency at this load. Then starts, memory, and edits.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run of this program.
type bench struct {
	dir     string
	rounds  int
	time    time.Duration
	modes   []string
	servers []string
	domains []int
	peers   int
	edits   int
	rate    int
}

func main() {
	log.SetFlags(log.Ltime)
	log.SetPrefix("compare: ")
	var b bench
	flag.StringVar(&b.dir, "dir", "data", "directory for data and logs; 100,000 domains take 1 GB")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each measurement; the median is told")
	flag.DurationVar(&b.time, "d", 4*time.Second, "time of each measurement")
	modes := flag.String("modes", "full,full-h2,resumed,keepalive,h2", "what to measure, see stsload")
	servers := flag.String("servers", "ours,nginx,haproxy,caddy", "whom to measure; those that are not there are left out")
	domains := flag.String("domains", "1,10000", "numbers of domains; edits are measured with the last of them")
	flag.IntVar(&b.peers, "peers-up-to", 10_000, "number of domains up to which the peers are measured; with 100,000 nginx takes 80 s and 8 GiB to start, HAProxy 50 s and 3 GiB")
	flag.IntVar(&b.edits, "edits", 50, "edits under load")
	flag.IntVar(&b.rate, "rate", 500, "fetches per second beside which edits are timed")
	flag.Parse()
	b.modes, b.servers = strings.Split(*modes, ","), strings.Split(*servers, ",")
	for text := range strings.SplitSeq(*domains, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			log.Fatalf("%q is no number of domains", text)
		}
		b.domains = append(b.domains, n)
	}
	if err := b.run(); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run() (err error) {
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := b.build(); err != nil {
		return err
	}
	b.printMachine()
	for i, n := range b.domains {
		// What an open connection costs does not depend on how many domains there are.
		modes := b.modes
		if i > 0 {
			modes = slices.DeleteFunc(slices.Clone(modes), func(m string) bool { return m == "keepalive" || m == "h2" })
		}
		if err := b.measure(n, modes, i == len(b.domains)-1); err != nil {
			return err
		}
	}
	return nil
}

// build makes the programs, and leaves out the peers that are not there.
func (b *bench) build() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	for _, build := range [][]string{
		{"-o", b.tool("stscerts"), "./stscerts"},
		{"-o", b.tool("stsload"), "./stsload"},
		{"-C", "..", "-trimpath", "-ldflags", "-s -w", "-o", b.tool("mtasts-server"), "./cmd/mtasts-server"},
	} {
		if err := goBuild(build...); err != nil {
			return err
		}
	}
	b.servers = slices.DeleteFunc(b.servers, func(name string) bool {
		var err error
		switch name {
		case "ours":
		case "caddy":
			log.Print("building Caddy: the first time its modules are fetched")
			err = goBuild("-C", "caddy", "-o", b.tool("caddy"), ".")
		default:
			_, err = exec.LookPath(name)
		}
		if err != nil {
			log.Printf("%s is left out: %v", name, err)
		}
		return err != nil
	})
	return nil
}

func goBuild(args ...string) error {
	args = append([]string{"build"}, args...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (b *bench) tool(name string) string { return filepath.Join(b.dir, name) }

func title(n int) string {
	if n == 1 {
		return "1 domain"
	}
	return fmt.Sprintf("%d domains, in %d policy files", n, countFiles(n))
}

// measure prints what there is to say of n domains.
func (b *bench) measure(n int, modes []string, edits bool) error {
	data := filepath.Join(b.dir, strconv.Itoa(n))
	log.Printf("%d domains: making certificates", n)
	if out, err := exec.Command(b.tool("stscerts"), "-out", data, "-n", strconv.Itoa(n), "-issuer", closedCAKey).CombinedOutput(); err != nil {
		return fmt.Errorf("stscerts: %w: %s", err, out)
	}
	fmt.Printf("\n### %s\n", title(n))
	servers, err := b.starts(data, n)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	if err := b.fetches(servers, modes, n); err != nil || !edits {
		return err
	}
	for _, s := range servers {
		switch {
		case s.name != "ours":
			s.stop()
		case n >= manyFiles:
			if err := b.changes(s, n); err != nil {
				return err
			}
		}
	}
	return nil
}
