package main

import (
	"encoding/xml"
	"fmt"
	"strings"

	"mtasts-server/internal/sendercheck"
)

// verifyJUnit prints a test suite for each domain, with a test case for each step. What
// could not be looked at is an error of the test, what is wrong a failure.
type verifyJUnit struct {
	out    *stickyWriter
	strict bool // warnings are failures too
}

func newVerifyJUnit(out *stickyWriter, strict bool) *verifyJUnit {
	fmt.Fprint(out, xml.Header+"<testsuites name=\"mtasts-server verify\">\n")
	return &verifyJUnit{out, strict}
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	File     string      `xml:"file,attr,omitempty"` // that configures the domain
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string         `xml:"name,attr"`
	ClassName string         `xml:"classname,attr"`
	Time      string         `xml:"time,attr"`
	Skipped   *junitProblem  `xml:"skipped"`
	Errors    []junitProblem `xml:"error"`
	Failures  []junitProblem `xml:"failure"`
	Output    *junitText     `xml:"system-out"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",cdata"`
}

type junitText struct {
	Text string `xml:",cdata"`
}

func (p *verifyJUnit) report(v verified) {
	suite := junitSuite{Name: v.Domain, Time: fmt.Sprintf("%.3f", v.Took.Seconds())}
	if v.file != "" {
		suite.File, _ = shownFile(v.file)
	}
	for _, step := range verifySteps {
		c := junitCase{Name: string(step), ClassName: v.Domain, Time: "0"}
		var notes []string
		for _, f := range findingsOf(v.Report, step) {
			problem := junitProblem{Message: about(f) + ": " + f.Text, Type: f.Code, Text: findingText(f)}
			switch {
			case f.Severity == sendercheck.Unknown:
				c.Errors = append(c.Errors, problem)
			case f.Severity == sendercheck.Error, f.Severity == sendercheck.Warning && p.strict:
				c.Failures = append(c.Failures, problem)
			case f.Code == sendercheck.MXSkipped:
				c.Skipped = &junitProblem{Message: f.Text}
			default:
				notes = append(notes, fmt.Sprintf("%s: %s: %s\n%s", f.Severity, about(f), f.Text, findingText(f)))
			}
		}
		if len(notes) > 0 {
			c.Output = &junitText{strings.Join(notes, "\n")}
		}
		if len(c.Errors)+len(c.Failures) > 0 {
			c.Skipped = nil
		}
		suite.add(c)
	}
	text, err := xml.MarshalIndent(suite, "  ", "  ")
	if err != nil && p.out.err == nil {
		p.out.err = err
	}
	fmt.Fprintf(p.out, "%s\n", text)
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case len(c.Errors) > 0:
		s.Errors++
	case len(c.Failures) > 0:
		s.Failures++
	case c.Skipped != nil:
		s.Skipped++
	}
}

// findingText is the rest of a finding, a line each.
func findingText(f sendercheck.Finding) string {
	var lines []string
	if f.Evidence != "" {
		lines = append(lines, "seen: "+f.Evidence)
	}
	lines = append(lines, "fix: "+f.Fix, "rule: "+f.Rule)
	if f.Result != "" {
		lines = append(lines, "reported as: "+string(f.Result))
	}
	return strings.Join(lines, "\n")
}

func (p *verifyJUnit) end(verifySummary) error {
	fmt.Fprint(p.out, "</testsuites>\n")
	return p.out.err
}
