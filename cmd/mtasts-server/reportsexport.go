package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

const reportsExportLong = `export prints all reports, of the domains that are named or of all that are configured,
domain by domain, the oldest windows first.

As CSV each failure is a row; of a policy without failures there is one, too. What counts
for a whole report (successful, failed) stands in its first row only, and what counts
for a policy in the first row of that, so that sums are right. Cells that a spreadsheet would take for
formulas begin with an apostrophe. As JSON each report is an object in a line, as the
verb show prints it.

Exit status: 0 fine, 1 the reports cannot be read, 2 wrong usage.`

func newReportsExport() *cobra.Command {
	var format string
	var last days
	cmd := &cobra.Command{
		Use:     "export [DOMAIN...] --format csv|json",
		Short:   "Print all reports as CSV or JSON, for other programs",
		Long:    reportsExportLong,
		Example: "  mtasts-server reports export --format csv --since 90d example.com > example.csv\n  mtasts-server reports export --format json | jq -r .submitter | sort | uniq -c",
		RunE: func(cmd *cobra.Command, args []string) error {
			form, err := newExporter(format, cmd.OutOrStdout())
			if err != nil {
				return usageError{err}
			}
			r, err := openReports(cmd, false)
			if err != nil {
				return err
			}
			defer r.Close()
			domains, err := domainsOf(r, args)
			if err != nil {
				return err
			}
			since, _ := last.period(time.Now())
			if err := form.begin(); err != nil {
				return err
			}
			for _, domain := range domains {
				if err := r.Store.Walk(cmd.Context(), domain, since, form.report); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`form`: csv or json")
	cmd.Flags().Var(&last, "since", "only those of the last `days` (30d) or weeks (4w) (default all)")
	return cmd
}

// exporter prints reports as they come.
type exporter interface {
	begin() error
	report(*reports.Whole) error
}

func newExporter(format string, out io.Writer) (exporter, error) {
	switch format {
	case "csv":
		return exportCSV{out}, nil
	case "json":
		return exportJSON{jsonWriter{out}}, nil
	case "":
		return nil, errors.New("--format is missing: want csv or json")
	}
	return nil, fmt.Errorf("--format %q: want csv or json", format)
}

type exportJSON struct{ out io.Writer }

func (exportJSON) begin() error { return nil }

func (e exportJSON) report(r *reports.Whole) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return err
	}
	_, err := e.out.Write(b.Bytes())
	return err
}

type exportCSV struct{ out io.Writer }

var csvColumns = []string{
	"id", "start", "end", "received", "submitter", "unauthenticated", "channel", "organization", "report_id",
	"successful", "failed", "policy_type", "policy_successful", "policy_failed",
	"result_type", "failed_sessions", "mx", "mx_helo", "mx_address", "sender_address", "reason", "more",
}

func (e exportCSV) begin() error { return e.row(csvColumns) }

// row writes a line with all cells quoted, since what a spreadsheet takes for the end of
// a cell differs by country.
func (e exportCSV) row(cells []string) error {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.ReplaceAll(cell, `"`, `""`) + `"`)
	}
	b.WriteString("\r\n") // RFC 4180 §2
	_, err := io.WriteString(e.out, b.String())
	return err
}

// maxCell is what a cell of common spreadsheets may hold.
const maxCell = 32_000

// formulaSigns are what formulas begin with, the wide forms of Asian keyboards included.
const formulaSigns = "=+-@\uff1d\uff0b\uff0d\uff20"

// harmless is a text of a stranger that no spreadsheet runs and no terminal obeys.
func harmless(s string) string {
	s = printable(s, maxCell)
	if begin := strings.TrimLeft(s, " "); begin != "" && strings.ContainsAny(begin[:runeLen(begin)], formulaSigns) {
		return "'" + s
	}
	return s
}

func runeLen(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// report writes the rows of a report.
func (e exportCSV) report(r *reports.Whole) error {
	head := []string{
		r.ID.String(), r.Start.Format(time.RFC3339), r.End.Format(time.RFC3339), r.Received.Format(time.RFC3339), harmless(r.Submitter),
		string(r.Unauthenticated), string(r.Channel), harmless(r.Organization), harmless(r.ReportID),
	}
	sums := []string{number(r.Successful), number(r.Failed)}
	policies := []tlsrpt.PolicyReport{{}}
	told := r.Report != nil && len(r.Report.Policies) > 0
	if told {
		policies = r.Report.Policies
	}
	for _, p := range policies {
		policy := []string{harmless(string(p.Type)), number(p.Successful), number(p.Failed)}
		if !told { // given up, as it is old
			policy = []string{"", "", ""}
		}
		for _, failure := range failureCellsOf(p.FailureList) {
			if err := e.row(slices.Concat(head, sums, policy, failure)); err != nil {
				return err
			}
			sums, policy = []string{"", ""}, []string{policy[0], "", ""}
		}
	}
	return nil
}

// failureCellsOf has a row for each failure, and one where there is none.
func failureCellsOf(list []tlsrpt.FailureDetails) [][]string {
	if len(list) == 0 {
		return [][]string{make([]string, 8)}
	}
	rows := make([][]string, len(list))
	for i, d := range list {
		rows[i] = []string{
			harmless(string(d.ResultType)), number(d.FailedSessions), harmless(d.ReceivingMXHostname), harmless(d.ReceivingMXHelo),
			harmless(d.ReceivingIP), harmless(d.SendingMTAIP), harmless(d.FailureReasonCode), harmless(d.AdditionalInformation),
		}
	}
	return rows
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
