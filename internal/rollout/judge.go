package rollout

import (
	"time"

	"mtasts-server/mtasts"
)

// Judge says where the domain stands at now, and what its next step waits for.
func (g Gates) Judge(f Facts, now time.Time) Verdict {
	now = now.UTC()
	v := Verdict{Step: g.step(&f, now)}
	current, served := f.current()
	switch {
	case v.Step == Announced:
		v.Next = Next{Mode: mtasts.ModeTesting, MaxAge: mtasts.MinMaxAge * time.Second}
		v.Gates = []Gate{g.tlsrpt(&f, now), g.check(&f, now)}
	case !served || current.Mode == mtasts.ModeNone:
		g.judgeEnd(&v, &f, now)
	default:
		v.Since = f.streak(current)
		g.judgeServed(&v, &f, current, now)
	}
	v.settle(now)
	return v
}

// step tells where the domain stands.
func (g Gates) step(f *Facts, now time.Time) Step {
	current, served := f.current()
	switch {
	case !served && len(f.Versions) == 0 && f.HeldUntil.IsZero():
		return Announced
	case !served && !now.Before(f.removal(now)):
		return Gone
	case !served || current.Mode == mtasts.ModeNone:
		return Withdrawing
	case current.Mode == mtasts.ModeTesting:
		return Testing
	case current.MaxAge < g.LongMaxAge:
		return EnforceShort
	}
	return EnforceLong
}

// judgeServed judges a domain that has a policy: what its next step waits for, if there
// is one, and what is wrong.
func (g Gates) judgeServed(v *Verdict, f *Facts, current Version, now time.Time) {
	windows := g.Windows
	rung, more := g.rung(current)
	if current.Mode == mtasts.ModeEnforce && rung.Clean > 0 {
		windows = rung.Clean
	}
	p := g.period(f, current, windows, now)
	live := []Gate{
		p.failures(), p.unauthenticated(), p.heard(), g.check(f, now), p.mxStable(), f.mxAllowed(current), g.tlsrpt(f, now),
	}
	v.Hold, v.Alarms = g.reasons(p, live, now)
	if !more {
		return
	}
	v.Next = Next{Mode: mtasts.ModeEnforce, MaxAge: rung.MaxAge}
	v.Gates = append(v.Gates, p.windows())
	if current.Mode == mtasts.ModeTesting {
		v.Gates = append(v.Gates, p.sessions(), p.reporters(), p.current())
	}
	v.Gates = append(v.Gates, live...)
}

// rung returns the next rung above what is served.
func (g Gates) rung(current Version) (Rung, bool) {
	for _, r := range g.Ladder {
		if current.Mode == mtasts.ModeTesting || r.MaxAge > current.MaxAge {
			return r, true
		}
	}
	return Rung{}, false
}

// settle sums up the gates.
func (v *Verdict) settle(now time.Time) {
	if v.Next == (Next{}) {
		return
	}
	v.Ready, v.NotBefore = true, now
	for _, gate := range v.Gates {
		v.Ready = v.Ready && gate.Passed
		if gate.EarliestAt.After(v.NotBefore) {
			v.NotBefore = gate.EarliestAt
		}
	}
}
