package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// summaryText prints a summary in full: the headline, what is out of the ordinary, the
// tables, and what each kind of failure means.
type summaryText struct {
	out *stickyWriter
	n   int
}

// shownRows is how many lines a table has; the JSON form has them all.
const shownRows = 10

func (p *summaryText) summary(s *reports.Summary) {
	if p.n++; p.n > 1 {
		fmt.Fprint(p.out, "\n\n")
	}
	p.headline(s)
	p.anomalies(s.Anomalies)
	p.resultTypes(s.ByResultType)
	p.hosts(s.ByMX)
	p.worst(s.Worst)
	p.reporters(s.ByReporter)
	p.changes(s)
}

func (p *summaryText) end(t summaryTotals) error {
	if t.Domains > 1 {
		fmt.Fprintf(p.out, "\n\n%s: %s, %s failed; %s, %s\n", count(t.Domains, "domain"), counted(t.Sessions, "session"), thousands(t.Failed),
			counted(int64(t.Errors), "error"), counted(int64(t.Warnings), "warning"))
	}
	return p.out.err
}

// say wraps a text to the width of terminals.
func (p *summaryText) say(first string, indent int, text string) {
	wrapTo(p.out, first, indent, reportWidth, text)
}

func (p *summaryText) headline(s *reports.Summary) {
	n := int(s.Until.Sub(s.Since) / (24 * time.Hour))
	if s.Sessions == 0 {
		p.say("", 0, fmt.Sprintf("%s: nothing is known of %s: no sessions were reported, which is no success", s.Domain, lastDays(n)))
	} else {
		before := "nothing known of before"
		if s.Before.SuccessRate != nil {
			before = "before " + ratePercent(s.Before.SuccessRate)
		}
		p.say("", 0, fmt.Sprintf("%s: %s success (%s), %s of %s failed", s.Domain, ratePercent(s.SuccessRate), before, thousands(s.Failed), counted(s.Sessions, "session")))
	}
	p.say("", 2, fmt.Sprintf("%s to %s: %s", day(s.Since), day(s.Until.Add(-1)), whatCame(s)))
	if s.STSSessions != s.Sessions || s.STSFailed != s.Failed {
		p.say("", 2, fmt.Sprintf("under MTA-STS: %s, %s failed", counted(s.STSSessions, "session"), thousands(s.STSFailed)))
	}
	switch n := s.UnauthenticatedSessions; {
	case n > 0 && n == s.Sessions:
		p.say("", 2, "all of this is said by nobody known: no report is authenticated")
	case n > 0:
		p.say("", 2, fmt.Sprintf("said by nobody known (not authenticated): %s of these, %s failed; %s success without them",
			counted(n, "session"), thousands(s.UnauthenticatedFailed), ratePercent(reports.SuccessRate(s.Sessions-n, s.Failed-s.UnauthenticatedFailed))))
	}
	if s.AlsoClaimed > 0 {
		p.say("", 2, fmt.Sprintf("not counted: %s by nobody known, in the name of reporters whose own are there", counted(s.AlsoClaimed, "report")))
	}
}

func whatCame(s *reports.Summary) string {
	if s.LastSeen == nil {
		return "no reports"
	}
	return fmt.Sprintf("%s on %s by %s, the last on %s", counted(s.Reports, "report"), count(s.Days, "day"), counted(int64(s.Reporters), "reporter"), day(*s.LastSeen))
}

func lastDays(n int) string {
	if n == 1 {
		return "today"
	}
	return fmt.Sprintf("the last %d days", n)
}

func (p *summaryText) title(s string) { fmt.Fprintf(p.out, "\n%s\n", s) }

// table prints rows below a title, but not too many.
func table[T any](p *summaryText, title string, rows []T, columns []column, cells func(T) []string) {
	if len(rows) == 0 {
		return
	}
	p.title(title)
	g := &grid{columns: columns}
	for _, row := range rows[:min(len(rows), shownRows)] {
		g.add(cells(row)...)
	}
	g.write(p.out, "  ")
	if more := len(rows) - shownRows; more > 0 {
		fmt.Fprintf(p.out, "  and %d more: see them with --json\n", more)
	}
}

func (p *summaryText) anomalies(list []reports.Anomaly) {
	if len(list) == 0 {
		return
	}
	p.title("Out of the ordinary")
	for _, a := range list[:min(len(list), shownRows)] {
		p.say("  "+string(a.Severity), 11, printable(a.Text, shownReason))
	}
	if more := len(list) - shownRows; more > 0 {
		fmt.Fprintf(p.out, "  and %d more: see them with --json\n", more)
	}
}

var failureColumns = []column{{"SESSIONS", numberColumn}, {"BEFORE", numberColumn}, {"SEEN BY", numberColumn}, {"FIRST SEEN", textColumn}, {"LAST SEEN", textColumn}}

func failureCells(r reports.FailureRow) []string {
	by := fmt.Sprint(r.Reporters)
	if r.Unauthenticated {
		by = "(" + by + ")"
	}
	return []string{hostName(r.Name), thousands(r.Sessions), thousands(r.Before), by, day(r.FirstSeen), day(r.LastSeen)}
}

func (p *summaryText) resultTypes(rows []reports.FailureRow) {
	table(p, "Failures by type", rows, append([]column{{"RESULT TYPE", textColumn}}, failureColumns...), failureCells)
	for _, r := range rows {
		e := tlsrpt.ResultType(r.Name).Explain()
		fmt.Fprintf(p.out, "\n  %s\n", printable(r.Name, shownName))
		p.say("    means", 11, e.Meaning)
		p.say("    cause", 11, e.Cause)
		p.say("    fix", 11, e.Fix)
	}
}

func (p *summaryText) hosts(rows []reports.FailureRow) {
	table(p, "Failures by MX host", rows, append([]column{{"MX HOST", nameColumn}}, failureColumns...), failureCells)
}

func (p *summaryText) worst(rows []reports.CrossRow) {
	columns := []column{{"RESULT TYPE", textColumn}, {"MX HOST", nameColumn}, {"REPORTER", nameColumn}, {"SESSIONS", numberColumn}, {"FIRST", textColumn}, {"LAST", textColumn}}
	table(p, "Worst: type, host and reporter together", rows, columns, func(r reports.CrossRow) []string {
		return []string{printable(r.ResultType, shownName), hostName(r.MX), reporterName(r.Reporter, r.Authenticated), thousands(r.Sessions), monthDay(r.FirstSeen), monthDay(r.LastSeen)}
	})
}

func (p *summaryText) reporters(rows []reports.ReporterRow) {
	columns := []column{{"REPORTER", nameColumn}, {"REPORTS", numberColumn}, {"SESSIONS", numberColumn}, {"FAILED", numberColumn}, {"SUCCESS", numberColumn}, {"FIRST", textColumn}, {"LAST", textColumn}}
	table(p, "Reporters", rows, columns, func(r reports.ReporterRow) []string {
		return []string{
			reporterName(r.Name, r.Authenticated), thousands(r.Reports), thousands(r.Sessions), thousands(r.Failed),
			ratePercent(reports.SuccessRate(r.Sessions, r.Failed)), monthDay(r.FirstSeen), monthDay(r.LastSeen),
		}
	})
	if slices.ContainsFunc(rows[:min(len(rows), shownRows)], func(r reports.ReporterRow) bool { return !r.Authenticated }) {
		p.say("", 2, bracketsHint)
	}
}

const bracketsHint = "(in brackets: not authenticated. Anybody can report in that name.)"

func hostName(mx string) string { return cmp.Or(printable(mx, shownName), "(not said)") }

// reporterName is in brackets where it is only claimed.
func reporterName(name string, authenticated bool) string {
	name = printable(name, shownName)
	if !authenticated {
		return "(" + name + ")"
	}
	return name
}

func monthDay(t time.Time) string { return t.UTC().Format("01-02") }

func (p *summaryText) changes(s *reports.Summary) {
	kinds := map[reports.ChangeKind]string{reports.ChangedResultType: "failures", reports.ChangedMX: "failures at", reports.ChangedReporter: "sessions of"}
	columns := []column{{"", textColumn}, {"", textColumn}, {"", nameColumn}, {"BEFORE", numberColumn}, {"NOW", numberColumn}}
	n := int(s.Until.Sub(s.Since) / (24 * time.Hour))
	table(p, fmt.Sprintf("Against the %s before", count(n, "day")), s.Changes, columns, func(c reports.Change) []string {
		return []string{string(c.What), kinds[c.Kind], printable(c.Name, shownName), thousands(c.Before), thousands(c.Now)}
	})
}
