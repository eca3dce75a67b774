package review

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// stuckAfter is twice the time that testing takes where all goes well.
	stuckAfter = 28 * 24 * time.Hour

	// certSoon: whoever renews by himself has done so three weeks before the end.
	certSoon = 21 * 24 * time.Hour

	// weeksMax bounds the picture of weeks: a year and one more.
	weeksMax = 54

	week = 7 * 24 * time.Hour
)

// maker makes a page.
type maker struct {
	in    *Input
	page  *Page
	drift map[string]bool
	order map[string]int // of steps

	drifted *worst[Drift]
}

// MakePage makes the page of a period. It is a function of its input alone, and what it
// takes in memory does not grow with the number of domains.
func MakePage(in Input) *Page {
	m := &maker{in: &in, drift: map[string]bool{}, order: map[string]int{}, page: &Page{
		Name: bounded(in.Name, maxName), From: in.From.UTC(), Until: in.Until.UTC(), Moves: []Move{}, Steps: []StepCount{}, Owners: []OwnerLoad{}, Weeks: []Week{},
	}}
	for _, code := range in.Drift {
		m.drift[code] = true
	}
	for i, step := range in.Steps {
		m.order[step] = i + 1
	}
	// What is open at the time comes first, then the newest.
	m.drifted = newWorst(func(a, b Drift) int {
		return cmp.Or(first(a.Open, b.Open), b.At.Compare(a.At), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.What, b.What))
	})
	m.domains()
	m.findings()
	m.states()
	m.reports()
	m.lists()
	m.page.Drifted = m.drifted.table()
	m.page.Summary, m.page.Fine = m.page.summary(), m.page.fine()
	return m.page
}

// all goes through a sequence that may be nil.
func all[T any](seq iter.Seq[T]) iter.Seq[T] {
	if seq == nil {
		return func(func(T) bool) {}
	}
	return seq
}

// first compares two so that a true one comes first.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (m *maker) domains() {
	p := m.page
	steps, moves := counted[StepCount]{}, counted[Move]{}
	stuck := newWorst(func(a, b DomainLine) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Domain, b.Domain)) })
	plan := newWorst(func(a, b DomainLine) int { return cmp.Or(a.NextAt.Compare(b.NextAt), cmp.Compare(a.Domain, b.Domain)) })
	why, next := counted[Why]{}, counted[Planned]{}
	for _, step := range m.in.Steps {
		steps.of(step).Step = step
	}
	for d := range all(m.in.Domains) {
		d = d.bounded()
		p.Domains++
		m.step(&d, steps, moves)
		if d.Step == m.in.Testing && m.in.Until.Sub(d.Since) > stuckAfter {
			stuck.add(d)
			for _, w := range d.Waits {
				x := why.of(w)
				x.Text, x.Domains = w, x.Domains+1
			}
		}
		if d.Next == "" || d.NextAt.IsZero() || d.NextAt.After(m.in.Until.Add(m.in.Until.Sub(m.in.From))) {
			continue
		}
		plan.add(d)
		x := next.of(d.Next)
		x.Next, x.Domains = d.Next, x.Domains+1
		if x.First.IsZero() || d.NextAt.Before(x.First) {
			x.First = d.NextAt
		}
		if d.NextAt.After(x.Last) {
			x.Last = d.NextAt
		}
	}
	p.Steps, p.Moves = m.sortedSteps(steps), m.sortedMoves(moves)
	p.Stuck, p.Plan = stuck.table(), plan.table()
	p.StuckWhy = tableOf(why, func(a, b Why) int { return cmp.Or(cmp.Compare(b.Domains, a.Domains), cmp.Compare(a.Text, b.Text)) })
	p.PlanSteps = tableOf(next, func(a, b Planned) int { return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.Next, b.Next)) })
}

func (d DomainLine) bounded() DomainLine {
	d.Domain, d.Step, d.Was, d.Next = bounded(d.Domain, maxName), bounded(d.Step, maxName), bounded(d.Was, maxName), bounded(d.Next, maxWords)
	waits := make([]string, min(len(d.Waits), namesMax))
	for i := range waits {
		waits[i] = bounded(d.Waits[i], maxWords)
	}
	d.Waits, d.Since, d.NextAt = waits, d.Since.UTC(), d.NextAt.UTC()
	return d
}

// step counts a domain where it stands and stood.
func (m *maker) step(d *DomainLine, steps counted[StepCount], moves counted[Move]) {
	s := steps.of(d.Step)
	s.Step = d.Step
	s.Now++
	if d.Was != "" {
		s = steps.of(d.Was)
		s.Step = d.Was
		s.Was++
	}
	if d.Was == d.Step {
		return
	}
	move := moves.of(d.Was + "\x00" + d.Step)
	move.From, move.To = d.Was, d.Step
	move.Back = d.Was != "" && m.order[d.Step] < m.order[d.Was]
	move.Domains++
}

func (m *maker) sortedSteps(steps counted[StepCount]) []StepCount {
	list := []StepCount{}
	for _, s := range steps {
		if s.Now+s.Was > 0 {
			s.place = m.order[s.Step]
			list = append(list, *s)
		}
	}
	slices.SortFunc(list, func(a, b StepCount) int {
		return cmp.Or(cmp.Compare(m.order[a.Step], m.order[b.Step]), cmp.Compare(a.Step, b.Step))
	})
	return list[:min(len(list), pageRowsMax)]
}

func (m *maker) sortedMoves(moves counted[Move]) []Move {
	list := []Move{}
	for _, move := range moves {
		list = append(list, *move)
	}
	slices.SortFunc(list, func(a, b Move) int {
		return cmp.Or(cmp.Compare(m.order[a.From], m.order[b.From]), cmp.Compare(m.order[a.To], m.order[b.To]), cmp.Compare(a.From+" "+a.To, b.From+" "+b.To))
	})
	return list[:min(len(list), pageRowsMax)]
}

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

// states adds the MX sets that others took the place of.
func (m *maker) states() {
	for state := range all(m.in.States) {
		for i, set := range state.MX {
			if i == 0 || set.Since.Before(m.in.From) {
				continue
			}
			m.drifted.add(Drift{Domain: bounded(state.Domain, maxName), At: set.Since, What: "MX hosts: " + hosts(state.MX[i-1].Hosts) + " → " + hosts(set.Hosts)})
		}
	}
}

func hosts(list []string) string {
	few, more := some(list)
	s := strings.Join(few, ", ")
	switch {
	case s == "":
		return "none"
	case more > 0:
		s += " and " + number(more) + " more"
	}
	return s
}

func (m *maker) reports() {
	failures := newWorst(func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Result, b.Result), cmp.Compare(a.MX, b.MX), first(b.Unsigned, a.Unsigned))
	})
	s := &m.page.Sessions
	for r := range all(m.in.Reports) {
		if r.Successful+r.Failed > 0 {
			s.Domains++
		}
		s.Successful += r.Successful
		s.Failed += r.Failed
		for _, f := range r.Failures {
			row := Failure{Domain: bounded(r.Domain, maxName), Result: bounded(f.Result, maxName), MX: bounded(f.MX, maxName), Sessions: f.Sessions, Of: r.Successful + r.Failed, Unsigned: f.Unsigned}
			row.SeenBy, row.MoreSeen = some(f.SeenBy)
			failures.add(row)
		}
	}
	m.page.Failures = failures.table()
}

// lists takes what is listed as it is.
func (m *maker) lists() {
	changes := newWorst(func(a, b PolicyChange) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Domain, b.Domain)) })
	for c := range all(m.in.Changes) {
		changes.add(PolicyChange{bounded(c.Domain, maxName), c.At.UTC(), bounded(c.From, maxWords), bounded(c.To, maxWords)})
	}
	overrides := newWorst(func(a, b Override) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.What, b.What))
	})
	for o := range all(m.in.Overrides) {
		overrides.add(Override{bounded(o.Domain, maxName), bounded(o.What, maxWords), bounded(o.Reason, maxWords), bounded(o.Author, maxName), o.Until.UTC()})
	}
	ownerless := newWorst(func(a, b Ownerless) int {
		return cmp.Or(cmp.Compare(len(b.Missing), len(a.Missing)), cmp.Compare(a.Domain, b.Domain))
	})
	for o := range all(m.in.Ownerless) {
		missing := make([]Owner, min(len(o.Missing), namesMax))
		for i := range missing {
			missing[i] = o.Missing[i].bounded()
		}
		ownerless.add(Ownerless{bounded(o.Domain, maxName), missing})
	}
	certificates := newWorst(func(a, b Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Host, b.Host))
	})
	for c := range all(m.in.Certificates) {
		if c.Trouble != "" || c.NotAfter.Before(m.in.Until.Add(certSoon)) {
			certificates.add(Certificate{bounded(c.Domain, maxName), bounded(c.Host, maxName), c.Whose.bounded(), c.NotAfter.UTC(), bounded(c.Trouble, maxWords)})
		}
	}
	p := m.page
	p.Changes, p.Overrides, p.Ownerless, p.Certificates = changes.table(), overrides.table(), ownerless.table(), certificates.table()
}
