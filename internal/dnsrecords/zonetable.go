package dnsrecords

import (
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"unique"
)

// tableParts is how many parts a table has, each replaced as a whole: with 100,000 domains a
// change of one copies a hundred of them, and who reads waits for nobody.
const tableParts = 1024

// table holds what domains announce, for who reads it without a lock. One writes at a time.
type table struct {
	seed  maphash.Seed
	parts [tableParts]atomic.Pointer[map[string]*entry]
	n     atomic.Int64 // of domains

	mu sync.Mutex // of who writes
}

// entry is a domain, or a name above one. But for below it is never changed.
type entry struct {
	domain  bool
	id      string                // of the policy, "" for none
	reports unique.Handle[string] // the record that says where to; many domains have the same
	below   int32                 // domains below it. Known to who writes only
}

// noReports says that there is no record.
var noReports = unique.Make("")

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) part(name string) *atomic.Pointer[map[string]*entry] {
	return &t.parts[maphash.String(t.seed, name)%tableParts]
}

// get returns what is known of a name, nil for nothing.
func (t *table) get(name string) *entry {
	if m := t.part(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// draft is a part of a table as it will be.
type draft map[*atomic.Pointer[map[string]*entry]]map[string]*entry

// of is the part that name is in, to be changed.
func (d draft) of(t *table, name string) map[string]*entry {
	p := t.part(name)
	m, ok := d[p]
	if !ok {
		m = map[string]*entry{}
		if old := p.Load(); old != nil {
			m = maps.Clone(*old)
		}
		d[p] = m
	}
	return m
}

// show makes the draft what is read.
func (d draft) show() {
	for p, m := range d {
		p.Store(&m)
	}
}

// set takes sets in, and takes domains out. At no moment a name is missing that has others
// below it: a resolver that is told so takes all of them for missing (RFC 8020 §2).
func (t *table) set(sets []Set, removed []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	above, added := draft{}, map[string]bool{}
	for _, s := range sets {
		if e := t.get(s.Domain); (e == nil || !e.domain) && !added[s.Domain] {
			added[s.Domain] = true
			t.grow(above, s.Domain)
		}
	}
	above.show()

	changed := draft{}
	for _, s := range sets {
		m := changed.of(t, s.Domain)
		e := &entry{domain: true, id: s.ID, reports: unique.Make(reportText(s))}
		if old := m[s.Domain]; old != nil {
			e.below = old.below
		}
		m[s.Domain] = e
	}
	var gone []string
	for _, domain := range removed {
		e := changed.now(t, domain)
		if e == nil || !e.domain {
			continue
		}
		gone = append(gone, domain)
		m := changed.of(t, domain)
		delete(m, domain)
		if e.below > 0 {
			m[domain] = &entry{reports: noReports, below: e.below}
		}
	}
	changed.show()
	t.n.Add(int64(len(added) - len(gone)))

	above = draft{}
	for _, domain := range gone {
		t.shrink(above, domain)
	}
	above.show()
}

// grow counts a new domain at the names above it.
func (t *table) grow(d draft, domain string) {
	for _, name, more := strings.Cut(domain, "."); more; _, name, more = strings.Cut(name, ".") {
		e := d.now(t, name)
		if e == nil {
			e = &entry{reports: noReports}
			d.of(t, name)[name] = e
		}
		e.below++
	}
}

// shrink counts a domain that is gone.
func (t *table) shrink(d draft, domain string) {
	for _, name, more := strings.Cut(domain, "."); more; _, name, more = strings.Cut(name, ".") {
		e := d.now(t, name)
		if e.below--; e.below == 0 && !e.domain {
			delete(d.of(t, name), name)
		}
	}
}

// now is the entry of name, in the draft if there is one of its part.
func (d draft) now(t *table, name string) *entry {
	if m, ok := d[t.part(name)]; ok {
		return m[name]
	}
	return t.get(name)
}
