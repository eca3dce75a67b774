package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mtasts-server/tlsrpt"
)

// failures: none in authenticated reports that is not resolved.
func (p *period) failures() Gate {
	return p.noFailures(GateFailures, func(d Day) []Failure { return d.Authenticated.Failures })
}

// unauthenticated: none in others either, where these hold.
func (p *period) unauthenticated() Gate {
	gate := p.noFailures(GateUnsigned, func(d Day) []Failure { return d.Unauthenticated.Failures })
	if !gate.Passed && !p.g.UnauthenticatedHolds {
		gate.Passed, gate.EarliestAt, gate.Want = true, time.Time{}, "any number: they do not hold"
	}
	return gate
}

func (p *period) noFailures(name string, of func(Day) []Failure) Gate {
	var sum int64
	var last time.Time
	kinds := map[tlsrpt.ResultType]int64{}
	for _, d := range p.f.Days {
		date := dayOf(d.Date)
		if date.Before(p.start) || date.After(p.now) { // what is said of the future is refused on arrival
			continue
		}
		for _, fail := range of(d) {
			if fail.counts() && !p.resolved(date, fail) {
				sum, last = plus(sum, fail.Sessions), later(last, date)
				kinds[fail.Result] = plus(kinds[fail.Result], fail.Sessions)
			}
		}
	}
	gate := Gate{Name: name, Passed: sum == 0, Have: fmt.Sprint(sum), Want: "0", Evidence: "no failures since " + date(p.start)}
	if !gate.Passed {
		gate.Evidence = fmt.Sprintf("failed sessions since %s, the last ones on %s: %s", date(p.start), date(last), list(kinds))
		gate.EarliestAt = p.at(last.AddDate(0, 0, p.n+1))
	}
	return gate
}

// counts reports whether a failure is one that enforcing MTA-STS would meet, or is our own
// outage. Failures of DANE are none: senders that use it go by it alone (RFC 8461 §2). Those
// under no policy are: the sender did not find ours, and STARTTLS fails under any.
func (f Failure) counts() bool {
	switch f.Result {
	case tlsrpt.TLSAInvalid, tlsrpt.DNSSECInvalid, tlsrpt.DANERequired:
		return false
	case tlsrpt.STSPolicyFetchError, tlsrpt.STSPolicyInvalid, tlsrpt.STSWebPKIInvalid:
		return f.Sessions > 0
	}
	return f.Sessions > 0 && f.Policy != tlsrpt.PolicyTLSA
}

func (p *period) resolved(date time.Time, f Failure) bool {
	return slices.ContainsFunc(p.f.Resolved, func(r Resolution) bool {
		return (r.Result == "" || r.Result == f.Result) && date.Before(r.Before) && !r.Before.After(p.now)
	})
}

// maxKinds bounds what is listed: result types are a stranger's words, as are reporters' names.
const maxKinds = 5

// list writes the kinds of failures. Those that RFC 8460 does not know are not named.
func list(kinds map[tlsrpt.ResultType]int64) string {
	byName := map[string]int64{}
	for kind, n := range kinds {
		if !kind.Known() {
			kind = "of other kinds"
		}
		byName[string(kind)] = plus(byName[string(kind)], n)
	}
	var all []string
	for kind, n := range byName {
		all = append(all, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
