package app

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/ledger"
)

const (
	// maxAnnouncing is how many domains are worked for at a time: each waits for name
	// servers and for its own policy host, most of the time.
	maxAnnouncing = 16

	// announceLimit bounds one piece of work for a domain: a fetch from a few addresses, or
	// an update, and a hook that takes as long as it may.
	announceLimit = 15 * time.Minute

	// foreignWait is when a record that stands in the way is looked at again: it takes a
	// person to remove it.
	foreignWait = time.Hour
)

// announceWaits are the waits after the first, second, ... failure. The first ones are for
// replicas that are a moment behind, and certificates that are just being ordered.
var announceWaits = [...]time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// step is what is next for a domain whose records are not what they should be.
type step string

const (
	stepPrepare  step = "publish where the policy host is, and where to report to"
	stepSee      step = "see the policy served, from outside"
	stepDelay    step = "wait for dns.id_delay"
	stepAnnounce step = "announce the id"
	stepWithdraw step = "withdraw the records"
	stepLeave    step = "withdraw the policy host's record"
)

// announcer brings into DNS what is served: the policy host's record and where to report
// to at once, the id when the policy was seen from outside (RFC 8461 §8.1: body first), and
// out of it what is no longer served (§8.3: the id first). What it did is in the ledger.
// A domain whose records are as they should be costs nothing here.
type announcer struct {
	settings config.DNS
	ledger   *ledger.Ledger
	log      *slog.Logger
	now      func() time.Time

	// see returns no error if each address of the domain's policy host serves body.
	see   func(ctx context.Context, domain string, body []byte) error
	ways  []way
	zone  *dnsrecords.Zone // nil: no domain is delegated to us
	files *exporter        // nil: no zone files are written

	mu    sync.Mutex
	tasks map[string]*announcement
	due   announcements
	wake  chan struct{}
}

// way is one of the ways to change other people's zones.
type way interface {
	// apply brings want about, where before is what was announced by us before.
	apply(ctx context.Context, want, before dnsrecords.Set) error
	// leave removes the record of the policy host, when all others are gone.
	leave(ctx context.Context, domain string) error
	name() string
}

// foreignError is a record of somebody else's that stands in the way.
type foreignError struct{ error }

// announcement is a domain whose records are not what they should be.
type announcement struct {
	domain string
	rua    string // as in the record

	step     step
	since    time.Time // when step became the next one
	at       time.Time // when to go on
	failures int
	err      error
	seen     string // the id that was seen from outside
	running  bool
	touched  bool // it changed while it was being worked for
	index    int  // in due; -1: it is not there
}

// begin takes up what the ledger says is announced. To be called once, before touch.
func (a *announcer) begin() {
	var sets []dnsrecords.Set
	var gone []string
	for _, x := range a.ledger.AllAnnounced() {
		sets = append(sets, announced(x))
		if _, published := a.ledger.Lookup(x.Domain); !published {
			gone = append(gone, x.Domain)
		}
	}
	a.publish(sets, nil)
	for _, domain := range gone {
		a.put(domain, "")
	}
}

func announced(x ledger.Announcement) dnsrecords.Set {
	set := dnsrecords.Set{Domain: x.Domain, ID: x.ID}
	if x.RUA != "" {
		set.RUA = strings.Split(x.RUA, ",") // which is percent-encoded within a URI (RFC 8460 §3)
	}
	return set
}

// publish is for what is ours alone: the zone, and files.
func (a *announcer) publish(sets []dnsrecords.Set, removed []string) {
	if a.zone != nil {
		a.zone.Set(sets, removed)
	}
	if a.files != nil {
		a.files.take(sets, removed)
	}
}

// touch compares what is served of the touched domains with what is announced. It waits for
// nothing. A domain that is nil is not configured, or not valid: where to report to stays.
func (a *announcer) touch(touched map[string]*config.Domain, kept map[string]kept) {
	for domain, d := range touched {
		was, before := a.ledger.Announced(domain)
		rua := was.RUA
		if _, isKept := kept[domain]; d != nil && !isKept {
			rua = strings.Join(d.TLSRPT, ",")
		}
		if e, published := a.ledger.Lookup(domain); published && was.ID == e.ID && was.RUA == rua {
			a.drop(domain)
			continue
		} else if !published && !before {
			a.drop(domain)
			continue
		}
		a.put(domain, rua)
	}
}

// put begins to work for domain, or begins anew.
func (a *announcer) put(domain, rua string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[domain]
	if t == nil {
		t = &announcement{domain: domain, index: -1}
		a.tasks[domain] = t
	}
	t.rua, t.failures, t.err = rua, 0, nil
	if t.running {
		t.touched = true
		return
	}
	a.schedule(t, a.now())
}

// drop ends the work for domain, for which there is nothing to do any more.
func (a *announcer) drop(domain string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[domain]
	if t == nil {
		return
	}
	if t.running { // who works for it looks again
		t.touched = true
		return
	}
	if t.index >= 0 {
		heap.Remove(&a.due, t.index)
	}
	delete(a.tasks, domain)
}

// schedule has t gone on with at that time. The mutex is held.
func (a *announcer) schedule(t *announcement, at time.Time) {
	t.at = at
	if t.index >= 0 {
		heap.Fix(&a.due, t.index)
	} else {
		heap.Push(&a.due, t)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done.
func (a *announcer) run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, maxAnnouncing)
	for {
		select {
		case <-ctx.Done():
			return
		case places <- struct{}{}:
		}
		t := a.next(ctx)
		if t == nil {
			return
		}
		working.Go(func() {
			defer func() { <-places }()
			limited, cancel := context.WithTimeout(ctx, announceLimit)
			defer cancel()
			wait, err := a.work(limited, t)
			a.done(t, wait, err)
		})
	}
}

// next waits for the first domain that is due; nil when ctx is done.
func (a *announcer) next(ctx context.Context) *announcement {
	for {
		a.mu.Lock()
		wait := time.Hour
		if len(a.due) > 0 {
			t := a.due[0]
			if wait = t.at.Sub(a.now()); wait <= 0 {
				heap.Pop(&a.due)
				t.running = true
				a.mu.Unlock()
				return t
			}
		}
		a.mu.Unlock()
		timer := time.NewTimer(min(wait, time.Minute)) // the clock may be set
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// finished is the wait of a domain that needs no more work.
const finished = -1

// done notes what work came to.
func (a *announcer) done(t *announcement, wait time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.running = false
	if err != nil && !t.touched {
		if t.failures++; t.err == nil || t.err.Error() != err.Error() {
			a.log.Warn("not announced yet", "domain", t.domain, "next", string(t.step), "err", err)
		}
		t.err = err
		wait = announceWaits[min(t.failures, len(announceWaits))-1]
		if _, foreign := errors.AsType[foreignError](err); foreign {
			wait = foreignWait
		}
		wait += time.Duration(rand.Int64N(int64(wait)/5 + 1))
	}
	switch {
	case t.touched:
		t.touched = false
		a.schedule(t, a.now())
	case wait == finished:
		delete(a.tasks, t.domain)
	default:
		if err == nil {
			t.failures, t.err = 0, nil
		}
		a.schedule(t, a.now().Add(wait))
	}
}

// work takes the next step for t. It returns how long to wait for the one after it.
func (a *announcer) work(ctx context.Context, t *announcement) (wait time.Duration, err error) {
	was, before := a.ledger.Announced(t.domain)
	e, published := a.ledger.Lookup(t.domain)
	a.mu.Lock()
	rua := t.rua
	a.mu.Unlock()
	switch {
	case !published && !before:
		return finished, nil
	case !published && (was.ID != "" || was.RUA != ""):
		a.enter(t, stepWithdraw)
		return 0, a.announce(ctx, was, "", "")
	case !published && a.now().Sub(was.At) < a.settings.TTL:
		return a.settings.TTL - a.now().Sub(was.At), nil
	case !published:
		// The host's record outlives the others by as long as they are cached.
		a.enter(t, stepLeave)
		return finished, a.leave(ctx, t.domain)
	case !before || was.RUA != rua:
		a.enter(t, stepPrepare)
		return 0, a.announce(ctx, was, was.ID, rua)
	case was.ID == e.ID:
		return finished, nil
	}
	if t.seen != e.ID {
		a.enter(t, stepSee)
		if err := a.see(ctx, t.domain, e.Body); err != nil {
			return 0, err
		}
		t.seen = e.ID
		a.log.Info("policy seen from outside", "domain", t.domain, "id", e.ID)
		if a.settings.IDDelay > 0 {
			a.enter(t, stepDelay)
			return a.settings.IDDelay, nil
		}
	} else if t.step == stepDelay || t.step == stepAnnounce {
		// Replicas may have fallen behind since.
		if err := a.see(ctx, t.domain, e.Body); err != nil {
			t.seen = ""
			a.enter(t, stepSee)
			return 0, err
		}
	}
	if a.outdated(t) { // what was seen is not what is served by now
		return 0, nil
	}
	a.enter(t, stepAnnounce)
	return finished, a.announce(ctx, was, e.ID, rua)
}

// outdated reports whether t changed while it was being worked for.
func (a *announcer) outdated(t *announcement) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.touched
}

func (a *announcer) enter(t *announcement, s step) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.step != s {
		t.step, t.since = s, a.now()
	}
}

// errDryRun ends a step that was only told of.
var errDryRun = errors.New("dns.dry_run is set: nothing is published")

// announce brings into DNS what is to be announced in place of was, and notes it.
func (a *announcer) announce(ctx context.Context, was ledger.Announcement, id, rua string) error {
	now := ledger.Announcement{Domain: was.Domain, ID: id, RUA: rua}
	want, before := announced(now), announced(was)
	for _, w := range a.ways {
		if err := w.apply(ctx, want, before); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	if a.settings.DryRun {
		for _, r := range dnsrecords.Wanted(want, a.settings.Target, a.settings.TTL) {
			a.log.Info("would be published", "domain", was.Domain, "record", r.String())
		}
		return foreignError{errDryRun}
	}
	if err := a.ledger.Announce(a.now(), []ledger.Announcement{now}); err != nil {
		a.log.Warn("what is announced could not be recorded yet", "domain", was.Domain, "err", err)
	}
	a.publish([]dnsrecords.Set{want}, nil)
	a.log.Info("announced", "domain", was.Domain, "id", id, "before", was.ID, "rua", rua)
	return nil
}

// leave removes the last record of a domain.
func (a *announcer) leave(ctx context.Context, domain string) error {
	for _, w := range a.ways {
		if err := w.leave(ctx, domain); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	if a.settings.DryRun {
		return foreignError{errDryRun}
	}
	if err := a.ledger.Unannounce(a.now(), domain); err != nil {
		a.log.Warn("what is announced could not be recorded yet", "domain", domain, "err", err)
	}
	a.publish(nil, []string{domain})
	a.log.Info("nothing is announced any more", "domain", domain)
	return nil
}

// announcements is a heap of them by time.
type announcements []*announcement

func (h announcements) Len() int           { return len(h) }
func (h announcements) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h announcements) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *announcements) Push(x any) {
	t := x.(*announcement)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *announcements) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = -1
	*h = slices.Delete(old, len(old)-1, len(old))
	return t
}
