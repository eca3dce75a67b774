package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// run does the whole measurement.
func run(c *config) (*result, error) {
	if c.mode == "wait" {
		return runWait(c)
	}
	if !slices.Contains([]string{"full", "full-h2", "resumed", "keepalive", "h2", "handshake"}, c.mode) {
		return nil, fmt.Errorf("unknown mode %q", c.mode)
	}
	r := newRunner(c)
	workers := make([]*worker, c.conc)
	for i := range workers {
		workers[i] = &worker{r: r, rng: rand.New(rand.NewPCG(rand.Uint64(), uint64(i)))}
	}
	if c.mode == "resumed" {
		if err := each(workers, (*worker).prime); err != nil {
			return nil, err
		}
	}
	if c.warmup > 0 {
		r.deadline = time.Now().Add(c.warmup)
		if err := each(workers, (*worker).loop); err != nil {
			return nil, err
		}
		for _, w := range workers {
			w.samples, w.errs = w.samples[:0], nil
		}
		r.handshakes.Clear()
		r.taken.Store(0)
	}
	r.measured = true
	memBefore, err := readMemory(c.pid)
	if err != nil {
		return nil, err
	}
	before, err := readUsage(c.pid)
	if err != nil {
		return nil, err
	}
	r.start = time.Now()
	r.deadline = time.Time{}
	if c.duration > 0 {
		r.deadline = r.start.Add(c.duration)
	}
	each(workers, (*worker).loop)
	elapsed := time.Since(r.start)
	after, err := readUsage(c.pid)
	if err != nil {
		return nil, err
	}
	memAfter, err := readMemory(c.pid)
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		w.hangUp()
	}
	res := r.report(workers, elapsed, before, after)
	if s := res.Server; s != nil {
		s.RSSBefore, s.PSSBefore = memBefore[0], memBefore[1]
		s.RSSAfter, s.PSSAfter = memAfter[0], memAfter[1]
	}
	return res, nil
}

func each(workers []*worker, f func(*worker) error) error {
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { errs[i] = f(w) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// runWait repeats one request until it succeeds.
func runWait(c *config) (*result, error) {
	r := newRunner(c)
	w := &worker{r: r, rng: rand.New(rand.NewPCG(1, 1))}
	start, tries := time.Now(), 0
	limit := start.Add(c.timeout)
	r.cfg.timeout = 2 * time.Second
	for {
		err := w.oneShot(c.first)
		tries++
		if err == nil {
			us := float64(time.Since(start).Microseconds())
			return &result{
				Mode: c.mode, Domains: 1, Concurrency: 1, Seconds: us / 1e6, Requests: 1, PerSecond: float64(tries) / us * 1e6,
				P50: us, P90: us, P99: us, P999: us, Max: us,
			}, nil
		}
		if time.Now().After(limit) {
			return nil, fmt.Errorf("no right answer in %v: %w", time.Since(start).Round(time.Millisecond), err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// runner is the state that the workers share.
type runner struct {
	cfg      *config
	tls      *tls.Config
	taken    atomic.Int64 // requests begun
	start    time.Time
	deadline time.Time
	measured bool

	verified   sync.Map // SHA-256 of a leaf certificate whose chain was found good
	handshakes sync.Map // description -> *atomic.Int64
}

func newRunner(c *config) *runner {
	r := &runner{cfg: c}
	r.tls = &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: c.groups,
		// verify does what this turns off, but builds each chain only once:
		// the client must not cost more than the server under test.
		InsecureSkipVerify: true,
		VerifyConnection:   r.verify,
	}
	return r
}

func (r *runner) verify(cs tls.ConnectionState) error {
	leaf := cs.PeerCertificates[0]
	if r.cfg.leaf != nil && !bytes.Equal(leaf.Raw, r.cfg.leaf) {
		return errors.New("another certificate than that of -leaf")
	}
	if err := leaf.VerifyHostname(cs.ServerName); err != nil {
		return err
	}
	sum := sha256.Sum256(leaf.Raw)
	if _, ok := r.verified.Load(sum); ok {
		return nil
	}
	opts := x509.VerifyOptions{Roots: r.cfg.roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	r.verified.Store(sum, nil)
	return nil
}

// take begins the next request: the domain for it and the time at which its
// latency starts; ok is false when the run is over.
func (r *runner) take(rng *rand.Rand) (domain int, due time.Time, ok bool) {
	select {
	case <-r.cfg.stop:
		return 0, due, false
	default:
	}
	k := r.taken.Add(1) - 1
	if r.measured && r.cfg.n > 0 && k >= int64(r.cfg.n) {
		return 0, due, false
	}
	due = time.Now()
	if r.measured && r.cfg.rate > 0 {
		at := r.start.Add(time.Duration(float64(k) / r.cfg.rate * 1e9))
		time.Sleep(at.Sub(due))
		due = at
	}
	if !r.deadline.IsZero() && !due.Before(r.deadline) {
		return 0, due, false
	}
	if r.cfg.order == "seq" {
		return r.domain(int(k % int64(r.cfg.domains))), due, true
	}
	return r.domain(rng.IntN(r.cfg.domains)), due, true
}

// domain is the number of the domain that comes k after the first.
func (r *runner) domain(k int) int { return r.cfg.first + k*r.cfg.step }

func (r *runner) count(cs tls.ConnectionState) {
	kind := "full"
	if cs.DidResume {
		kind = "resumed"
	}
	key := tls.VersionName(cs.Version) + " " + cs.CurveID.String() + " " + kind
	n, ok := r.handshakes.Load(key)
	if !ok {
		n, _ = r.handshakes.LoadOrStore(key, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}
