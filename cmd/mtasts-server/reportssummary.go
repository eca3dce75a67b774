package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/reports"
)

const summaryLong = `summary says what fails, at which MX host, seen by whom, and since when: of each domain
that is named in full; without arguments of all that are configured in one line each,
the worst first. It compares the last days with as many before them.

What is out of the ordinary stands first: a failure type or an MX host that is new, a
failure rate that left its band, a reporter gone silent, and silence altogether, as
silence is not success. The rules stand in docs/reports.md.

A reporter is known by the DKIM signature of its mail. What nobody known reports, as by
HTTPS, is counted and marked, and makes no error: anybody can say so.

Exit status: 0 nothing is out of the ordinary, 1 an error is (with --strict: or a
warning), or a domain is neither configured nor reported on, 2 wrong usage.`

// summarize is one run of summary.
type summarize struct {
	*app.Reports
	since, until time.Time
	strict       bool
}

func newReportsSummary() *cobra.Command {
	var asJSON, strict bool
	last := days(30)
	cmd := &cobra.Command{
		Use:     "summary [DOMAIN...]",
		Short:   "Sum up what fails, where, seen by whom, since when, and what is new",
		Long:    summaryLong,
		Example: "  mtasts-server reports summary example.com\n  mtasts-server reports summary --since 90d\n  mtasts-server reports summary --json | jq '.domains[] | select(.failed > 0) | .domain'",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := openReports(cmd, false)
			if err != nil {
				return err
			}
			defer r.Close()
			domains, err := domainsOf(r, args)
			if err != nil {
				return err
			}
			s := &summarize{Reports: r, strict: strict}
			s.since, s.until = last.period(time.Now())
			return s.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), domains, summaryForm(asJSON, len(args) > 0 || len(domains) == 1))
		},
	}
	cmd.Flags().Var(&last, "since", "how many `days` (30d) or weeks (4w) to look at, today included")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&strict, "strict", false, "let warnings fail too")
	return cmd
}

// summaryTotals is all domains together.
type summaryTotals struct {
	OK          bool     `json:"ok"`
	Domains     int      `json:"domains"`
	Reporting   int      `json:"reported_on"` // domains with sessions
	Sessions    int64    `json:"sessions"`
	Failed      int64    `json:"failed"`
	SuccessRate *float64 `json:"success_rate"`
	Errors      int      `json:"errors"` // anomalies
	Warnings    int      `json:"warnings"`
}

func (t *summaryTotals) add(s *reports.Summary) {
	t.Domains++
	if s.Sessions > 0 {
		t.Reporting++
	}
	t.Sessions, t.Failed = saturated(t.Sessions, s.Sessions), saturated(t.Failed, s.Failed)
	errs, warnings := anomaliesOf(s)
	t.Errors, t.Warnings = t.Errors+errs, t.Warnings+warnings
}

// anomaliesOf counts the anomalies of a domain.
func anomaliesOf(s *reports.Summary) (errs, warnings int) {
	for _, a := range s.Anomalies {
		if a.Severity == reports.Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}

// summaryPrinter prints domains as they come, or keeps a line of each.
type summaryPrinter interface {
	summary(*reports.Summary)
	end(summaryTotals) error
}

// summaryForm says how to print.
func summaryForm(asJSON, full bool) func(io.Writer) summaryPrinter {
	return func(out io.Writer) summaryPrinter {
		switch {
		case asJSON:
			return newSummaryJSON(out)
		case full:
			return &summaryText{out: &stickyWriter{out: out}}
		}
		return &summaryTable{out: &stickyWriter{out: out}}
	}
}

func (s *summarize) run(ctx context.Context, out, status io.Writer, domains []string, form func(io.Writer) summaryPrinter) error {
	bar, p := newProgress(status, len(domains), false), form(out)
	var totals summaryTotals
	for _, domain := range domains {
		sum, err := s.Store.Summary(ctx, domain, s.since, s.until)
		if err != nil {
			bar.clear()
			return err
		}
		if _, ours := slices.BinarySearch(s.Domains, domain); !ours && sum.Reports+sum.Before.Reports == 0 {
			bar.clear()
			return fmt.Errorf("%s is not configured, and there are no reports on it", domain)
		}
		totals.add(sum)
		bar.clear()
		p.summary(sum)
		bar.step()
	}
	bar.clear()
	totals.SuccessRate = reports.SuccessRate(totals.Sessions, totals.Failed)
	totals.OK = totals.Errors == 0 && (totals.Warnings == 0 || !s.strict)
	if err := p.end(totals); err != nil {
		return err
	}
	if !totals.OK {
		return errFindings
	}
	return nil
}

// summaryJSON prints one object, {"domains": [...], "totals": {...}}, piece by piece.
type summaryJSON struct{ domains list }

func newSummaryJSON(out io.Writer) *summaryJSON {
	w := &stickyWriter{out: jsonWriter{out}}
	fmt.Fprint(w, "{\n  \"domains\": [")
	return &summaryJSON{list{out: w, prefix: "    "}}
}

func (p *summaryJSON) summary(s *reports.Summary) { p.domains.put(s) }

func (p *summaryJSON) end(t summaryTotals) error {
	out := p.domains.out
	fmt.Fprint(out, "\n  ],\n  \"totals\": ")
	out.put("  ", t)
	fmt.Fprint(out, "\n}\n")
	return out.err
}
