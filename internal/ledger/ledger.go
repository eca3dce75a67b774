// Package ledger keeps what was published: byte for byte, from when until when.
// It answers what a domain's last good policy is when its configuration is broken
// or gone, and from which day on a withdrawn policy may disappear (RFC 8461 §8.3).
//
// It is a journal on disk, one line an event, each with a checksum, appended and
// synced before what it says is served. Several processes may have it open: each
// appends under a lock and reads first what the others wrote. Losing it loses no
// policy that is configured; rolling it back could let a withdrawn policy go too
// early. internal/app is its only caller.
package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mtasts-server/mtasts"
)

// Entry is what the ledger knows of one domain that is being published.
type Entry struct {
	Domain string
	ID     string
	Body   []byte // never changed
	Source string // configuration file that it came from
	From   time.Time
	Mode   mtasts.Mode
	MaxAge time.Duration

	// HeldUntil is until when senders may hold a policy other than none that was
	// replaced: the maximum over versions of last served + max_age. Zero if there
	// was none.
	HeldUntil time.Time
}

// record is what is held of an Entry: there may be 100,000.
type record struct {
	id     string
	body   []byte // never changed
	source string
	from   int64 // nanoseconds since 1970
	maxAge int32 // seconds
	mode   mode
}

// mode is a mtasts.Mode in a byte.
type mode uint8

var modes = [...]mtasts.Mode{mtasts.ModeNone, mtasts.ModeTesting, mtasts.ModeEnforce}

func modeOf(m mtasts.Mode) mode { return mode(slices.Index(modes[:], m)) }

// entry is what r says of domain. The mutex is held.
func (l *Ledger) entry(domain string, r *record) Entry {
	return Entry{
		Domain: domain, ID: r.id, Body: r.body, Source: r.source, From: time.Unix(0, r.from).UTC(),
		Mode: modes[r.mode], MaxAge: r.age(), HeldUntil: l.held[domain],
	}
}

// age is max_age.
func (r *record) age() time.Duration { return time.Duration(r.maxAge) * time.Second }

// WithdrawnAt returns from when on the domain may disappear, if its policy is
// none: no sender holds another one any more (RFC 8461 §8.3). ok is false while
// another mode is published.
func (e Entry) WithdrawnAt() (at time.Time, ok bool) {
	return e.HeldUntil, e.Mode == mtasts.ModeNone
}

// SendersHoldUntil returns until when senders may hold any policy of the domain
// other than none, if it were to disappear now.
func (e Entry) SendersHoldUntil(now time.Time) time.Time {
	until := e.HeldUntil
	if e.Mode != mtasts.ModeNone {
		if t := now.Add(e.MaxAge); t.After(until) {
			until = t
		}
	}
	return until
}

// Publication is what Publish records. Its Body must not be changed any more.
type Publication struct {
	Domain, ID, Source string
	Body               []byte
}

// Ledger is safe for use by several goroutines, and its file by several processes.
type Ledger struct {
	path  string
	guest bool // another process keeps the journal
	disk  *disk

	// Of the journal. Whoever works on disk has them.
	file   os.FileInfo // as read so far
	offset int64       // up to where it was read
	lines  int
	lost   bool      // it was emptied, cut or taken away
	proved time.Time // when something was last written

	mu      sync.Mutex         // never held while storage is waited for
	entries map[string]*record // by domain, of what is published
	held    map[string]time.Time
	past    map[string][]Version // that were replaced, oldest first
	// announced is what is in DNS, by domain; empty where nobody publishes there.
	announced map[string]announcement
	pending   []event // taken into entries, not on disk yet
	damage    []string
	sure      map[string]bool // domains that were written of since a line was lost; nil: none was
	version   int
	newest    time.Time // of the events
}

// cached is how much longer than max_age a sender may hold a policy that a proxy
// between us kept: what Cache-Control allows.
const cached = time.Minute

// hold notes that senders may hold a policy other than none until then.
func (l *Ledger) hold(domain string, until time.Time) {
	if until.After(l.held[domain]) {
		l.held[domain] = until
	}
}

// lose notes that a line is lost. The mutex is held.
func (l *Ledger) lose() { l.sure = make(map[string]bool) }

// holdLost has senders hold what a lost line may have said of domain, if this is the first
// that is heard of it since: any policy may have been served until now. The mutex is held.
func (l *Ledger) holdLost(domain string, now time.Time) {
	if l.sure != nil && !l.sure[domain] {
		l.sure[domain] = true
		l.hold(domain, now.Add(mtasts.MaxMaxAge*time.Second+cached))
	}
}

// Open reads the journal in dir, which it makes if need be. With an error the
// Ledger is there all the same, empty or with what could be read, and goes on
// trying: policies are served without it.
func Open(dir string) (*Ledger, error) {
	l := newLedger(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return l, fmt.Errorf("ledger: %w", err)
	}
	return l, l.catchUp()
}

// Visit reads the journal in dir for a process beside the one that keeps it. It makes
// no directory, and what it records is appended only: files keep their owner.
func Visit(dir string) (*Ledger, error) {
	l := newLedger(dir)
	l.guest = true
	return l, l.catchUp()
}

func newLedger(dir string) *Ledger {
	return &Ledger{path: filepath.Join(dir, "journal"), disk: newDisk(), entries: make(map[string]*record), held: make(map[string]time.Time), past: make(map[string][]Version), announced: make(map[string]announcement)}
}

// Dir returns the directory that holds the journal.
func (l *Ledger) Dir() string { return filepath.Dir(l.path) }

// Version changes whenever entries are read from the journal: another process wrote.
func (l *Ledger) Version() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version
}

// Len returns how many domains are published.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// Lookup returns the entry of a domain that is published.
func (l *Ledger) Lookup(domain string) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.entries[domain]; r != nil {
		return l.entry(domain, r), true
	}
	return Entry{}, false
}

// All returns the entries of all domains that are published, in no order.
func (l *Ledger) All() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Entry, 0, len(l.entries))
	for domain, r := range l.entries {
		all = append(all, l.entry(domain, r))
	}
	return all
}

// Damage returns what of the journal could not be believed, in words for a log.
func (l *Ledger) Damage() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damage
}

// Newest returns the time of the newest event. Where it lies in the future, the clock is
// wrong now, or was then.
func (l *Ledger) Newest() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// Refresh takes in what other processes appended.
func (l *Ledger) Refresh() error { return l.disk.do(l.catchUp) }

// Publish records that from now on these policies are served, and returns once
// that is safely on disk. What is recorded already costs nothing. With an error
// the entries are taken in all the same, and the next Publish or Flush tries to
// write them again. Storage that does not answer is an error after a while.
func (l *Ledger) Publish(now time.Time, ps []Publication) error {
	l.publish(now, ps)
	return l.Flush(now)
}

func (l *Ledger) publish(now time.Time, ps []Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		if r := l.entries[p.Domain]; r == nil || r.id != p.ID || r.source != p.Source {
			l.add(event{Time: now.UTC(), Op: opPublish, Domain: p.Domain, ID: p.ID, Source: p.Source, Body: string(p.Body)})
		}
		if r := l.entries[p.Domain]; r != nil && r.id == p.ID { // the same bytes: one copy of them is enough
			r.id, r.source, r.body = p.ID, p.Source, p.Body
		}
	}
}

// Forget records that a domain is no longer published.
func (l *Ledger) Forget(now time.Time, domain string) error {
	l.mu.Lock()
	if l.entries[domain] != nil {
		l.add(event{Time: now.UTC(), Op: opForget, Domain: domain})
	}
	l.mu.Unlock()
	return l.Flush(now)
}

// Flush writes what could not be written before, or was lost since. Where there is
// nothing of that, it finds out now and then whether something could be written.
func (l *Ledger) Flush(now time.Time) error {
	return l.disk.do(func() error { return l.flush(now) })
}

// add takes in an event of now. Time never goes back in the journal: with a clock that
// was set back, senders would seem to have dropped what they hold.
func (l *Ledger) add(ev event) {
	if ev.Time.Before(l.newest) {
		ev.Time = l.newest
	}
	l.apply(ev)
	l.pending = append(l.pending, ev)
}

// apply changes the entries as the event says.
func (l *Ledger) apply(ev event) {
	if ev.Op != opHeld && ev.Op != opWas && ev.Time.After(l.newest) {
		l.newest = ev.Time
	}
	switch ev.Op {
	case opHeld:
		l.held[ev.Domain] = ev.Time
		return
	case opWas:
		if mtasts.ID([]byte(ev.Body)) == ev.ID {
			l.was(ev.Domain, Version{ID: ev.ID, Body: []byte(ev.Body), From: ev.Time, Until: ev.Until})
		}
		return
	case opAnnounce, opUnannounce:
		l.applyAnnouncement(ev)
		return
	}
	l.holdLost(ev.Domain, ev.Time)
	old := l.entries[ev.Domain]
	if old != nil && modes[old.mode] != mtasts.ModeNone && (ev.Op == opForget || ev.ID != old.id) {
		l.hold(ev.Domain, ev.Time.Add(old.age()+cached))
	}
	if old != nil && (ev.Op == opForget || ev.ID != old.id) {
		l.was(ev.Domain, Version{ID: old.id, Body: old.body, From: time.Unix(0, old.from).UTC(), Until: ev.Time})
	}
	if ev.Op == opForget {
		delete(l.entries, ev.Domain)
		return
	}
	p, err := mtasts.Parse([]byte(ev.Body))
	if err != nil || mtasts.ID([]byte(ev.Body)) != ev.ID {
		l.damage = append(l.damage, fmt.Sprintf("the policy of %q does not fit its id", ev.Domain))
		l.lose()
		return
	}
	if old == nil && p.Mode == mtasts.ModeNone && l.held[ev.Domain].IsZero() {
		// Who begins with none withdraws what we know nothing of: it was served
		// elsewhere, or the journal was lost. Senders may hold it for a year.
		l.hold(ev.Domain, ev.Time.Add(mtasts.MaxMaxAge*time.Second))
	}
	r := &record{id: ev.ID, source: ev.Source, from: ev.Time.UnixNano(), maxAge: int32(p.MaxAge), mode: modeOf(p.Mode)}
	if old != nil && old.id == ev.ID {
		r.body, r.from = old.body, old.from
	} else {
		r.body = []byte(ev.Body)
	}
	l.entries[ev.Domain] = r
}
