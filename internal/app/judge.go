package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/rollout"
)

const (
	// lookBack is how far evidence is looked at, at least: the longest that a step takes as
	// advised, with room. roomBack is that room where numbers of their own ask for more.
	lookBack = 120 * 24 * time.Hour
	roomBack = 14 * 24 * time.Hour

	// streamFrom is from how many domains on the sums of all are read in one go.
	streamFrom = 200
)

// judge brings the evidence on domains before the rules.
type judge struct {
	ledger  *ledger.Ledger
	reports *reports.Store // nil: there are none
	looks   *review.Store  // nil: nobody looks
	ttl     time.Duration  // of records
	now     func() time.Time
	before  bool // the policy that is served: as it stood before the last edit
}

// judged is a domain with its verdict.
type judged struct {
	domain  *config.Domain
	facts   rollout.Facts
	gates   rollout.Gates
	verdict rollout.Verdict
	id      string    // of the policy that is served
	broken  time.Time // since when the first error is open that senders would meet; zero: none is
}

// each judges domains, in no order.
func (j *judge) each(ctx context.Context, domains []*config.Domain, f func(*judged) error) error {
	now := j.now()
	states, open, err := j.looked(ctx, domains)
	if err != nil {
		return err
	}
	since, err := j.reportsSince(ctx, now)
	if err != nil {
		return err
	}
	one := func(d *config.Domain, facts *reports.Facts) error {
		e := &evidence{versions: j.versions(d.Name), facts: facts, open: open[d.Name], care: d.Care, recordTTL: j.ttl}
		if entry, ok := j.ledger.Lookup(d.Name); ok {
			e.heldUntil = entry.HeldUntil
		}
		e.reportsSince = since
		if s, ok := states[d.Name]; ok {
			e.state = &s
		}
		x := &judged{domain: d, facts: e.rolloutFacts(), id: currentID(e.versions), broken: e.broken()}
		var misfit error
		if x.gates, misfit = gatesOf(d.Plan); misfit != nil { // config refuses it: a fault of ours, which is not to hold up all others
			x.gates = rollout.Default()
		}
		if x.verdict = x.gates.Judge(x.facts, now); misfit != nil {
			x.verdict.Ready = false
			x.verdict.Hold = append(x.verdict.Hold, rollout.Reason{Code: "numbers", Text: "its numbers do not fit: " + misfit.Error()})
		}
		return f(x)
	}
	first := now.Add(-lookBackOf(domains))
	switch {
	case j.reports == nil:
		for _, d := range domains {
			if err := one(d, nil); err != nil {
				return err
			}
		}
		return nil
	case len(domains) >= streamFrom:
		return j.stream(ctx, domains, first, now, one)
	}
	for _, d := range domains {
		facts, err := j.reports.Facts(ctx, d.Name, first, now)
		if err != nil {
			return err
		}
		if err := one(d, facts); err != nil {
			return err
		}
	}
	return nil
}

// lookBackOf is how far back the evidence on domains goes: a failure that is not looked at
// would hold nothing back.
func lookBackOf(domains []*config.Domain) time.Duration {
	far := lookBack
	seen := map[*config.Plan]bool{nil: true}
	for _, d := range domains {
		if seen[d.Plan] {
			continue
		}
		seen[d.Plan] = true
		gates, _ := gatesOf(d.Plan)
		days := gates.Windows
		for _, r := range gates.Ladder {
			days = max(days, r.Clean)
		}
		far = max(far, time.Duration(days)*24*time.Hour+gates.Lag+roomBack)
	}
	return far
}

// versions are the policies that were served of domain.
func (j *judge) versions(domain string) []ledger.Version {
	all := j.ledger.Versions(domain)
	if n := len(all); j.before && n > 1 {
		all = all[:n-1]
		all[n-2].Until = time.Time{}
	}
	return all
}

// reportsSince is since when reports are kept; now where there are none yet.
func (j *judge) reportsSince(ctx context.Context, now time.Time) (time.Time, error) {
	if j.reports == nil {
		return now, nil
	}
	since, err := j.reports.Since(ctx)
	if since.IsZero() {
		since = now
	}
	return since, err
}

// stream reads the sums of all domains, one after the other.
func (j *judge) stream(ctx context.Context, domains []*config.Domain, first, last time.Time, one func(*config.Domain, *reports.Facts) error) error {
	left := make(map[string]*config.Domain, len(domains))
	for _, d := range domains {
		left[d.Name] = d
	}
	err := j.reports.EachFacts(ctx, first, last, func(domain string, facts *reports.Facts) error {
		d := left[domain]
		if d == nil {
			return nil
		}
		delete(left, domain)
		return one(d, facts)
	})
	if err != nil {
		return err
	}
	for _, domain := range slices.Sorted(maps.Keys(left)) {
		if err := one(left[domain], nil); err != nil {
			return err
		}
	}
	return nil
}

// looked returns what the review knows of domains: their states, and open errors.
func (j *judge) looked(ctx context.Context, domains []*config.Domain) (map[string]review.State, map[string][]review.Finding, error) {
	if j.looks == nil {
		return nil, nil, nil
	}
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = d.Name
	}
	states, err := j.looks.States(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	f := review.Filter{Severity: review.Error}
	if len(domains) == 1 {
		f.Domain = names[0]
	}
	list, err := j.looks.Open(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	open := map[string][]review.Finding{}
	for _, x := range list {
		open[x.Domain] = append(open[x.Domain], x)
	}
	return states, open, nil
}

// lacking says what of the gates is open, in a line.
func lacking(v rollout.Verdict) string {
	var parts []string
	for _, g := range v.Gates {
		if g.Passed {
			continue
		}
		s := fmt.Sprintf("%s: have %s, want %s", g.Name, g.Have, g.Want)
		if !g.EarliestAt.IsZero() {
			s += ", not before " + g.EarliestAt.UTC().Format(time.DateOnly)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}
