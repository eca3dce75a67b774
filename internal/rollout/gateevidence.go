package rollout

import (
	"fmt"
	"strconv"
	"time"
)

// number is a gate that wants at least so many.
func number(name string, have, want int, evidence string, earliest time.Time) Gate {
	gate := Gate{Name: name, Passed: have >= want, Have: strconv.Itoa(have), Want: strconv.Itoa(want), Evidence: evidence}
	if !gate.Passed {
		gate.EarliestAt = earliest
	}
	return gate
}

// windows: it has been as it is for so many whole days.
func (p *period) windows() Gate {
	have := max(0, int(p.end.Sub(p.first)/day))
	return number(GateWindows, have, p.n,
		fmt.Sprintf("%s since %s; of each day reports are waited for until %s after it", p.v.Mode, date(p.since), span(p.g.Lag)),
		p.at(p.first.AddDate(0, 0, p.n)))
}

// sessions: on so many of these days there was mail that went well.
func (p *period) sessions() Gate {
	active := map[time.Time]bool{}
	var sum int64
	for _, d := range p.f.Days {
		if date := dayOf(d.Date); d.Authenticated.Successful > 0 && !date.Before(p.first) && date.Before(p.end) {
			active[date] = true
			if p.counts(date) {
				sum = plus(sum, d.Authenticated.Successful)
			}
		}
	}
	have := p.activeFor(p.end, active)
	return number(GateSessions, have, p.g.ActiveWindows,
		fmt.Sprintf("%d successful sessions on %d of the last %d days", sum, have, p.n), p.earliestActive(active))
}

// activeFor counts the active ones of the days up to end, those from p.end on for active.
func (p *period) activeFor(end time.Time, active map[time.Time]bool) int {
	n := 0
	for date := later(p.startFor(end), p.first); date.Before(end); date = date.Add(day) {
		if active[date] || !date.Before(p.end) {
			n++
		}
	}
	return n
}

// earliestActive is when enough days are active if all are from now on.
func (p *period) earliestActive(active map[time.Time]bool) time.Time {
	end := p.end
	for p.activeFor(end, active) < min(p.g.ActiveWindows, p.n) {
		end = end.Add(day)
		if end.Before(p.first) {
			end = p.first
		}
	}
	return p.at(end)
}

// reporters: so many of them, each known, had mail that went well.
func (p *period) reporters() Gate {
	seen := p.reportersIf(func(Reporter) bool { return true })
	return number(GateReporters, len(seen), p.g.Reporters, names("authenticated reporters with successful sessions", seen), p.nextDay())
}

// current: so many of them showed the policy that is served now. Others may hold an old
// one, or none.
func (p *period) current() Gate {
	seen := p.reportersIf(func(r Reporter) bool { return r.Current })
	return number(GateCurrent, len(seen), p.g.CurrentReporters, names("reporters that showed the policy as it is now", seen), p.nextDay())
}

func (p *period) reportersIf(want func(Reporter) bool) []string {
	var seen []string
	for _, d := range p.f.Days {
		if !p.counts(dayOf(d.Date)) {
			continue
		}
		for _, r := range d.Authenticated.Reporters {
			if r.Domain != "" && want(r) {
				seen = append(seen, r.Domain)
			}
		}
	}
	return sorted(seen)
}

// nextDay is when one more day is decided on.
func (p *period) nextDay() time.Time { return p.at(later(p.end, p.first).Add(day)) }

// heard: reports of success have come of late. What fails alone is no sign of life.
func (p *period) heard() Gate {
	gate := Gate{Name: GateHeard, Want: "within " + span(p.g.Silence), Have: "never", Evidence: "no authenticated report of successful sessions"}
	if last := p.lastHeard(); !last.IsZero() {
		gate.Have = date(last)
		gate.Evidence = "the last authenticated report of successful sessions is on " + date(last)
		gate.Passed = p.now.Sub(last.Add(day)) < p.g.Silence
	}
	return gate
}

// lastHeard is the last day with success; zero if there is none.
func (p *period) lastHeard() (last time.Time) {
	for _, d := range p.f.Days {
		if date := dayOf(d.Date); d.Authenticated.Successful > 0 && !date.After(p.now) && date.After(last) {
			last = date
		}
	}
	return last
}
