package app

import (
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// This file brings together what the rooms know of a domain, for the rules of rollout.

// evidence is what is known of one domain.
type evidence struct {
	versions  []ledger.Version
	heldUntil time.Time
	facts     *reports.Facts // nil: no reports
	state     *review.State  // nil: nobody looked
	open      []review.Finding
	care      *config.Care
	recordTTL time.Duration

	reportsSince time.Time
}

// rolloutFacts puts evidence in the words of the rules.
func (e *evidence) rolloutFacts() rollout.Facts {
	f := rollout.Facts{HeldUntil: e.heldUntil, RecordTTL: e.recordTTL, ReportsSince: e.reportsSince}
	for _, v := range e.versions {
		if p, err := mtasts.Parse(v.Body); err == nil {
			f.Versions = append(f.Versions, rollout.Version{
				ID: v.ID, Mode: p.Mode, MaxAge: time.Duration(p.MaxAge) * time.Second, MX: p.MX, From: v.From, Until: v.Until,
			})
		}
	}
	if e.facts != nil {
		f.Days = reportedDays(e.facts, currentID(e.versions))
	}
	if e.state != nil {
		f.Check, f.TLSRPTSince = e.check(), e.state.TLSRPTSince
		for _, set := range e.state.MX {
			f.MX = append(f.MX, rollout.MXSet{Since: set.Since, Hosts: set.Hosts})
		}
	}
	if e.care != nil {
		for _, r := range e.care.Resolved {
			f.Resolved = append(f.Resolved, rollout.Resolution{Result: tlsrpt.ResultType(r.Result), Before: r.Before, Note: r.Note})
		}
	}
	return f
}

// check is the last look: what was open of errors then.
func (e *evidence) check() rollout.Check {
	c := rollout.Check{At: e.state.Looked, OK: e.state.OK}
	for _, f := range e.open {
		if f.Severity == review.Error && f.Closed.IsZero() {
			c.OK = false
			c.Findings = append(c.Findings, f.Code)
		}
	}
	return c
}

// broken is since when the first of the errors is there that are open; zero where none is.
func (e *evidence) broken() (since time.Time) {
	for _, f := range e.open {
		if f.Severity == review.Error && f.Closed.IsZero() && (since.IsZero() || f.FirstSeen.Before(since)) {
			since = f.FirstSeen
		}
	}
	return since
}

// currentID is the id of what is served; "" for nothing.
func currentID(versions []ledger.Version) string {
	if n := len(versions); n > 0 && versions[n-1].Until.IsZero() {
		return versions[n-1].ID
	}
	return ""
}

// visit is what one submitter said of one day.
type visit struct {
	day           time.Time
	submitter     string
	authenticated bool
}

// reportedDays sums up reports by day. One session may stand under several policy types of
// one submitter: of these the one with most counts (RFC 8460 §4).
func reportedDays(facts *reports.Facts, current string) []rollout.Day {
	b := &dayBuilder{places: map[time.Time]int{}}
	byType := map[visit]map[string]*[2]int64{} // successful, failed
	shown := map[visit]bool{}
	var order []visit
	for _, d := range facts.Days {
		v := visit{d.Day, d.Submitter, d.Authenticated}
		if byType[v] == nil {
			byType[v] = map[string]*[2]int64{}
			order = append(order, v)
		}
		sum := byType[v][d.PolicyType]
		if sum == nil {
			sum = new([2]int64)
			byType[v][d.PolicyType] = sum
		}
		sum[0], sum[1] = addUp(sum[0], d.Successful), addUp(sum[1], d.Failed)
		shown[v] = shown[v] || d.Successful > 0 && d.Policy != "" && d.Policy == current
	}
	for _, v := range order {
		b.visit(v, byType[v], shown[v])
	}
	for _, x := range facts.Failures {
		b.failures(visit{x.Day, x.Submitter, x.Authenticated}, x.PolicyType, x.ResultType, x.Sessions)
		if sum := byType[visit{x.Day, x.Submitter, x.Authenticated}][x.PolicyType]; sum != nil {
			sum[1] -= x.Sessions
		}
	}
	for _, v := range order { // what failed, and nothing is said of
		for policyType, sum := range byType[v] {
			if sum[1] > 0 {
				b.failures(v, policyType, "", sum[1])
			}
		}
	}
	return b.all
}

func addUp(a, b int64) int64 { return min(a+b, tlsrpt.MaxSessions) }

type dayBuilder struct {
	all    []rollout.Day
	places map[time.Time]int // in all
}

// evidence returns where what v says belongs.
func (b *dayBuilder) evidence(v visit) *rollout.Evidence {
	at, there := b.places[v.day]
	if !there {
		at = len(b.all)
		b.places[v.day] = at
		b.all = append(b.all, rollout.Day{Date: v.day})
	}
	if v.authenticated {
		return &b.all[at].Authenticated
	}
	return &b.all[at].Unauthenticated
}

func (b *dayBuilder) visit(v visit, byType map[string]*[2]int64, shown bool) {
	e := b.evidence(v)
	var most int64
	for _, sum := range byType {
		most = max(most, sum[0])
	}
	e.Successful = addUp(e.Successful, most)
	if most > 0 {
		e.Reporters = append(e.Reporters, rollout.Reporter{Domain: v.submitter, Current: shown})
	}
}

func (b *dayBuilder) failures(v visit, policyType, result string, sessions int64) {
	e := b.evidence(v)
	e.Failures = append(e.Failures, rollout.Failure{Policy: tlsrpt.PolicyType(policyType), Result: tlsrpt.ResultType(result), Sessions: sessions})
}

// gatesOf are the numbers that hold for a domain: the advised ones, and what its table or
// profile says otherwise. An error says that these do not fit each other.
func gatesOf(p *config.Plan) (rollout.Gates, error) {
	g := rollout.Default()
	if p == nil {
		return g, nil
	}
	c := p.Gates
	put(&g.Windows, c.Windows)
	put(&g.ActiveWindows, c.ActiveWindows)
	if c.ActiveWindows == nil {
		g.ActiveWindows = min(g.ActiveWindows, (g.Windows+1)/2)
	}
	put(&g.Reporters, c.Reporters)
	put(&g.CurrentReporters, c.CurrentReporters)
	if c.CurrentReporters == nil {
		g.CurrentReporters = min(g.CurrentReporters, g.Reporters)
	}
	put(&g.Lag, c.Lag)
	put(&g.Silence, c.Silence)
	put(&g.TLSRPTLive, c.TLSRPTLive)
	put(&g.CheckAge, c.CheckAge)
	put(&g.Refresh, c.Refresh)
	put(&g.Queue, c.Queue)
	put(&g.UnauthenticatedHolds, c.UnauthenticatedHolds)
	if c.Ladder != nil {
		g.Ladder = nil
		for _, r := range c.Ladder {
			g.Ladder = append(g.Ladder, rollout.Rung{MaxAge: r.MaxAge, Clean: r.Clean})
		}
	}
	return g, g.Validate()
}

func put[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
