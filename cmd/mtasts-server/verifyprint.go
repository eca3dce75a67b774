package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"mtasts-server/internal/sendercheck"
)

// verifySummary is what verify says of all domains together.
type verifySummary struct {
	OK           bool                        `json:"ok"`
	Domains      int                         `json:"domains"`
	Verdicts     map[sendercheck.Verdict]int `json:"verdicts"`
	Errors       int                         `json:"errors"`
	Unknown      int                         `json:"unknown"`
	Warnings     int                         `json:"warnings"`
	Port25Closed bool                        `json:"port_25_closed"` // for this machine, as it seems
}

func (s *verifySummary) add(r *sendercheck.Report) {
	s.Domains++
	s.Verdicts[r.Verdict]++
	s.Errors += r.Count(sendercheck.Error)
	s.Unknown += r.Count(sendercheck.Unknown)
	s.Warnings += r.Count(sendercheck.Warning)
}

// verifyPrinter prints reports as they come, so that none has to be kept.
type verifyPrinter interface {
	report(verified)
	end(verifySummary) error
}

// verified is a domain that was looked at.
type verified struct {
	*sendercheck.Report
	file string // that configures the domain, "" if it is not ours
}

func newVerifyPrinter(format string, out io.Writer, domains []string, strict bool) (verifyPrinter, error) {
	w := &stickyWriter{out: out}
	switch format {
	case "text":
		if len(domains) == 1 {
			return &verifyWalk{w}, nil
		}
		return newVerifyTable(w, domains), nil
	case "json":
		return newVerifyJSON(w), nil
	case "junit":
		return newVerifyJUnit(w, strict), nil
	case "sarif":
		return newVerifySARIF(w), nil
	}
	return nil, fmt.Errorf("--format %q: want text, json, junit or sarif", format)
}

// stickyWriter keeps the first error, and writes nothing after it.
type stickyWriter struct {
	out io.Writer
	err error
}

func (w *stickyWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		_, w.err = w.out.Write(p)
	}
	return len(p), w.err
}

// verifyStep is a part of the walk, as people are shown it.
type verifyStep string

const (
	stepDomain  verifyStep = "domain"
	stepRecord  verifyStep = "record"
	stepPolicy  verifyStep = "policy"
	stepMX      verifyStep = "mx"
	stepReports verifyStep = "reports"
)

var verifySteps = []verifyStep{stepDomain, stepRecord, stepPolicy, stepMX, stepReports}

// stepOf is the part of the walk that a finding belongs to.
func stepOf(code string) verifyStep {
	kind, _, _ := strings.Cut(code, "-")
	switch kind {
	case "record", "id", "publication":
		return stepRecord
	case "policy", "served", "host", "mode":
		return stepPolicy
	case "mx", "dane":
		return stepMX
	case "tlsrpt", "rua":
		return stepReports
	}
	return stepDomain
}

// findingsOf are the findings of one step, the worst first.
func findingsOf(r *sendercheck.Report, step verifyStep) (fs []sendercheck.Finding) {
	for _, f := range r.Findings {
		if stepOf(f.Code) == step {
			fs = append(fs, f)
		}
	}
	return fs
}

// outcome is a step in a word.
func outcome(r *sendercheck.Report, step verifyStep) string {
	for _, f := range findingsOf(r, step) {
		if f.Code == sendercheck.MXSkipped {
			return "not probed"
		}
		if f.Severity != sendercheck.Note {
			return string(f.Severity)
		}
	}
	switch {
	case r.Verdict == sendercheck.Unpublished && step == stepRecord,
		r.Policy == nil && step == stepPolicy,
		r.MX.Null && step == stepMX,
		len(r.TLSRPT.RUA) == 0 && step == stepReports:
		return "none"
	}
	return "ok"
}

// about is what a finding is about: a name, with addresses if not with all of them.
func about(f sendercheck.Finding) string {
	if len(f.Addresses) == 0 {
		return f.Subject
	}
	return f.Subject + " (" + addresses(f) + ")"
}

func addresses(f sendercheck.Finding) string {
	addrs := make([]string, len(f.Addresses))
	for i, a := range f.Addresses {
		addrs[i] = a.String()
	}
	return strings.Join(addrs, ", ")
}

// shownFile is a file as a review of changes knows it: relative to where the program was
// started, if it is below.
func shownFile(file string) (name string, below bool) {
	if here, err := filepath.Abs("."); err == nil {
		if rel, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), true
		}
	}
	return filepath.ToSlash(file), false
}

// wrap writes text that begins at a column, and goes on below it in lines of at most
// textWidth characters, unless a word is longer.
func wrap(out io.Writer, first string, indent int, text string) {
	wrapTo(out, first, indent, textWidth, text)
}

// wrapTo is wrap with lines of another width.
func wrapTo(out io.Writer, first string, indent, width int, text string) {
	line, at := first+strings.Repeat(" ", max(0, indent-len([]rune(first)))), 0
	for _, word := range strings.Fields(text) {
		if at > 0 && indent+at+1+len([]rune(word)) > width {
			fmt.Fprintln(out, strings.TrimRight(line, " "))
			line, at = strings.Repeat(" ", indent), 0
		}
		if at > 0 {
			line, at = line+" ", at+1
		}
		line, at = line+word, at+len([]rune(word))
	}
	fmt.Fprintln(out, strings.TrimRight(line, " "))
}

// textWidth is what fits on a terminal, and into a mail.
const textWidth = 100
