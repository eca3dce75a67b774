package sendercheck

import (
	"context"
	"iter"
	"net/netip"
	"sync"

	"golang.org/x/sync/singleflight"
)

const (
	// maxKnownHosts bounds the MX hosts that a run remembers. Thousands of domains share
	// a provider's; who has hosts of his own is looked at once anyway.
	maxKnownHosts = 10_000

	// ahead is how many domains, for each that is looked at, may wait for the ones before
	// them to be told of: one that takes a minute does not hold up all others.
	ahead = 64

	// hopeless is after how many addresses, all silent, port 25 counts as closed for us.
	hopeless = 8
)

// Run is a look at many domains, which have MX hosts in common: each host is looked at
// once. It may be used by several goroutines.
type Run struct {
	c      *Checker
	port25 port25

	asking singleflight.Group
	mu     sync.Mutex
	known  map[string]*HostProbe
}

// NewRun begins a run.
func (c *Checker) NewRun() *Run {
	return &Run{c: c, known: map[string]*HostProbe{}, port25: port25{silent: map[netip.Addr]bool{}}}
}

// Check looks at one domain. want is what is configured and served for a domain of
// ours, nil for others.
func (c *Checker) Check(ctx context.Context, domain string, want *Want) *Report {
	return c.NewRun().Check(ctx, domain, want)
}

// Job is a domain to look at.
type Job struct {
	Domain string
	Want   *Want // nil for domains that are not ours
}

// CheckAll looks at domains, so many at a time, and calls each with their reports, one
// after the other and in the order of the jobs. It returns early when ctx ends.
func (r *Run) CheckAll(ctx context.Context, jobs iter.Seq[Job], parallel int, each func(*Report)) {
	type ticket struct {
		job  Job
		done chan *Report
	}
	work, order := make(chan ticket), make(chan ticket, ahead*parallel)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for t := range work {
				t.done <- r.Check(ctx, t.job.Domain, t.job.Want)
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		defer close(order)
		for job := range jobs {
			t := ticket{job, make(chan *Report, 1)}
			if ctx.Err() != nil {
				return
			}
			order <- t
			work <- t
		}
	})
	for t := range order {
		each(<-t.done)
	}
	wg.Wait()
}

// Port25Closed reports whether this machine seems not to be allowed to connect to
// port 25: it tried several addresses, and none answered.
func (r *Run) Port25Closed() bool { return r.port25.closed() }

// host returns what is found at an MX host, once in a run.
func (r *Run) host(ctx context.Context, host string) *HostProbe {
	r.mu.Lock()
	p := r.known[host]
	r.mu.Unlock()
	if p != nil {
		return p
	}
	v, _, _ := r.asking.Do(host, func() (any, error) {
		p := r.probeHost(ctx, host)
		r.mu.Lock()
		defer r.mu.Unlock()
		for old := range r.known {
			if len(r.known) < maxKnownHosts {
				break
			}
			delete(r.known, old)
		}
		r.known[host] = p
		return p, nil
	})
	return v.(*HostProbe)
}

// port25 finds out whether this machine may connect to port 25.
type port25 struct {
	mu     sync.Mutex
	ok     bool
	silent map[netip.Addr]bool
}

func (p *port25) worked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ok = true
}

func (p *port25) failed(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.silent) < hopeless {
		p.silent[addr] = true
	}
}

func (p *port25) closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.ok && len(p.silent) >= hopeless
}
