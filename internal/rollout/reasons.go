package rollout

import (
	"time"

	"mtasts-server/mtasts"
)

// reasons says what of the gates is more than time that has to pass: why the domain does
// not go on, and, where a policy is enforced, what somebody has to look at.
func (g *Gates) reasons(p *period, gates []Gate, now time.Time) (hold, alarms []Reason) {
	enforced := p.v.Mode == mtasts.ModeEnforce
	for _, gate := range gates {
		switch {
		case gate.Name == GateHeard && now.Sub(later(later(p.lastHeard().Add(day), p.since), p.f.ReportsSince)) < g.Silence:
			continue // the first reports have yet to come
		case gate.Name == GateTLSRPT && !gate.EarliestAt.IsZero():
			continue
		case gate.Name == GateUnsigned && gate.Have != "0" && enforced:
			alarms = append(alarms, Reason{gate.Name, gate.Evidence})
		}
		if gate.Passed {
			continue
		}
		hold = append(hold, Reason{gate.Name, gate.Evidence})
		if unseen := gate.Name == GateCheck && gate.Have != "red"; enforced && alarming[gate.Name] && !unseen {
			alarms = append(alarms, Reason{gate.Name, gate.Evidence})
		}
	}
	return hold, append(alarms, p.f.drift(now)...)
}

// Followed reports whether senders that follow ids hold no policy any more that stands
// against the MX hosts of now. Those that see no id may still.
func (g Gates) Followed(f Facts, now time.Time) bool {
	return len(f.MX) == 0 || !now.Before(f.allowedSince(f.MX[len(f.MX)-1].Hosts, now).Add(f.RecordTTL+g.Refresh))
}

// alarming are the gates that alarm where they do not pass under enforce.
var alarming = map[string]bool{GateFailures: true, GateHeard: true, GateCheck: true}

// drift is what is in DNS that a policy which senders may hold, and enforce, does not allow.
func (f *Facts) drift(now time.Time) []Reason {
	if len(f.MX) == 0 {
		return nil
	}
	for i := len(f.Versions) - 1; i >= 0; i-- {
		v := f.Versions[i]
		until := v.last(now).Add(v.MaxAge)
		if v.Mode != mtasts.ModeEnforce || !until.After(now) {
			continue
		}
		if bad := v.refused(f.MX[len(f.MX)-1].Hosts); len(bad) > 0 {
			return []Reason{{GateMXAllowed, "a policy that senders may enforce until " + date(until) + " does not allow " + some(bad)}}
		}
	}
	return nil
}
