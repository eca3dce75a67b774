package review

import (
	"cmp"
	"iter"
	"slices"
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
