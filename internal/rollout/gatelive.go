package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// tlsrpt: senders were told where to report to, for so long that they may know.
func (g *Gates) tlsrpt(f *Facts, now time.Time) Gate {
	gate := Gate{Name: GateTLSRPT, Have: "none", Want: "for " + span(g.TLSRPTLive), Evidence: "there is no _smtp._tls record"}
	if since := f.TLSRPTSince; !since.IsZero() {
		gate.Have, gate.Evidence = date(since), "the _smtp._tls record is there since "+date(since)
		if at := since.Add(g.TLSRPTLive); now.Before(at) {
			gate.EarliestAt = at
		} else {
			gate.Passed = true
		}
	}
	return gate
}

// check: all is well as senders see it, now.
func (g *Gates) check(f *Facts, now time.Time) Gate {
	gate := Gate{Name: GateCheck, Have: "never", Want: "green, within " + span(g.CheckAge), Evidence: "it was never looked at"}
	c := f.Check
	if c.At.IsZero() {
		return gate
	}
	gate.Have, gate.Evidence = "green", "nothing was found wrong at "+date(c.At)
	if !c.OK {
		gate.Have, gate.Evidence = "red", fmt.Sprintf("found at %s: %s", date(c.At), some(c.Findings))
	}
	fresh := !c.At.After(now) && now.Sub(c.At) <= g.CheckAge
	if !fresh {
		gate.Have = "old"
	}
	gate.Passed = c.OK && fresh
	return gate
}

// mxStable: mail has gone to the same hosts all the time.
func (p *period) mxStable() Gate {
	from := later(p.startFor(p.end), p.since)
	gate := Gate{Name: GateMXStable, Have: "unknown", Want: "since " + date(from), Evidence: "MX hosts were never looked up"}
	since, known := p.f.mxSince()
	if !known {
		return gate
	}
	gate.Have, gate.Evidence = date(since), "the MX hosts are the same since "+date(since)
	gate.Passed = !since.After(from)
	if !gate.Passed {
		gate.EarliestAt = p.at(dayAfter(since).AddDate(0, 0, p.n))
	}
	return gate
}

// mxSince is since when the MX hosts are those of now.
func (f *Facts) mxSince() (since time.Time, known bool) {
	for i := len(f.MX) - 1; i >= 0; i-- {
		if !slices.Equal(sorted(f.MX[i].Hosts), sorted(f.MX[len(f.MX)-1].Hosts)) {
			break
		}
		since, known = f.MX[i].Since, true
	}
	return since, known
}

// mxAllowed: the policy allows each MX host of now.
func (f *Facts) mxAllowed(v Version) Gate {
	gate := Gate{Name: GateMXAllowed, Have: "unknown", Want: "all", Evidence: "MX hosts were never looked up"}
	if len(f.MX) == 0 {
		return gate
	}
	hosts := f.MX[len(f.MX)-1].Hosts
	bad := v.refused(hosts)
	gate.Passed, gate.Have = len(bad) == 0, fmt.Sprintf("%d of %d", len(hosts)-len(bad), len(hosts))
	gate.Evidence = "the policy allows all MX hosts"
	if !gate.Passed {
		gate.Evidence = "the policy does not allow " + some(bad)
	}
	return gate
}

// refused returns the hosts that the policy does not allow (RFC 8461 §4.1).
func (v Version) refused(hosts []string) (bad []string) {
	for _, host := range hosts {
		if !v.allows(host) {
			bad = append(bad, host)
		}
	}
	return bad
}

func (v Version) allows(host string) bool {
	for _, pattern := range v.MX {
		if pattern.Match(host) {
			return true
		}
	}
	return false
}

// some writes a few of the names, quoted where they are odd.
func some(names []string) string {
	var all []string
	for _, name := range names[:min(len(names), maxKinds)] {
		if q := fmt.Sprintf("%.80q", name); q != `"`+name+`"` || strings.ContainsAny(name, " ,<>&") {
			name = q
		}
		all = append(all, name)
	}
	if more := len(names) - len(all); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

func names(what string, all []string) string {
	if len(all) == 0 {
		return "no " + what
	}
	return what + ": " + some(all)
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// span writes a time in days where it has whole ones.
func span(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%d d", d/day)
	}
	return d.String()
}

// plus adds, and stays at the greatest number: counts are a stranger's.
func plus(a, b int64) int64 {
	if c := a + b; c >= a && b >= 0 {
		return c
	}
	return 1<<63 - 1
}
