package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// summaryTable prints a line for each domain, the worst first. Of each domain it keeps
// what is in the line: some ten megabytes of 100,000.
type summaryTable struct {
	out  *stickyWriter
	rows []summaryLine
}

type summaryLine struct {
	domain           string
	sessions, failed int64
	before           float64 // success rate; below 0 for none
	errors, warnings int32
	first            reports.AnomalyCode
}

func (p *summaryTable) summary(s *reports.Summary) {
	errs, warnings := anomaliesOf(s)
	l := summaryLine{domain: s.Domain, sessions: s.Sessions, failed: s.Failed, before: -1, errors: int32(errs), warnings: int32(warnings)}
	if rate := s.Before.SuccessRate; rate != nil {
		l.before = *rate
	}
	if len(s.Anomalies) > 0 {
		l.first = s.Anomalies[0].Code
	}
	p.rows = append(p.rows, l)
}

// worse orders domains: errors, warnings, the share that fails; those of which nothing is
// known come last.
func worse(a, b summaryLine) int {
	share := func(l summaryLine) float64 { return float64(l.failed) / float64(max(l.sessions, 1)) }
	return cmp.Or(
		cmp.Compare(b.errors, a.errors), cmp.Compare(b.warnings, a.warnings), cmp.Compare(share(b), share(a)),
		cmp.Compare(b.failed, a.failed), cmp.Compare(b.sessions, a.sessions), strings.Compare(a.domain, b.domain),
	)
}

// tableLine is a line of the table, in 80 columns unless counts are very large; longer
// domains stand out.
const tableLine = "%-22s %10s %9s %7s %7s  %s"

func (p *summaryTable) end(t summaryTotals) error {
	slices.SortFunc(p.rows, worse)
	line := func(cells ...any) {
		fmt.Fprintln(p.out, strings.TrimRight(fmt.Sprintf(tableLine, cells...), " "))
	}
	line("DOMAIN", "SESSIONS", "FAILED", "SUCCESS", "BEFORE", "ANOMALIES")
	for _, l := range p.rows {
		before := "-"
		if l.before >= 0 {
			before = ratePercent(&l.before)
		}
		line(l.domain, thousands(l.sessions), thousands(l.failed), ratePercent(reports.SuccessRate(l.sessions, l.failed)), before, l.anomalies())
	}
	fmt.Fprintf(p.out, "\n%s, %s reported on: %s, %s failed, %s success\n%s, %s\n", counted(int64(t.Domains), "domain"), thousands(int64(t.Reporting)),
		counted(t.Sessions, "session"), thousands(t.Failed), ratePercent(t.SuccessRate), counted(int64(t.Errors), "error"), counted(int64(t.Warnings), "warning"))
	if t.Reporting < t.Domains {
		fmt.Fprintln(p.out, "Of domains without sessions nothing is known: silence is not success.")
	}
	return p.out.err
}

func (l *summaryLine) anomalies() string {
	n := l.errors + l.warnings
	switch n {
	case 0:
		return ""
	case 1:
		return string(l.first)
	}
	return fmt.Sprintf("%s +%d", l.first, n-1)
}

// saturated adds two counts as the rooms do.
func saturated(a, b int64) int64 { return min(a+b, tlsrpt.MaxSessions) }
