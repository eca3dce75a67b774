package main

import (
	"encoding/json"
	"fmt"
	"io"

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
type verifyPrinter struct {
	report func(*sendercheck.Report)
	end    func(*verifySummary) error
}

func newVerifyPrinter(format string, out io.Writer, domains int) (verifyPrinter, error) {
	switch format {
	case "text":
		return verifyText(out, domains), nil
	case "json":
		return verifyJSON(out), nil
	}
	return verifyPrinter{}, fmt.Errorf("--format %q: want text, json, junit or sarif", format)
}

// verifyJSON prints one object: {"domains": [...], "summary": {...}}.
func verifyJSON(out io.Writer) verifyPrinter {
	before, wrong := "{\n  \"domains\": [", error(nil)
	put := func(v any) {
		enc := newIndented(out, "    ")
		if wrong == nil {
			_, wrong = io.WriteString(out, before)
		}
		if wrong == nil {
			wrong = enc.Encode(v)
		}
	}
	n := 0
	return verifyPrinter{
		report: func(r *sendercheck.Report) {
			if n++; n == 1 {
				before += "\n    "
			} else {
				before = "    ,"
			}
			put(r)
		},
		end: func(s *verifySummary) error {
			if n == 0 {
				before += "]"
			} else {
				before = "  ]"
			}
			before += ",\n  \"summary\": "
			put(s)
			if wrong == nil {
				_, wrong = io.WriteString(out, "}\n")
			}
			return wrong
		},
	}
}

func newIndented(out io.Writer, prefix string) *json.Encoder {
	enc := json.NewEncoder(out)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	return enc
}

func verifyText(out io.Writer, _ int) verifyPrinter {
	return verifyPrinter{
		report: func(r *sendercheck.Report) {
			fmt.Fprintf(out, "%s: %s\n", r.Domain, r.Verdict)
			for _, f := range r.Findings {
				fmt.Fprintf(out, "  %s %s %s %v: %s: %s [%s]\n    fix: %s\n", f.Severity, f.Code, f.Subject, f.Addresses, f.Text, f.Evidence, f.Rule, f.Fix)
			}
		},
		end: func(s *verifySummary) error { return nil },
	}
}
