package app

import (
	"maps"
	"slices"

	"mtasts-server/config"
	"mtasts-server/mtasts"
)

// mostLogged is how many domains of one kind a reload names in the log; the counts
// are always whole.
const mostLogged = 50

// logChanges says what a reload did: added, changed, refused, gone.
func (p *publisher) logChanges(rev *revision, first bool) {
	if first {
		p.log.Info("policies loaded", "domains", len(p.plan.ids), "kept", len(p.plan.kept))
		p.logKept(p.plan.kept)
		p.reminded = p.now()
		return
	}
	for _, kind := range []struct {
		what    string
		domains []string
	}{{"added", rev.added}, {"changed", rev.changed}, {"mended", rev.mended}, {"gone", rev.gone}} {
		slices.Sort(kind.domains)
		for _, domain := range kind.domains[:min(mostLogged, len(kind.domains))] {
			p.log.Info("policy "+kind.what, "domain", domain, "id", p.plan.ids[domain])
		}
	}
	p.logKept(rev.newlyKept)
	p.log.Info("reloaded", "added", len(rev.added), "changed", len(rev.changed), "refused", len(rev.newlyKept), "mended", len(rev.mended),
		"gone", len(rev.gone), "domains", len(p.plan.ids), "kept", len(p.plan.kept))
}

// logProblems tells of the errors that are new.
func (p *publisher) logProblems(problems []config.Problem) {
	before := make(map[config.Problem]bool)
	if p.snap != nil {
		for _, problem := range p.snap.Problems {
			before[problem] = true
		}
	}
	told := 0
	for _, problem := range problems {
		if problem.Severity != mtasts.Error || before[problem] {
			continue
		}
		if told++; told <= mostLogged {
			p.log.Warn("configuration problem", "file", problem.File, "line", problem.Line, "domain", problem.Domain, "err", problem.Message, "fix", problem.Fix)
		}
	}
	if told > mostLogged {
		p.log.Warn("more configuration problems; run: mtasts-server check", "count", told-mostLogged)
	}
}

// logKept shouts about domains that are served only as they last were.
func (p *publisher) logKept(ks map[string]kept) {
	names := slices.Sorted(maps.Keys(ks))
	for _, domain := range names[:min(mostLogged, len(names))] {
		k := ks[domain]
		p.log.Warn("serving the last good policy", "domain", domain, "id", k.ID, "reason", string(k.reason), "err", k.why())
	}
	if more := len(names) - mostLogged; more > 0 {
		p.log.Warn("serving the last good policy of more domains", "count", more)
	}
}
