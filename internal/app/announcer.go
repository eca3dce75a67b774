package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// run works until ctx is done.
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
