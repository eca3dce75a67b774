package app

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/rollout"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

// Review makes the page of a period. certificates are those of a running server, nil where
// none was asked.
func (r *Rollout) Review(ctx context.Context, name string, since, until time.Time, certificates []review.Certificate) (*review.Page, error) {
	b := &pageBuilder{Rollout: r, ctx: ctx, since: since, until: until}
	if err := b.judgeAll(); err != nil {
		return nil, err
	}
	in := review.Input{
		Name: name, From: since, Until: until, Steps: stepNames(), Testing: string(rollout.Testing), Drift: driftCodes(),
		Domains: slices.Values(b.lines), Changes: b.changes(), Overrides: b.overrides(), Ownerless: b.ownerless(),
		Certificates: slices.Values(certificates), Silences: b.silences(),
	}
	failed := func() error { return nil }
	failedStates := failed
	if looks := r.judge.looks; looks != nil {
		in.Findings, failed = looks.EachFinding(ctx, since)
		in.States, failedStates = looks.EachState(ctx)
	}
	if r.judge.reports != nil {
		in.Reports = b.reports()
	}
	page := review.MakePage(in)
	for _, err := range []error{failed(), failedStates(), b.err} {
		if err != nil {
			return nil, err
		}
	}
	return page, nil
}

type pageBuilder struct {
	*Rollout
	ctx          context.Context
	since, until time.Time
	lines        []review.DomainLine
	err          error // of what was read on the way
}

func stepNames() (names []string) {
	for _, s := range rollout.Steps() {
		names = append(names, string(s))
	}
	return names
}

// driftCodes are the findings by which what is out there has left what is written.
func driftCodes() (codes []string) {
	for _, rule := range sendercheck.Rules() {
		if f := family(rule.Code); f == "record" || f == "tlsrpt" || rule.Code == sendercheck.MXNotInPolicy || rule.Code == sendercheck.PolicyDiffers || strings.HasPrefix(rule.Code, "policy-host") {
			codes = append(codes, rule.Code)
		}
	}
	return append(codes, codeCAA)
}

// judgeAll says where each domain stands, and where it stood when the period began.
func (b *pageBuilder) judgeAll() error {
	names := b.view.Names()
	known, err := b.known(names)
	if err != nil {
		return err
	}
	err = b.judge.each(b.ctx, pick(known, names), func(x *judged) error {
		v := x.verdict
		line := review.DomainLine{Domain: x.domain.Name, Step: string(v.Step), Since: v.Since, Was: string(stepAt(x, b.since))}
		if next := x.next(); next != (rollout.Next{}) {
			line.Next, line.Ready, line.NextAt = nextInWords(next), v.Ready, v.NotBefore
			for _, g := range v.Gates {
				if !g.Passed {
					line.Waits = append(line.Waits, g.Name)
				}
			}
		}
		b.lines = append(b.lines, line)
		return nil
	})
	slices.SortFunc(b.lines, func(x, y review.DomainLine) int { return strings.Compare(x.Domain, y.Domain) })
	return err
}

func nextInWords(n rollout.Next) string {
	if n.Remove {
		return "removed"
	}
	return string(n.Mode) + ", max_age " + inUnits(n.MaxAge)
}

// stepAt is the step that a domain stood on at a time; "" where nothing was served of it yet.
func stepAt(x *judged, at time.Time) rollout.Step {
	then := x.facts
	then.Versions = nil
	for _, v := range x.facts.Versions {
		if v.From.After(at) {
			break
		}
		if v.Until.After(at) {
			v.Until = time.Time{}
		}
		then.Versions = append(then.Versions, v)
	}
	if len(then.Versions) == 0 {
		return ""
	}
	return x.gates.Judge(then, at).Step
}

// changes are the policies that took the place of others in the period.
func (b *pageBuilder) changes() iter.Seq[review.PolicyChange] {
	return func(yield func(review.PolicyChange) bool) {
		for _, name := range b.Names() {
			before := ""
			for _, v := range b.view.ledger.Versions(name) {
				is := policyInWords(v)
				if v.From.After(b.since) && !yield(review.PolicyChange{Domain: name, At: v.From, From: before, To: is}) {
					return
				}
				before = is
			}
		}
	}
}

func policyInWords(v ledger.Version) string {
	p, err := mtasts.Parse(v.Body)
	if err != nil {
		return v.ID
	}
	return fmt.Sprintf("%s, max_age %s, %s", p.Mode, inUnits(time.Duration(p.MaxAge)*time.Second), count(len(p.MX), "mx"))
}

func (b *pageBuilder) domains(f func(*config.Domain) bool) {
	for _, d := range b.view.snap.Domains {
		if !f(d) {
			return
		}
	}
}

func (b *pageBuilder) overrides() iter.Seq[review.Override] {
	return func(yield func(review.Override) bool) {
		b.domains(func(d *config.Domain) bool {
			if d.Care == nil || d.Care.Override == nil {
				return true
			}
			o := d.Care.Override
			return yield(review.Override{Domain: d.Name, What: "enforce without its evidence", Reason: o.Reason, Author: o.Author, Until: o.Until})
		})
	}
}

func (b *pageBuilder) ownerless() iter.Seq[review.Ownerless] {
	return func(yield func(review.Ownerless) bool) {
		b.domains(func(d *config.Domain) bool {
			missing := missingOwners(d.Owners)
			if len(missing) == 0 {
				return true
			}
			x := review.Ownerless{Domain: d.Name}
			for _, m := range missing {
				x.Missing = append(x.Missing, review.Owner(m))
			}
			return yield(x)
		})
	}
}

func (b *pageBuilder) silences() (list []review.Silence) {
	b.domains(func(d *config.Domain) bool {
		list = append(list, silencesOf(d)...)
		return true
	})
	return list
}

// silencesOf are what a domain's table wants not to be told of.
func silencesOf(d *config.Domain) (list []review.Silence) {
	if d.Care == nil {
		return nil
	}
	for _, s := range d.Care.Silences {
		list = append(list, review.Silence{Domain: d.Name, Code: s.Code, Subject: s.Subject, Reason: s.Reason, Author: s.Author, Until: s.Until})
	}
	return list
}

// reports sums up what senders reported in the period.
func (b *pageBuilder) reports() iter.Seq[review.ReportLine] {
	return func(yield func(review.ReportLine) bool) {
		stopped := fmt.Errorf("enough")
		err := b.judge.reports.EachFacts(b.ctx, b.since, b.until, func(domain string, facts *reports.Facts) error {
			if !yield(reportLine(reports.Summarize(domain, facts, b.since, b.until))) {
				return stopped
			}
			return nil
		})
		if err != nil && err != stopped {
			b.err = err
		}
	}
}

func reportLine(s *reports.Summary) review.ReportLine {
	line := review.ReportLine{Domain: s.Domain, Successful: s.Sessions - s.Failed, Failed: s.Failed}
	type way struct{ result, mx string }
	ways := map[way]*review.ReportedFailure{}
	for _, row := range s.Worst {
		k := way{row.ResultType, row.MX}
		f := ways[k]
		if f == nil {
			f = &review.ReportedFailure{Result: row.ResultType, MX: row.MX, Unsigned: true}
			ways[k] = f
		}
		f.Sessions = addUp(f.Sessions, row.Sessions)
		f.SeenBy = append(f.SeenBy, printable(row.Reporter))
		f.Unsigned = f.Unsigned && !row.Authenticated
	}
	for _, k := range slices.SortedFunc(maps.Keys(ways), func(a, b way) int { return strings.Compare(a.result+" "+a.mx, b.result+" "+b.mx) }) {
		line.Failures = append(line.Failures, *ways[k])
	}
	return line
}
