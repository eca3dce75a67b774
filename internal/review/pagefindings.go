package review

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

func (m *maker) findings() {
	p := m.page
	silencer := NewSilencer(m.in.Silences, m.in.Until)
	open := newWorst(func(a, b Marked) int {
		return cmp.Or(first(a.Silence == nil, b.Silence == nil), cmp.Compare(rank(a.Severity), rank(b.Severity)), a.FirstSeen.Compare(b.FirstSeen),
			cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject))
	})
	kinds, owners := counted[Kind]{}, counted[OwnerLoad]{}
	errorDomain := ""
	m.weeks()
	for f := range all(m.in.Findings) {
		silence := silencer.Of(f)
		f.Domain, f.Problem = bounded(f.Domain, maxName), f.Problem.bounded()
		m.count(&f, kinds)
		if m.drift[f.Code] && !f.FirstSeen.Before(p.From) {
			m.drifted.add(Drift{f.Domain, f.FirstSeen, f.Code, cmp.Or(f.Evidence, f.Text), f.Closed, f.Closed.IsZero()})
		}
		if !f.Closed.IsZero() {
			continue
		}
		open.add(Marked{f, silence.mark()})
		if silence != nil {
			p.Findings.Silenced++
			continue
		}
		load := owners.of(string(f.Owner))
		load.Owner = f.Owner
		if f.Severity != Error {
			p.Findings.Warnings++
			load.Warnings++
			continue
		}
		p.Findings.Errors++
		load.Errors++
		if f.Domain != errorDomain { // they come by domain
			errorDomain = f.Domain
			p.Findings.ErrorDomains++
		}
	}
	p.Open = open.table()
	p.Kinds = tableOf(kinds, func(a, b Kind) int {
		return cmp.Or(first(a.Open > 0, b.Open > 0), cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(b.Open, a.Open), cmp.Compare(b.Opened, a.Opened), cmp.Compare(a.Code, b.Code))
	})
	for _, o := range slices.Sorted(maps.Keys(owners)) {
		p.Owners = append(p.Owners, *owners[o])
	}
	m.silences(silencer)
}

// weeks divides the period, from its end.
func (m *maker) weeks() {
	n := min(int((m.in.Until.Sub(m.in.From)+week-1)/week), weeksMax)
	for i := range max(n, 0) {
		m.page.Weeks = append(m.page.Weeks, Week{Start: m.page.Until.Add(-week * time.Duration(n-i))})
	}
}

func (m *maker) weekOf(at time.Time) *Week {
	n := len(m.page.Weeks) - 1 - int(m.page.Until.Sub(at)/week)
	if n < 0 || n >= len(m.page.Weeks) {
		return &Week{}
	}
	return &m.page.Weeks[n]
}

// count counts what a finding did in the period.
func (m *maker) count(f *Finding, kinds counted[Kind]) {
	k := kinds.of(f.Code)
	t := &m.page.Findings
	k.Code, k.Fix = f.Code, f.Fix
	if f.Times > 0 {
		t.CameBack++
	}
	if !f.FirstSeen.Before(m.in.From) {
		k.Opened++
		t.Opened++
		m.weekOf(f.FirstSeen).Opened++
	}
	if !f.Closed.IsZero() {
		k.Closed++
		t.Closed++
		m.weekOf(f.Closed).Closed++
	} else {
		k.Open++
	}
	if k.Severity == "" || f.Severity == Error {
		k.Severity = f.Severity
	}
}

func (m *maker) silences(s *Silencer) {
	silenced := newWorst(func(a, b Silence) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Domain, b.Domain)) })
	useless := newWorst(func(a, b SilenceNote) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Domain, b.Domain)) })
	for _, note := range s.Notes() {
		note.Silence = note.Silence.bounded()
		useless.add(note)
	}
	for i, silence := range s.all {
		if s.used[i] {
			silenced.add(silence.bounded())
		}
	}
	m.page.Silenced, m.page.Useless = silenced.table(), useless.table()
}

func (s Silence) bounded() Silence {
	s.Domain, s.Code, s.Subject = bounded(s.Domain, maxName), bounded(s.Code, maxName), bounded(s.Subject, maxName)
	s.Reason, s.Author, s.Until = bounded(s.Reason, maxWords), bounded(s.Author, maxName), s.Until.UTC()
	return s
}

// mark returns a copy for a finding on the page; nil for nil.
func (s *Silence) mark() *Silence {
	if s == nil {
		return nil
	}
	mark := s.bounded()
	return &mark
}
