package review

import (
	"cmp"
	"strings"
)

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
