package ledger

import (
	"time"
	"unique"
)

// Announcement is what was last announced of a domain in DNS.
type Announcement struct {
	Domain string
	ID     string    // of the policy; "" once the record was withdrawn, while the host's is still there
	RUA    string    // where senders report to, as in the _smtp._tls record; "" for none
	By     string    // by which ways, in the caller's words; they are few
	At     time.Time // since when
}

// announcement is what is held of an Announcement.
type announcement struct {
	id, rua, by string
	at          int64 // nanoseconds since 1970
}

// Announce records that from now on these are announced.
func (l *Ledger) Announce(now time.Time, as []Announcement) error {
	l.mu.Lock()
	for _, a := range as {
		if old, ok := l.announced[a.Domain]; !ok || old.id != a.ID || old.rua != a.RUA || old.by != a.By {
			l.add(event{Time: now.UTC(), Op: opAnnounce, Domain: a.Domain, ID: a.ID, RUA: a.RUA, By: a.By})
		}
	}
	l.mu.Unlock()
	return l.Flush(now)
}

// Unannounce records that nothing is left in DNS of a domain.
func (l *Ledger) Unannounce(now time.Time, domain string) error {
	l.mu.Lock()
	if _, ok := l.announced[domain]; ok {
		l.add(event{Time: now.UTC(), Op: opUnannounce, Domain: domain})
	}
	l.mu.Unlock()
	return l.Flush(now)
}

// Announced returns what is announced of domain.
func (l *Ledger) Announced(domain string) (Announcement, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.announced[domain]
	return a.of(domain), ok
}

// AllAnnounced returns what is announced of all domains, in no order.
func (l *Ledger) AllAnnounced() []Announcement {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Announcement, 0, len(l.announced))
	for domain, a := range l.announced {
		all = append(all, a.of(domain))
	}
	return all
}

func (a announcement) of(domain string) Announcement {
	return Announcement{Domain: domain, ID: a.id, RUA: a.rua, By: a.by, At: time.Unix(0, a.at).UTC()}
}

// applyAnnouncement changes what is announced as the event says. The mutex is held.
func (l *Ledger) applyAnnouncement(ev event) {
	if ev.Op == opUnannounce {
		delete(l.announced, ev.Domain)
		return
	}
	a := announcement{id: ev.ID, rua: ev.RUA, by: unique.Make(ev.By).Value(), at: ev.Time.UnixNano()}
	if r := l.entries[ev.Domain]; r != nil && r.id == a.id {
		a.id = r.id // one copy is enough
	}
	l.announced[ev.Domain] = a
}

// CountAnnounced returns of how many domains something is announced.
func (l *Ledger) CountAnnounced() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.announced)
}
