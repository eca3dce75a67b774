package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mtasts-server/internal/sendercheck"
)

// verifyWalk prints the walk for one domain, step by step.
type verifyWalk struct{ out *stickyWriter }

// The columns of the walk.
const (
	walkOutcome = 9
	walkText    = 19
	walkDetail  = walkText + 2
	walkFinding = walkDetail + 6
)

func (p *verifyWalk) report(v verified) {
	fmt.Fprintf(p.out, "%s: %s%s\n\n", v.Domain, v.Verdict, countFindings(v.Report))
	for _, step := range verifySteps {
		fs := findingsOf(v.Report, step)
		if step == stepDomain && len(fs) == 0 {
			continue
		}
		head := fmt.Sprintf("%-*s%-*s", walkOutcome, step, walkText-walkOutcome, outcome(v.Report, step))
		facts := factsOf(v.Report, step)
		if len(facts) == 0 {
			facts = []string{v.Domain}
		}
		for _, fact := range facts {
			column := walkText
			if strings.HasPrefix(fact, " ") {
				column = walkDetail
			}
			wrap(p.out, head, column, fact)
			head = ""
		}
		name, _, _ := strings.Cut(facts[0], " ")
		for _, f := range fs {
			p.finding(name, f)
		}
	}
}

// finding prints what is wrong at a step whose name stands above.
func (p *verifyWalk) finding(name string, f sendercheck.Finding) {
	what := string(f.Severity)
	if f.Subject != name {
		what += ": " + f.Subject
	}
	if len(f.Addresses) > 0 {
		what += " at " + addresses(f)
	}
	label := func(s string) string { return strings.Repeat(" ", walkDetail) + s }
	wrap(p.out, strings.Repeat(" ", walkText), walkText, what+": "+f.Text)
	if f.Evidence != "" {
		wrap(p.out, label("seen"), walkFinding, f.Evidence)
	}
	wrap(p.out, label("fix"), walkFinding, f.Fix)
	rule := f.Rule + "; " + f.Code
	if f.Result != "" {
		rule += "; reported as " + string(f.Result)
	}
	wrap(p.out, label("rule"), walkFinding, rule)
}

func (p *verifyWalk) end(s verifySummary) error {
	if s.Port25Closed {
		fmt.Fprintf(p.out, "\n%s\n", port25Hint)
	}
	return p.out.err
}

const port25Hint = "No MX host answers on port 25: most likely this machine may not connect to it, as in many clouds.\n" +
	"Check from one that may, or leave MX hosts out with --no-mx."

// countFindings is how many there are of those that matter.
func countFindings(r *sendercheck.Report) string {
	var parts []string
	if n := r.Count(sendercheck.Error); n > 0 {
		parts = append(parts, count(n, "error"))
	}
	if n := r.Count(sendercheck.Unknown); n > 0 {
		parts = append(parts, fmt.Sprintf("%d unknown", n))
	}
	if n := r.Count(sendercheck.Warning); n > 0 {
		parts = append(parts, count(n, "warning"))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// factsOf is what there is to see at a step. Details begin with a blank.
func factsOf(r *sendercheck.Report, step verifyStep) (facts []string) {
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	switch step {
	case stepRecord:
		add("%s%s", r.Record.Name, leadsTo(r.Record.Aliases))
		for _, txt := range shortened(r.Record.Texts) {
			add(" %s", txt)
		}
	case stepPolicy:
		add("%s%s", r.Host.Host, leadsTo(r.Host.Aliases))
		for _, f := range r.Host.Fetches {
			add(" %s: %s", f.Addr, fetchFacts(f))
		}
		if p := r.Policy; p != nil {
			add(" mode %s, max_age %s, mx %s", p.Mode, roughAge(p.MaxAge), strings.Join(shortened(p.MX), ", "))
		}
	case stepMX:
		for _, h := range r.MX.Hosts {
			facts = append(facts, hostFacts(r, h)...)
		}
	case stepReports:
		add("%s%s", r.TLSRPT.Name, leadsTo(r.TLSRPT.Aliases))
		for _, uri := range shortened(r.TLSRPT.RUA) {
			add(" %s", uri)
		}
	}
	return facts
}

func fetchFacts(f sendercheck.Fetch) string {
	var parts []string
	if f.TLS != "" {
		parts = append(parts, f.TLS, "certificate until "+day(f.NotAfter))
	}
	if f.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", f.Status))
	}
	if f.Err == nil {
		parts = append(parts, count(len(f.Body), "byte"))
	} else if len(parts) == 0 {
		return "no policy"
	}
	return strings.Join(append(parts, f.Took.Round(time.Millisecond).String()), ", ")
}

func hostFacts(r *sendercheck.Report, h *sendercheck.MXHost) []string {
	head := fmt.Sprintf("%d %s%s", h.Preference, h.Name, leadsTo(h.Aliases))
	if r.MX.Implicit {
		head = h.Name + " itself"
	}
	if h.Pattern != "" && h.Pattern != h.Name {
		head += ", allowed by " + h.Pattern
	}
	if h.DANE {
		head += ", DANE"
	}
	facts := []string{head}
	for _, p := range h.Probes {
		if p.TLS == "" {
			facts = append(facts, fmt.Sprintf(" %s: %s", p.Addr, howFar(p.Stage)))
			continue
		}
		facts = append(facts, fmt.Sprintf(" %s: %s, certificate until %s, %s", p.Addr, p.TLS, day(p.NotAfter), p.Took.Round(time.Millisecond)))
	}
	return facts
}

// howFar is where a session ended that came to no TLS.
func howFar(stage string) string {
	if stage == "connect" {
		return "no connection"
	}
	return "the session ended at " + stage
}

func leadsTo(aliases []string) string {
	if len(aliases) == 0 {
		return ""
	}
	return " -> " + strings.Join(aliases[1:], " -> ")
}

// shortened is a list that people still look at.
func shortened(list []string) []string {
	const most = 8
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// roughAge is a max_age, in days where it has days.
func roughAge(seconds int) string {
	const aDay = 24 * 60 * 60
	if seconds >= aDay && seconds%aDay == 0 {
		return count(seconds/aDay, "day")
	}
	return count(seconds, "second")
}

// verifyTable prints a line for each domain, with the findings of those that have some.
type verifyTable struct {
	out   *stickyWriter
	width int               // of the first column
	told  map[string]string // finding -> the domain where it was told in full
}

// maxNameColumn is the widest that the first column becomes; longer names stand out.
const maxNameColumn = 40

// maxTold bounds how many findings are remembered: beyond, they are told in full again.
const maxTold = 10_000

func newVerifyTable(out *stickyWriter, domains []string) *verifyTable {
	t := &verifyTable{out: out, width: len("DOMAIN"), told: map[string]string{}}
	for _, d := range domains {
		t.width = max(t.width, min(len(d), maxNameColumn))
	}
	t.row("DOMAIN", "VERDICT", "MODE", "RECORD", "POLICY", "MX", "REPORTS")
	return t
}

func (t *verifyTable) row(domain, verdict, mode, record, policy, mx, reports string) {
	line := fmt.Sprintf("%-*s  %-11s  %-7s  %-7s  %-7s  %-10s  %s", t.width, domain, verdict, mode, record, policy, mx, reports)
	fmt.Fprintln(t.out, strings.TrimRight(line, " "))
}

func (t *verifyTable) report(v verified) {
	r := v.Report
	mode := "-"
	if r.Policy != nil {
		mode = string(r.Policy.Mode)
	}
	t.row(r.Domain, string(r.Verdict), mode, outcome(r, stepRecord), outcome(r, stepPolicy), outcome(r, stepMX), outcome(r, stepReports))
	for _, f := range r.Findings {
		if f.Severity != sendercheck.Note {
			t.finding(r.Domain, f)
		}
	}
}

// finding tells of a finding, in full where it was not told before: an MX host of many
// domains is mended once.
func (t *verifyTable) finding(domain string, f sendercheck.Finding) {
	text := fmt.Sprintf("%s: %s: %s", f.Severity, about(f), f.Text)
	key := f.Code + about(f) + f.Evidence
	if before, ok := t.told[key]; ok {
		wrap(t.out, "  ", 4, text+", as "+before)
		return
	}
	if len(t.told) < maxTold {
		t.told[key] = domain
	}
	if f.Evidence != "" {
		text += ": " + f.Evidence
	}
	wrap(t.out, "  ", 4, text)
	wrap(t.out, "    fix:", 9, f.Fix)
}

func (t *verifyTable) end(s verifySummary) error {
	list, sep := "", ": "
	for _, v := range sendercheck.Verdicts() {
		if n := s.Verdicts[v]; n > 0 {
			list += fmt.Sprintf("%s%d %s", sep, n, v)
			sep = ", "
		}
	}
	fmt.Fprintf(t.out, "\n%s%s\nfindings: %s, %d unknown, %s\n", count(s.Domains, "domain"), list, count(s.Errors, "error"), s.Unknown, count(s.Warnings, "warning"))
	if s.Port25Closed {
		fmt.Fprintln(t.out, port25Hint)
	}
	return t.out.err
}
