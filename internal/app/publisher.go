package app

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/policyserve"
)

// remind is how often the log repeats which domains are only kept alive.
const remind = time.Hour

// publisher turns what the files say into what is served. It is the one place where
// a policy changes, in this order: everything is read and checked, the new policies
// are written to the ledger, the table is swapped, certificates are asked for. What
// fails on the way leaves what is served as it was.
type publisher struct {
	loader *config.Loader
	ledger *ledger.Ledger
	server *policyserve.Server
	certs  *certs.Manager
	log    *slog.Logger
	level  *slog.LevelVar
	now    func() time.Time

	announcer *announcer // nil: nothing is published in DNS
	stager    *stager
	further   []string // hosts that need certificates beside the policy hosts

	shown atomic.Pointer[config.Snapshot] // what is published
	poke  func()                          // has the steward look at what waits for evidence; may be nil
	told  func(domain string)             // is told of each policy that senders see from now on; may be nil

	said atomic.Pointer[report] // for who must not wait for storage

	mu         sync.Mutex // held during look, which storage may hold up
	started    config.Settings
	remembered atomic.Pointer[[]byte] // the main file, as kept for a start with a broken one
	copying    errand                 // keeps it
	snap       *config.Snapshot
	version    int // of the ledger
	plan       plan
	nextGone   time.Time            // when a withdrawn domain may disappear; zero for none
	goneSince  map[string]time.Time // withdrawn domains that may go, since when
	reminded   time.Time
	reloads    reloads
	trouble    error // with the ledger
	damage     int   // lines of it that were told of
}

// reloads is what the metrics tell of them.
type reloads struct {
	good, bad   int
	lastGood    bool // the files had no errors
	lastSuccess time.Time
}

// plan is what is served.
type plan struct {
	ids  map[string]string // domain -> id
	kept map[string]kept
}

// look publishes what the files say now. Where nothing changed it costs one stat for
// each file.
func (p *publisher) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.tell()
	now := p.now()
	snap, ok := p.loader.Load()
	if !ok { // there never was a good main file: not after a start
		return
	}
	p.keepLedger(now)
	maps.DeleteFunc(p.goneSince, func(_ string, since time.Time) bool { return since.After(now) }) // it was the clock
	version := p.ledger.Version()
	if _, unsettled := p.loader.Unsettled(); unsettled && snap == p.snap {
		// What forget wrote may belong to an edit that is not read yet.
		version = p.version
	}
	if snap != p.snap || version != p.version || p.stager.hasChanged() || !p.nextGone.IsZero() && !now.Before(p.nextGone) {
		p.publish(snap, now)
	}
	if len(p.plan.kept) > 0 && now.Sub(p.reminded) >= remind {
		p.reminded = now
		p.logKept(p.plan.kept)
	}
}

// keepLedger takes in what the verb forget wrote, and writes what could not be
// written before. A ledger that is out of order is remembered for /readyz.
func (p *publisher) keepLedger(now time.Time) {
	err := p.ledger.Refresh()
	if ferr := p.ledger.Flush(now); ferr != nil {
		err = ferr
	}
	p.setTrouble(err)
	damage := p.ledger.Damage()
	for _, d := range damage[min(p.damage, len(damage)):] {
		p.log.Error("the ledger is damaged; what can be believed of it is used", "err", d)
	}
	p.damage = len(damage)
}

func (p *publisher) setTrouble(err error) {
	if (err == nil) != (p.trouble == nil) {
		if err != nil {
			p.log.Error("the ledger cannot be written; policies are served on", "err", err)
		} else {
			p.log.Info("the ledger can be written again")
		}
	}
	p.trouble = err
}

func (p *publisher) publish(snap *config.Snapshot, now time.Time) {
	first := p.snap == nil
	touched := p.touched(snap)
	p.addStaged(touched, snap)
	p.stager.apply(touched, p.ledger)
	p.version = p.ledger.Version() // what others write from here on is looked at next time
	rev := p.revise(snap, touched, func(k kept) bool { return p.letGo(k, now) })
	err := p.ledger.Publish(now, rev.records)
	for _, domain := range rev.forgotten {
		err = errors.Join(err, p.ledger.Forget(now, domain))
	}
	if err != nil { // that there was nothing to write mends nothing
		p.setTrouble(err)
	}
	table, err := p.server.Table().With(rev.publications, rev.gone)
	if err != nil { // the names are checked and unique: a fault of ours, and no reason to stop serving
		p.log.Error("the new policies cannot be served; the old ones stay", "err", err)
		return
	}
	p.server.Publish(table)
	if first || len(rev.added)+len(rev.gone) > 0 {
		p.certs.Manage(append(table.Hosts(), p.further...))
	}
	p.plan.take(rev)
	if p.announcer != nil {
		p.announcer.touch(touched, p.plan.kept)
	}
	if !first {
		p.tellOf(rev)
	}
	p.nextGone = p.lookForGone()
	if snap != p.snap {
		p.settle(snap, now, first)
	}
	p.logChanges(rev, first)
	p.snap = snap
	p.shown.Store(snap)
	if p.poke != nil {
		p.poke()
	}
}

// tellOf tells of the policies that changed. Those that we announce are told of when they
// are: senders do not look before.
func (p *publisher) tellOf(rev *revision) {
	if p.told == nil {
		return
	}
	for _, domain := range slices.Concat(rev.added, rev.changed) {
		if p.announcer == nil || p.announcer.by(domain) == "" {
			p.told(domain)
		}
	}
}

// settle takes over the settings that can change while the server runs, and says
// which can't.
func (p *publisher) settle(snap *config.Snapshot, now time.Time, first bool) {
	if err := p.level.UnmarshalText([]byte(snap.Settings.Log.Level)); err != nil {
		p.log.Error("the log level stays", "err", err) // the loader checked it: a fault of ours
	}
	if first {
		p.started = snap.Settings
	}
	p.remember()
	for _, key := range needRestart(p.started, snap.Settings) {
		p.log.Warn("a setting changed that takes effect at the next start only", "key", key)
	}
	good := countErrors(snap.Problems) == 0
	p.logProblems(snap.Problems)
	p.reloads.lastGood = good
	if good {
		p.reloads.good++
		p.reloads.lastSuccess = now
	} else {
		p.reloads.bad++
	}
}

// remember keeps a copy of the main file, for a start with one that has errors.
func (p *publisher) remember() {
	text := p.loader.MainText()
	if old := p.remembered.Load(); text == nil || old != nil && bytes.Equal(text, *old) {
		return
	}
	state := p.started.State
	p.copying.do(func() {
		if err := config.Remember(state, text); err != nil {
			p.log.Warn("a start with a broken main file would find no good one", "err", err)
			return
		}
		p.remembered.Store(&text)
	})
}

// needRestart names the settings that differ and are read at the start only.
func needRestart(started, now config.Settings) []string {
	var keys []string
	for _, s := range []struct {
		key      string
		old, new any
	}{
		{"state", started.State, now.State},
		{"listen", started.Listen, now.Listen},
		{"certificates", started.Certificates, now.Certificates},
		{"limits", started.Limits, now.Limits},
		{"dns", started.DNS, now.DNS},
		{"reports", started.Reports, now.Reports},
		{"rollout", started.Rollout, now.Rollout},
		{"review", started.Review, now.Review},
		{"alerts", started.Alerts, now.Alerts},
		{"log.format", started.Log.Format, now.Log.Format},
	} {
		if !reflect.DeepEqual(s.old, s.new) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// contested reports whether d would change a policy that came from another file, which
// is broken now: that file may claim the domain still, so neither may win.
func contested(snap *config.Snapshot, e ledger.Entry, d *config.Domain) bool {
	_, broken := snap.Broken[e.Source]
	return broken && e.Source != d.File && e.ID != d.ID
}

// doubt is how long a domain must have been withdrawn for long enough before it goes:
// a clock that was set forward by mistake has been set right by then, most likely.
const doubt = time.Hour

// letGo reports whether a domain disappears now.
func (p *publisher) letGo(k kept, now time.Time) bool {
	if !k.gone(now) || p.certs.Summary().WrongClock() != "" {
		delete(p.goneSince, k.Domain)
		return false
	}
	since, ok := p.goneSince[k.Domain]
	if !ok || since.After(now) {
		since = now
		if p.goneSince == nil {
			p.goneSince = make(map[string]time.Time)
		}
		p.goneSince[k.Domain] = since
	}
	return now.Sub(since) >= doubt
}

// lookForGone returns when the first withdrawn domain may disappear.
func (p *publisher) lookForGone() (next time.Time) {
	for domain, k := range p.plan.kept {
		at, none := k.WithdrawnAt()
		if !none || k.reason != vanished {
			continue
		}
		if since, ok := p.goneSince[domain]; ok {
			at = since.Add(doubt)
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
