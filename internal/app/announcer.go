package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

	// unusable is why one of the ways cannot be gone. Then the zone and the files go on
	// as they are, and nothing new is announced.
	unusable error

	told  func(domain string)      // is told of each new id in DNS; may be nil
	waits func(domain string) bool // whether DNS is to say first what was announced; may be nil

	showing sync.Mutex // held while zone and files get what the ledger says
	version int        // of the ledger, when all of it was shown; touch's alone

	mu       sync.Mutex
	tasks    map[string]*announcement
	due      announcements // those that have not failed
	again    announcements // those that have
	retrying int           // of again that are being worked for
	wake     chan struct{}
}

// way is one of the ways to change other people's zones.
type way interface {
	// apply brings want about, where before is what was announced by us before.
	apply(ctx context.Context, want, before dnsrecords.Set) error
	// withdraw removes what before announces, but not the record of the policy host.
	withdraw(ctx context.Context, before dnsrecords.Set) error
	// leave removes the record of the policy host, when all others are gone.
	leave(ctx context.Context, domain string) error
	// covers reports whether the domain's records are published so.
	covers(domain string) bool
	name() string
}

// foreignError is a record of somebody else's that stands in the way.
type foreignError struct{ error }

// announcement is a domain whose records are not what they should be.
type announcement struct {
	domain string
	id     string // of what is served; "" for nothing
	rua    string // as in the record

	step     step
	since    time.Time // when step became the next one
	at       time.Time // when to go on
	failures int
	err      error
	seen     string // the id that was seen from outside
	seenAt   time.Time
	told     *ledger.Announcement // what a dry run would have announced
	running  bool
	retry    bool           // it is being worked for after a failure
	touched  bool           // it changed while it was being worked for
	queue    *announcements // where it waits; nil: nowhere
	index    int            // its place there
}

// begin takes up what the ledger says is announced. To be called before touch, which calls it
// again when more of the ledger has been read.
func (a *announcer) begin() {
	a.version = a.ledger.Version()
	all := a.show()
	for _, x := range all {
		if _, published := a.ledger.Lookup(x.Domain); !published {
			a.put(x.Domain, "", "")
		}
	}
}

// show gives the zone, and files, all that is announced.
func (a *announcer) show() []ledger.Announcement {
	a.showing.Lock()
	defer a.showing.Unlock()
	all := a.ledger.AllAnnounced()
	sets := make([]dnsrecords.Set, len(all))
	for i, x := range all {
		sets[i] = announced(x)
	}
	a.publish(sets, nil)
	return all
}

// showOne does so for one domain.
func (a *announcer) showOne(domain string) {
	a.showing.Lock()
	defer a.showing.Unlock()
	if x, ok := a.ledger.Announced(domain); ok {
		a.publish([]dnsrecords.Set{announced(x)}, nil)
	} else {
		a.publish(nil, []string{domain})
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
	if a.ledger.Version() != a.version { // storage answers again, or somebody else wrote
		a.begin()
	}
	for domain, d := range touched {
		was, before := a.ledger.Announced(domain)
		rua := was.RUA
		if _, isKept := kept[domain]; d != nil && !isKept {
			rua = strings.Join(d.TLSRPT, ",")
		}
		e, published := a.ledger.Lookup(domain)
		done := before && was.ID == e.ID && was.RUA == rua && was.By == a.by(domain)
		if published && done || !published && !before || a.by(domain) == "" {
			a.drop(domain)
			continue
		}
		a.put(domain, e.ID, rua)
	}
}

// by are the ways by which the domain is announced, in a word for the ledger; "" for none.
func (a *announcer) by(domain string) string {
	var names []string
	for _, w := range a.ways {
		if w.covers(domain) {
			names = append(names, w.name())
		}
	}
	if a.zone != nil {
		names = append(names, "zone")
	}
	if a.files != nil {
		names = append(names, "export")
	}
	return strings.Join(names, "+")
}

// run works until ctx is done.
func (a *announcer) run(ctx context.Context) {
	if a.unusable != nil {
		return
	}
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
	if t.told != nil {
		was, before = *t.told, true
	}
	e, published := a.ledger.Lookup(t.domain)
	a.mu.Lock()
	rua := t.rua
	a.mu.Unlock()
	switch {
	case !published && !before:
		return finished, nil
	case a.waits != nil && a.waits(t.domain):
		return time.Minute, nil // its record is all that is known of it
	case !published && (was.ID != "" || was.RUA != ""):
		a.enter(t, stepWithdraw)
		return 0, a.withdraw(ctx, t, was)
	case !published && a.now().Sub(was.At) < a.settings.TTL && t.told == nil:
		return a.settings.TTL - a.now().Sub(was.At), nil
	case !published:
		// The host's record outlives the others by as long as they are cached.
		a.enter(t, stepLeave)
		return finished, a.leave(ctx, t)
	case !before || was.RUA != rua || was.By != a.by(t.domain):
		a.enter(t, stepPrepare)
		return 0, a.announce(ctx, t, was, was.ID, rua)
	case was.ID == e.ID:
		return finished, nil
	}
	if left, err := a.look(ctx, t, e); err != nil || left > 0 {
		return left, err
	}
	if a.outdated(t) { // what was seen is not what is served by now
		return 0, nil
	}
	a.enter(t, stepAnnounce)
	return finished, a.announce(ctx, t, was, e.ID, rua)
}

// look sees the policy served, from outside: at once, and once more when dns.id_delay is
// over, since replicas may have fallen behind. It returns how much of that is left.
func (a *announcer) look(ctx context.Context, t *announcement, e ledger.Entry) (left time.Duration, err error) {
	delay, now := a.settings.IDDelay, a.now()
	if t.seen != e.ID || t.seenAt.After(now) { // or the clock was set back
		t.seen = ""
	}
	if left = t.seenAt.Add(delay).Sub(now); t.seen != "" && left > 0 {
		a.enter(t, stepDelay)
		return left, nil
	}
	if t.seen == "" || delay == 0 {
		a.enter(t, stepSee)
	}
	if err := a.see(ctx, t.domain, e.Body); err != nil {
		t.seen = ""
		a.enter(t, stepSee)
		return 0, err
	}
	if t.seen != "" {
		return 0, nil
	}
	t.seen, t.seenAt = e.ID, now
	a.log.Info("policy seen from outside", "domain", t.domain, "id", e.ID)
	if delay > 0 {
		a.enter(t, stepDelay)
	}
	return delay, nil
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

// announce brings into DNS what is to be announced in place of was, and notes it.
func (a *announcer) announce(ctx context.Context, t *announcement, was ledger.Announcement, id, rua string) error {
	now := ledger.Announcement{Domain: t.domain, ID: id, RUA: rua, By: a.by(t.domain), At: a.now()}
	want := announced(now)
	for _, w := range a.ways {
		if !w.covers(t.domain) {
			continue
		}
		before := announced(was)
		if was.By != "" && !slices.Contains(strings.Split(was.By, "+"), w.name()) { // a way that is new has announced nothing
			before = dnsrecords.Set{Domain: t.domain}
		}
		if err := w.apply(ctx, want, before); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	if a.settings.DryRun {
		for _, r := range dnsrecords.Wanted(want, a.settings.Target, a.settings.TTL) {
			a.log.Info("would be published", "domain", t.domain, "record", r.String())
		}
		t.told = &now
		return nil
	}
	a.note(a.ledger.Announce(a.now(), []ledger.Announcement{now}), t.domain)
	a.log.Info("announced", "domain", t.domain, "id", id, "before", was.ID, "rua", rua, "by", now.By)
	if a.told != nil && id != was.ID {
		a.told(t.domain)
	}
	return nil
}

// withdraw takes out of DNS what was announced, but not the record of the policy host.
func (a *announcer) withdraw(ctx context.Context, t *announcement, was ledger.Announcement) error {
	for _, w := range a.ways {
		if err := a.unlessElsewhere(t, w.withdraw(ctx, announced(was))); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	now := ledger.Announcement{Domain: t.domain, By: was.By, At: a.now()}
	if a.settings.DryRun {
		a.log.Info("would be withdrawn", "domain", t.domain, "id", was.ID, "rua", was.RUA)
		t.told = &now
		return nil
	}
	a.note(a.ledger.Announce(a.now(), []ledger.Announcement{now}), t.domain)
	a.log.Info("withdrawn", "domain", t.domain, "id", was.ID, "rua", was.RUA)
	return nil
}

// leave removes the last record of a domain.
func (a *announcer) leave(ctx context.Context, t *announcement) error {
	for _, w := range a.ways {
		if err := a.unlessElsewhere(t, w.leave(ctx, t.domain)); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	if a.settings.DryRun {
		a.log.Info("would be withdrawn", "domain", t.domain, "record", "of the policy host")
		return nil
	}
	a.note(a.ledger.Unannounce(a.now(), t.domain), t.domain)
	a.log.Info("nothing is announced any more", "domain", t.domain)
	return nil
}

// elsewhere is after how many failures, which is most of a day, it is believed that a domain
// that goes has moved its zone to other name servers.
const elsewhere = 24

// unlessElsewhere forgives that a zone is not where it was: then there is nothing of ours.
func (a *announcer) unlessElsewhere(t *announcement, err error) error {
	if errors.Is(err, dnsrecords.ErrOtherZone) && t.failures >= elsewhere {
		a.log.Warn("the zone of a domain that goes has moved; what of ours is in it stays", "domain", t.domain, "err", err)
		return nil
	}
	return err
}

// note is after the ledger was told of a domain's announcement, with how that went.
func (a *announcer) note(err error, domain string) {
	if err != nil {
		a.log.Warn("what is announced could not be recorded yet", "domain", domain, "err", err)
	}
	a.showOne(domain)
}
