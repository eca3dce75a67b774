package review

import (
	"cmp"
	"slices"
	"time"
)

const (
	// reopenWithin is for how long after it closed a finding that comes back is the same
	// one, and nothing new. What flaps daily or weekly is one finding, and one alarm.
	reopenWithin = 7 * 24 * time.Hour

	// A finding closes when closeLooks in a row that could have seen it did not, closeApart
	// or more from the first to the last. One answer of one good resolver or address out
	// of several is no repair; and whoever did repair it hears so within minutes.
	closeLooks = 2
	closeApart = 10 * time.Minute

	// confirmApart is how long after the look that opened a finding another one confirms it:
	// what an edit leaves in DNS for a moment is a mishap, however often it is looked at.
	confirmApart = 4 * time.Minute

	// unknownFor is for how long nothing may be seen of a domain before what is found then
	// opens: an hour without DNS is a mishap, of ours as often as of theirs.
	unknownFor = time.Hour

	// maxOpen bounds findings of a domain that are open: MX hosts are named in DNS, by whoever
	// holds the zone. Beyond that they are counted only.
	maxOpen = 100

	// maxMXSets and maxMXHosts bound what is remembered of MX sets; 20 hosts are looked at.
	maxMXSets  = 50
	maxMXHosts = 50
)

// Changes is what a look changed.
type Changes struct {
	Domain    string
	At        time.Time
	Opened    []Finding // not known before
	Reopened  []Finding // closed a few days ago: nothing to wake somebody for again
	Confirmed []Finding // seen by a second look, minutes after it opened or came back
	Worsened  []Finding // a warning became an error
	Closed    []Finding // not there any more, for some minutes
	MX        bool      // the set of MX hosts is another one
	Left      int       // problems that are not kept, as too many of the domain are open
}

// Any reports whether there is something to tell.
func (c *Changes) Any() bool {
	return len(c.Opened)+len(c.Reopened)+len(c.Confirmed)+len(c.Worsened)+len(c.Closed)+c.Left > 0 || c.MX
}

// key says which finding of a domain it is.
type key struct{ code, subject string }

func (p Problem) key() key { return key{p.Code, p.Subject} }

// row is a finding as it is stored.
type row struct {
	Finding
	missed time.Time // the first look of late that did not see it; zero where the last one did
}

// memory is what is stored of a domain, and what a look makes of it.
type memory struct {
	State
	changed time.Time // when a finding opened, came back, got worse or closed last
	rows    []*row    // that are open, or closed a while ago; oldest first
	dirty   []*row    // to be written

	// What it comes to, of the findings that are open after the look.
	open, errors, fresh, missing int
	changes                      Changes
}

// see takes what a look saw into memory.
func (m *memory) see(l Look) {
	m.changes = Changes{Domain: m.Domain, At: l.At}
	if l.At.Before(m.Looked) {
		m.count()
		return // another look was later, and knows better
	}
	m.seeState(&l)
	m.count()
	known := map[key]*row{}
	for _, r := range m.rows {
		known[r.key()] = r
	}
	seen := map[key]bool{}
	for _, p := range sorted(l.Problems) {
		if !seen[p.key()] {
			seen[p.key()] = true
			m.seeProblem(known[p.key()], p, &l)
		}
	}
	for _, r := range m.rows {
		if r.Closed.IsZero() && !seen[r.key()] {
			m.miss(r, &l)
		}
	}
	m.count()
	if c := &m.changes; len(c.Opened)+len(c.Reopened)+len(c.Worsened)+len(c.Closed) > 0 {
		m.changed = l.At
	}
}

// count says what is open.
func (m *memory) count() {
	m.open, m.errors, m.fresh, m.missing = 0, 0, 0, 0
	for _, r := range m.rows {
		if !r.Closed.IsZero() {
			continue
		}
		m.open++
		if r.Severity == Error {
			m.errors++
		}
		if r.Looks == 1 {
			m.fresh++
		}
		if !r.missed.IsZero() {
			m.missing++
		}
	}
}

// sorted returns problems as they are kept, the worst first.
func sorted(problems []Problem) []Problem {
	list := make([]Problem, 0, len(problems))
	for _, p := range problems {
		if p.Code != "" {
			list = append(list, p.bounded())
		}
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	return list
}

func rank(s Severity) int {
	if s == Error {
		return 0
	}
	return 1
}

// seeProblem has the finding r, nil for none, be there.
func (m *memory) seeProblem(r *row, p Problem, l *Look) {
	fresh := r == nil || !r.Closed.IsZero() && l.At.Sub(r.Closed) > reopenWithin
	if fresh || !r.Closed.IsZero() {
		if !l.Known && l.At.Sub(m.UnknownSince) < unknownFor {
			return
		}
		if m.open >= maxOpen {
			m.changes.Left++
			return
		}
		m.open++
	}
	c := &m.changes
	var list *[]Finding
	switch {
	case fresh:
		r = &row{Finding: Finding{Domain: m.Domain, FirstSeen: l.At}}
		m.rows = append(m.rows, r)
		list = &c.Opened
	case !r.Closed.IsZero():
		r.Closed, r.Looks = time.Time{}, 0
		r.Times++
		list = &c.Reopened
	case p.Severity == Error && r.Severity != Error:
		list = &c.Worsened
	}
	r.Problem, r.missed = p, time.Time{}
	if r.Looks != 1 || l.At.Sub(r.LastSeen) >= confirmApart {
		r.LastSeen = l.At
		if r.Looks++; r.Looks == 2 {
			c.Confirmed = append(c.Confirmed, r.Finding)
		}
	}
	if list != nil {
		*list = append(*list, r.Finding)
	}
	m.dirty = append(m.dirty, r)
}

// miss has a finding not be there, where the look would have seen it.
func (m *memory) miss(r *row, l *Look) {
	if !l.Known || slices.Contains(l.Unseen, r.Code) {
		return
	}
	switch {
	case r.missed.IsZero():
		r.missed = l.At
	case l.At.Sub(r.missed) >= closeApart:
		r.Closed = r.missed
		m.changes.Closed = append(m.changes.Closed, r.Finding)
	default:
		return
	}
	m.dirty = append(m.dirty, r)
}
