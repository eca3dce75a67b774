package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// baseAge is the max_age of policies as they are before any edit.
	baseAge = 604800

	// manyEdits is how many domains are edited in one go.
	manyEdits = 10_000

	// quiet is how long the server waits before it believes an edit.
	quiet = 300 * time.Millisecond
)

// changes prints what edits cost: of one file, beside two loads, and of all files.
// The loads leave out the domains of the last file, which is the one that is edited.
func (b *bench) changes(s *server, n int) error {
	c, err := newReader(s)
	if err != nil {
		return err
	}
	fmt.Print("\n| fetches beside it | edits of one file | until served: median, longest | p99 of fetches | failed fetches | PSS | goroutines |\n|---|---|---|---|---|---|---|\n")
	calm := "-rate=" + strconv.Itoa(b.rate)
	for _, row := range []struct {
		title string
		load  []string
		edits int
	}{
		{fmt.Sprintf("%d per second", b.rate), []string{calm}, 0},
		{fmt.Sprintf("%d per second", b.rate), []string{calm}, min(b.edits, 50)},
		{"as fast as answered", nil, 0},
		{"as fast as answered", nil, b.edits},
	} {
		log.Printf("%d domains: %d edits, fetches %s", n, row.edits, row.title)
		if err := b.beside(s, c, n, row.title, row.load, row.edits); err != nil {
			return err
		}
	}
	fmt.Printf("\nAims: at most 100 ms beyond the %d ms of waiting for quiet; no failed fetch, p99 unmoved, no growth.\n", quiet.Milliseconds())
	return b.many(s, c, n)
}

// beside makes edits one after another, each when the one before is served, beside a
// load that lasts as long, and prints the row.
func (b *bench) beside(s *server, c *reader, n int, title string, args []string, edits int) error {
	args = append([]string{"-mode", "full", "-domains", strconv.Itoa(n - perFile(n)), "-d", "24h"}, args...)
	if edits == 0 {
		args = append(args, "-d", (3 * b.time).String())
	}
	l, err := b.startLoad(s, args...)
	if err != nil {
		return err
	}
	var took []float64
	end := l.wait
	for range edits {
		end = l.stop
		c.age++
		began := time.Now()
		if err = writePolicies(s.dir, countFiles(n)-1, n, func(int) int { return c.age }); err == nil {
			err = c.await(n)
		}
		if err != nil {
			break
		}
		took = append(took, float64(time.Since(began).Milliseconds()))
	}
	r, lerr := end()
	if err := cmp.Or(err, lerr); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	if err := s.settle(n); err != nil {
		return err
	}
	goroutines, err := s.metric("go_goroutines")
	if err != nil {
		return err
	}
	until := "–"
	if edits > 0 {
		until = fmt.Sprintf("%.0f ms, %.0f ms", median(took), slices.Max(took))
	}
	fmt.Printf("| %s | %d | %s | %.1f ms | %d of %d | %d MiB | %.0f |\n", title, edits, until,
		r.P99/1000, r.Errors, r.Errors+r.Requests, r.Server.PSSAfter>>10, goroutines)
	for text, times := range r.ErrorTexts {
		log.Printf("a fetch failed, %d times: %s", times, text)
	}
	return nil
}

// many edits domains in all files at once, and prints how long it takes.
func (b *bench) many(s *server, c *reader, n int) error {
	edited := min(n, manyEdits)
	step := n / edited
	log.Printf("%d domains: %d edits in one go", n, edited)
	before, err := s.metric("mtasts_config_reloads_total")
	if err != nil {
		return err
	}
	c.age++
	began := time.Now()
	for f := range countFiles(n) {
		if err := writePolicies(s.dir, f, n, func(i int) int {
			if (i-1)%step == 0 {
				return c.age
			}
			return baseAge
		}); err != nil {
			return err
		}
	}
	wrote := time.Since(began)
	// Files are taken in when they have been left alone for long enough: the one
	// that was written last is the last.
	if err := c.await((edited-1)*step + 1); err != nil {
		return err
	}
	took := time.Since(began)
	if _, err := b.load(s, "-mode", "full", "-domains", strconv.Itoa(edited), "-step", strconv.Itoa(step), "-order", "seq",
		"-n", strconv.Itoa(edited), "-max-age", strconv.Itoa(c.age)); err != nil {
		return fmt.Errorf("after %d edits: %w", edited, err)
	}
	after, err := s.metric("mtasts_config_reloads_total")
	if err != nil {
		return err
	}
	fmt.Printf("\n%d edits in one go, over %d files: the last is served %.2f s after the first was written (writing took %.2f s); reloads: %.0f. Aims: 5 s, one reload.\n",
		edited, countFiles(n), took.Seconds(), wrote.Seconds(), after-before)
	return nil
}

// reader is a sender that keeps its connection and sees what is served at every moment,
// at next to no cost to the server.
type reader struct {
	client *http.Client
	age    int // of the last edit
}

func newReader(s *server) (*reader, error) {
	root, err := os.ReadFile(filepath.Join(s.data, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return &reader{age: baseAge, client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		},
	}}}, nil
}

// await asks for a domain's policy until it is that of the last edit.
func (c *reader) await(domain int) error {
	const limit = time.Minute
	want := "max_age: " + strconv.Itoa(c.age) + "\r\n"
	for began := time.Now(); time.Since(began) < limit; time.Sleep(time.Millisecond) {
		res, err := c.client.Get(fmt.Sprintf("https://mta-sts.d%d.example%s", domain, path))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("domain %d: %s, %v", domain, res.Status, err)
		}
		if strings.HasSuffix(string(body), want) {
			return nil
		}
	}
	return fmt.Errorf("domain %d: not served after %v", domain, limit)
}
