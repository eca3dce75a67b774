package review

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// number prints 1234567 as people read it: 1,234,567.
func number[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// many prints "1 domain", "2 domains".
func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + one + "s"
}

// is prints "is" or "are".
func is(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// date prints a day; "" for none.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// lastDay prints the day that a word ends with, as it was written; "" for none.
func lastDay(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	return date(until.Add(-time.Second))
}

// share prints a part of a whole, so that a small one is not none.
func share(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	percent := 100 * float64(part) / float64(whole)
	switch {
	case part == 0:
		return "0 %"
	case percent < 0.01:
		return "below 0.01 %"
	case percent < 1:
		return fmt.Sprintf("%.2f %%", percent)
	}
	return fmt.Sprintf("%.1f %%", percent)
}

// summary is what whoever reads nothing else should know.
func (p *Page) summary() []string {
	var lines []string
	steps := []string{}
	for _, s := range p.Steps {
		if s.Now > 0 {
			steps = append(steps, number(s.Now)+" "+s.Step)
		}
	}
	lines = append(lines, strings.TrimSuffix(many(p.Domains, "domain")+": "+strings.Join(steps, ", "), ": ")+".")
	lines = append(lines, p.openSentence(), p.changeSentence())
	if s := p.Sessions; s.Successful+s.Failed > 0 {
		lines = append(lines, fmt.Sprintf("Senders reported %s sessions on %s; %s failed (%s).",
			number(s.Successful+s.Failed), many(s.Domains, "domain"), number(s.Failed), share(s.Failed, s.Successful+s.Failed)))
	}
	if n := p.Stuck.Len(); n > 0 {
		lines = append(lines, fmt.Sprintf("%s %s stuck in testing for more than %d days.", many(n, "domain"), is(n), int(stuckAfter/(24*time.Hour))))
	}
	if n := p.Plan.Len(); n > 0 {
		lines = append(lines, fmt.Sprintf("%s may take the next step until %s, the first on %s.", many(n, "domain"), date(p.planEnd()), date(p.Plan.Rows[0].NextAt)))
	}
	return lines
}

// planEnd is the end of the period that comes.
func (p *Page) planEnd() time.Time { return p.Until.Add(p.Until.Sub(p.From)) }

func (p *Page) openSentence() string {
	t := p.Findings
	s := "No error is open"
	if t.Errors > 0 {
		s = fmt.Sprintf("%s %s open on %s", many(t.Errors, "error"), is(t.Errors), many(t.ErrorDomains, "domain"))
	}
	if t.Warnings > 0 {
		s += ", and " + many(t.Warnings, "warning")
	}
	if t.Silenced > 0 {
		s += fmt.Sprintf("; %s %s silenced", many(t.Silenced, "finding"), is(t.Silenced))
	}
	return s + "."
}

func (p *Page) changeSentence() string {
	on, back, fresh := 0, 0, 0
	for _, m := range p.Moves {
		switch {
		case m.From == "":
			fresh += m.Domains
		case m.Back:
			back += m.Domains
		default:
			on += m.Domains
		}
	}
	parts := []string{fmt.Sprintf("%s opened and %s closed", many(p.Findings.Opened, "finding"), number(p.Findings.Closed))}
	if fresh > 0 {
		parts = append(parts, many(fresh, "new domain"))
	}
	if on > 0 {
		parts = append(parts, many(on, "domain")+" moved on")
	}
	if back > 0 {
		parts = append(parts, many(back, "domain")+" went back")
	}
	if n := p.Changes.Len(); n > 0 {
		parts = append(parts, many(n, "policy change"))
	}
	return "Since " + date(p.From) + ": " + strings.Join(parts, ", ") + "."
}

// fine is what there is no table of.
func (p *Page) fine() []string {
	lines := []string{}
	for _, c := range []struct {
		n    int
		text string
	}{
		{p.Open.Len(), "nothing is open"},
		{p.Stuck.Len(), "no domain is stuck in testing"},
		{p.Drifted.Len(), "nothing drifted"},
		{p.Failures.Len(), "no failure was reported"},
		{p.Changes.Len(), "no policy was changed"},
		{p.Overrides.Len(), "no overrides"},
		{p.Silenced.Len() + p.Useless.Len(), "no silences"},
		{p.Ownerless.Len(), "every domain has its owners"},
		{p.Certificates.Len(), "no certificate is in trouble"},
		{p.Plan.Len(), "no step is planned"},
	} {
		if c.n == 0 {
			lines = append(lines, c.text)
		}
	}
	if p.Failures.Len() == 0 && p.Sessions == (Sessions{}) {
		lines[slices.Index(lines, "no failure was reported")] = "no reports came"
	}
	return lines
}
