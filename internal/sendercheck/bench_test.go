package sendercheck_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/internal/sendercheck/sendertest"
)

// worldEnv makes the test program the world of BenchmarkCheckAll, in a process of its
// own: what that takes is not the checker's.
const worldEnv = "SENDERCHECK_WORLD"

func TestMain(m *testing.M) {
	if os.Getenv(worldEnv) == "" {
		os.Exit(m.Run())
	}
	if err := benchWorld(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// place is where the world is.
type place struct {
	Resolver            string
	HTTPSPort, SMTPPort int
	Root                []byte
}

// benchWorld serves any number of domains, d0.example and so on, until its input ends:
// their policies come from one address, each with a certificate of its own, and their
// mail goes to two hosts.
func benchWorld() error {
	w, err := sendertest.Start()
	if err != nil {
		return err
	}
	defer w.Close()
	web, mail := w.Address(), w.Address()
	w.Synthesize = func(q dns.Question) (rrs []dns.RR) {
		name := strings.TrimSuffix(q.Name, ".")
		_, rest, _ := strings.Cut(name, ".")
		line := ""
		switch {
		case strings.HasPrefix(name, "_mta-sts.d"):
			line = `TXT "v=STSv1; id=1;"`
		case strings.HasPrefix(name, "_smtp._tls.d"):
			line = `TXT "v=TLSRPTv1; rua=mailto:r@example.net"`
		case strings.HasPrefix(name, "mta-sts.d"):
			line = "A " + web.String()
		case rest == "mx.provider.example":
			line = "A " + mail.String()
		case strings.HasPrefix(name, "d"):
			for _, mx := range []string{"MX 10 a.mx.provider.example.", "MX 20 b.mx.provider.example."} {
				rr, _ := dns.NewRR(q.Name + " 300 IN " + mx)
				rrs = append(rrs, rr)
			}
			return rrs
		default:
			return nil
		}
		rr, _ := dns.NewRR(q.Name + " 300 IN " + line)
		return []dns.RR{rr}
	}
	forName := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := w.Issue(sendertest.Leaf{Names: []string{hello.ServerName}})
		return &cert, err
	}}
	if err := w.PolicyHost(web, forName, sendertest.Text("version: STSv1\r\nmode: enforce\r\nmx: *.mx.provider.example\r\nmax_age: 1209600\r\n")); err != nil {
		return err
	}
	if err := w.MXHost(mail, &sendertest.MXHost{TLS: forName}); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(place{w.Resolver, w.HTTPSPort, w.SMTPPort, w.RootPEM}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startWorld starts benchWorld beside us.
func startWorld(b *testing.B) place {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), worldEnv+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	check(b, err)
	out, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	b.Cleanup(func() {
		check(b, in.Close())
		check(b, cmd.Wait())
	})
	var p place
	check(b, json.NewDecoder(out).Decode(&p))
	return p
}

// BenchmarkCheckAll looks at b.N healthy domains of one provider. For the figures of
// docs/performance.md: -benchtime 10000x.
func BenchmarkCheckAll(b *testing.B) {
	p := startWorld(b)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.Root)
	for _, c := range []struct{ parallel, perTarget int }{{16, 2}, {16, 16}, {64, 64}} {
		b.Run(fmt.Sprintf("parallel=%d/per-target=%d", c.parallel, c.perTarget), func(b *testing.B) {
			checker, err := sendercheck.New(sendercheck.Options{
				Resolver: lookup.New([]string{p.Resolver}, nil), Roots: pool, HTTPSPort: p.HTTPSPort, SMTPPort: p.SMTPPort, AllowPrivate: true, PerTarget: c.perTarget,
			})
			check(b, err)
			jobs := func(yield func(sendercheck.Job) bool) {
				for i := range b.N {
					if !yield(sendercheck.Job{Domain: fmt.Sprintf("d%d.example", i)}) {
						return
					}
				}
			}
			before := processorTime()
			b.ResetTimer()
			checker.NewRun().CheckAll(b.Context(), jobs, c.parallel, func(r *sendercheck.Report) {
				if r.Verdict != sendercheck.Protected {
					b.Errorf("%s: %s %+v", r.Domain, r.Verdict, r.Findings)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "domains/s")
			b.ReportMetric((processorTime()-before)/float64(b.N), "cpu-ms/domain")
			b.ReportMetric(peakMemory(), "peak-MiB")
		})
	}
}

// processorTime is how long this process ran so far, in milliseconds; 0 where that
// cannot be known.
func processorTime() float64 {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return 10 * (user + system) // clock ticks, of which there are a hundred in a second
}

// peakMemory is the most that this process had in memory so far, in MiB; 0 where that
// cannot be known.
func peakMemory() float64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}
