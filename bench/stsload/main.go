// Command stsload measures a server of MTA-STS policies
// (https://mta-sts.<domain>/.well-known/mta-sts.txt) over loopback.
//
// Each request goes to one of N domains, d<I>.example, with that domain's SNI
// and Host, and counts only if the certificate is valid for the name, the
// status is 200, the type text/plain and the body exactly that domain's policy.
// The certificates come from stscerts.
//
// Modes:
//
//	full       one request per connection, full TLS handshake (no session cache)
//	full-h2    the same over HTTP/2
//	resumed    one request per connection, resumed handshake; each worker first
//	           makes a full one with each domain of its own small set
//	keepalive  HTTP/1.1, -per-conn requests per connection
//	h2         HTTP/2, -per-conn requests per connection, one at a time
//	handshake  TLS handshake and close, no request
//	wait       retry one full request to domain -first until it is answered
//	           rightly; the time that took is for start-up and reload tests
//
// SIGINT and SIGTERM end a run as if its time were over, for loads that last as long as
// something else does.
//
// With -pid the CPU time and memory of the server (that process and all its
// descendants) are read from /proc around the measured part.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const path = "/.well-known/mta-sts.txt"

type config struct {
	mode, server, order   string
	domains, first, step  int
	n, conc, perConn      int
	duration, warmup      time.Duration
	timeout               time.Duration
	rate                  float64
	pid, maxAge, sessions int
	roots                 *x509.CertPool
	groups                []tls.CurveID
	leaf                  []byte // DER, or nil for any
	stop                  <-chan struct{}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("stsload: ")
	var c config
	flag.StringVar(&c.mode, "mode", "full", "full, full-h2, resumed, keepalive, h2, handshake or wait")
	flag.StringVar(&c.server, "server", "127.0.0.1:8443", "`host:port` of the server")
	flag.IntVar(&c.domains, "domains", 1, "number of domains")
	flag.IntVar(&c.first, "first", 1, "number of the first domain")
	flag.IntVar(&c.step, "step", 1, "from the number of one domain to that of the next")
	flag.StringVar(&c.order, "order", "random", "order of the domains: random, or seq to touch each")
	flag.IntVar(&c.n, "n", 0, "stop after this many requests; 0 for no limit")
	flag.DurationVar(&c.duration, "d", 0, "stop after this time; 0 for no limit")
	flag.DurationVar(&c.warmup, "warmup", 0, "time at the start that is not measured")
	flag.IntVar(&c.conc, "c", 8, "number of workers, each with one connection")
	flag.IntVar(&c.perConn, "per-conn", 1000, "requests per connection in keepalive and h2")
	flag.IntVar(&c.sessions, "sessions", 16, "domains per worker in resumed")
	flag.Float64Var(&c.rate, "rate", 0, "requests per second, begun on time whatever the answers (open loop); 0 for as fast as answered")
	flag.DurationVar(&c.timeout, "timeout", 10*time.Second, "time limit of one request; of the whole in wait")
	flag.IntVar(&c.pid, "pid", 0, "process id of the server, to measure its CPU time and memory")
	flag.IntVar(&c.maxAge, "max-age", 604800, "max_age in the expected policies")
	ca := flag.String("ca", "", "PEM `file` of the root certificate (required)")
	leaf := flag.String("leaf", "", "in wait: PEM `file` whose first certificate the server must present")
	groups := flag.String("groups", "", "key exchange groups to offer, comma separated: x25519, p256, mlkem (X25519MLKEM768); empty for Go's own list")
	asJSON := flag.Bool("json", false, "print the result as one JSON object")
	label := flag.String("label", "", "text to repeat in the result")
	flag.Parse()
	if *ca == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if c.n == 0 && c.duration == 0 && c.mode != "wait" {
		c.duration = 5 * time.Second
	}
	root, err := os.ReadFile(*ca)
	if err != nil {
		log.Fatal(err)
	}
	c.roots = x509.NewCertPool()
	if !c.roots.AppendCertsFromPEM(root) {
		log.Fatalf("%s: no certificate", *ca)
	}
	if c.groups, err = parseGroups(*groups); err != nil {
		log.Fatal(err)
	}
	if *leaf != "" {
		if c.leaf, err = readLeaf(*leaf); err != nil {
			log.Fatal(err)
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	c.stop = ctx.Done()
	r, err := run(&c)
	if err != nil {
		log.Fatal(err)
	}
	r.Label = *label
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(r)
	} else {
		r.print(os.Stdout)
	}
	if r.Errors > 0 || r.Requests == 0 {
		os.Exit(1)
	}
}

func readLeaf(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("%s: no certificate", file)
}

func parseGroups(s string) (groups []tls.CurveID, err error) {
	names := map[string]tls.CurveID{"x25519": tls.X25519, "p256": tls.CurveP256, "mlkem": tls.X25519MLKEM768}
	if s == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(s, ",") {
		g, ok := names[name]
		if !ok {
			return nil, fmt.Errorf("unknown group %q", name)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// policy is the policy of domain i.
func policy(i, maxAge int) string {
	return fmt.Sprintf("version: STSv1\r\nmode: enforce\r\nmx: mx1.d%d.example\r\nmx: mx2.d%d.example\r\n"+
		"mx: *.mail.d%d.example\r\nmax_age: %d\r\n", i, i, i, maxAge)
}

func host(i int) string { return "mta-sts.d" + strconv.Itoa(i) + ".example" }

// result is what a run reports. Latencies are in microseconds, from the start
// of the connection (or the request, on a connection in use) to the checked body;
// with -rate, from the time at which the request was due.
type result struct {
	Label       string           `json:"label,omitempty"`
	Mode        string           `json:"mode"`
	Domains     int              `json:"domains"`
	Concurrency int              `json:"concurrency"`
	Seconds     float64          `json:"seconds"`
	Requests    int              `json:"requests"`
	Errors      int              `json:"errors"`
	ErrorTexts  map[string]int   `json:"error_texts,omitempty"`
	PerSecond   float64          `json:"per_second"`
	P50         float64          `json:"p50_us"`
	P90         float64          `json:"p90_us"`
	P99         float64          `json:"p99_us"`
	P999        float64          `json:"p999_us"`
	Max         float64          `json:"max_us"`
	Handshakes  map[string]int64 `json:"handshakes"` // by version, group and kind
	ClientCPU   float64          `json:"client_cpu_us_per_request"`
	Server      *serverCost      `json:"server,omitempty"`
}

type serverCost struct {
	Processes int     `json:"processes"`
	CPU       float64 `json:"cpu_us_per_request"`
	User      float64 `json:"user_us_per_request"`
	Sys       float64 `json:"sys_us_per_request"`
	Cores     float64 `json:"cores"` // mean number of cores in use
	RSSBefore int64   `json:"rss_kb_before"`
	RSSAfter  int64   `json:"rss_kb_after"`
	PSSBefore int64   `json:"pss_kb_before"` // shared pages counted once
	PSSAfter  int64   `json:"pss_kb_after"`
}

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d requests to %d domains in %.2f s, %d errors, %d workers\n",
		r.Mode, r.Requests, r.Domains, r.Seconds, r.Errors, r.Concurrency)
	fmt.Fprintf(w, "  %.0f requests/s; latency us: p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\n",
		r.PerSecond, r.P50, r.P90, r.P99, r.P999, r.Max)
	fmt.Fprintf(w, "  client CPU %.1f us/request; handshakes: %v\n", r.ClientCPU, r.Handshakes)
	if s := r.Server; s != nil {
		fmt.Fprintf(w, "  server CPU %.1f us/request (user %.1f, sys %.1f), %.2f cores, %d processes\n",
			s.CPU, s.User, s.Sys, s.Cores, s.Processes)
		fmt.Fprintf(w, "  server memory kB: RSS %d -> %d, PSS %d -> %d\n", s.RSSBefore, s.RSSAfter, s.PSSBefore, s.PSSAfter)
	}
	for text, n := range r.ErrorTexts {
		fmt.Fprintf(w, "  error, %d times: %s\n", n, text)
	}
}
