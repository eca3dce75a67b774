package ledger

import (
	"slices"
	"time"
)

// Version is a policy that was served.
type Version struct {
	ID    string
	Body  []byte // never changed
	From  time.Time
	Until time.Time // zero while it is served
}

const (
	// rememberFor is how long what was replaced is of interest: a sender may hold it for a
	// year (RFC 8461 §3.2: max_age of at most 31557600).
	rememberFor = 400 * 24 * time.Hour

	// maxPast bounds what is remembered of a domain whose policy changes all the time. How
	// long senders hold what is forgotten is known still: see Entry.HeldUntil.
	maxPast = 24
)

// was notes a version that was replaced. The mutex is held.
func (l *Ledger) was(domain string, v Version) {
	past := append(l.past[domain], v)
	if len(past) > maxPast {
		past = slices.Delete(past, 0, len(past)-maxPast)
	}
	l.past[domain] = past
}

// remembered drops what is of no interest any more. The mutex is held.
func (l *Ledger) remembered(domain string, now time.Time) []Version {
	past := slices.DeleteFunc(slices.Clone(l.past[domain]), func(v Version) bool { return now.Sub(v.Until) > rememberFor })
	if len(past) == 0 {
		delete(l.past, domain)
		return nil
	}
	l.past[domain] = past
	return past
}

// Versions returns the policies of domain that were served, oldest first: the last 24 of a
// year. One that is served now comes last, and has no Until.
func (l *Ledger) Versions(domain string) []Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	versions := slices.Clone(l.past[domain])
	if r := l.entries[domain]; r != nil {
		versions = append(versions, Version{ID: r.id, Body: r.body, From: time.Unix(0, r.from).UTC()})
	}
	return versions
}
