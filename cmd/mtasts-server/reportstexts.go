package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// What of one report is shown to people; the JSON form has it all.
const (
	shownPolicies = 20
	shownDetails  = 100
	shownNotes    = 20
	shownLines    = 20 // of a policy

	// shownBytes is how much of what was set aside is shown.
	shownBytes = 2000

	factColumn = 16
)

// fact prints what is known under a name; nothing for nothing.
func fact(w io.Writer, name, text string) {
	if text != "" {
		wrapTo(w, name, factColumn, reportWidth, text)
	}
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func printReport(w io.Writer, r *reports.Whole) {
	fmt.Fprintf(w, "%s: %s, %s failed\n\n", r.ID, counted(saturated(r.Successful, r.Failed), "session"), thousands(r.Failed))
	by := printable(r.Submitter, shownName) + ", authenticated"
	if r.Unauthenticated != "" {
		by = fmt.Sprintf("(%s), not authenticated: %s", printable(r.Submitter, shownName), r.Unauthenticated)
	}
	fact(w, "reporter", by)
	fact(w, "organization", printable(r.Organization, shownName))
	fact(w, "contact", printable(r.Contact, shownName))
	fact(w, "report id", printable(r.ReportID, shownName))
	fact(w, "window", instant(r.Start)+" to "+instant(r.End)+" UTC")
	fact(w, "received", fmt.Sprintf("%s UTC by %s from %s", instant(r.Received), r.Channel, printable(r.Source, shownSource)))
	for i, n := range r.Notes[:min(len(r.Notes), shownNotes)] {
		fact(w, []string{"deviates", ""}[min(i, 1)], fmt.Sprintf("%s at %s", n.Code, printable(n.Path, shownName)))
	}
	more(w, len(r.Notes)-shownNotes, factColumn)
	if r.Report == nil {
		fmt.Fprintln(w, "\nWhat it says in detail was given up, as it is old.")
		return
	}
	for _, p := range r.Report.Policies[:min(len(r.Report.Policies), shownPolicies)] {
		printPolicyReport(w, p)
	}
	more(w, len(r.Report.Policies)-shownPolicies, 0)
}

// more says how many are left out.
func more(w io.Writer, n, indent int) {
	if n > 0 {
		fmt.Fprintf(w, "%*sand %d more: see them with --json\n", indent, "", n)
	}
}

func printPolicyReport(w io.Writer, p tlsrpt.PolicyReport) {
	fmt.Fprintf(w, "\nUnder the policy %s: %s, %s failed\n", printable(string(p.Type), shownName), counted(saturated(p.Successful, p.Failed), "session"), thousands(p.Failed))
	for i, line := range p.Text[:min(len(p.Text), shownLines)] {
		fact(w, []string{"  policy", ""}[min(i, 1)], printable(line, shownName))
	}
	more(w, len(p.Text)-shownLines, factColumn)
	if len(p.MXHosts) > 0 {
		hosts := p.MXHosts[:min(len(p.MXHosts), shownLines)]
		fact(w, "  mx", printable(strings.Join(hosts, " "), shownReason))
	}
	for _, d := range p.FailureList[:min(len(p.FailureList), shownDetails)] {
		printDetails(w, d)
	}
	more(w, len(p.FailureList)-shownDetails, 2)
}

func printDetails(w io.Writer, d tlsrpt.FailureDetails) {
	fmt.Fprintf(w, "\n  %s: %s\n", printable(string(d.ResultType), shownName), counted(d.FailedSessions, "session"))
	host := printable(d.ReceivingMXHostname, shownName)
	if d.ReceivingMXHelo != "" {
		host += ", which says it is " + printable(d.ReceivingMXHelo, shownName)
	}
	fact(w, "    mx host", strings.TrimPrefix(host, ", "))
	fact(w, "    mx address", printable(d.ReceivingIP, shownName))
	fact(w, "    sender", printable(d.SendingMTAIP, shownName))
	fact(w, "    reason", printable(d.FailureReasonCode, shownReason))
	fact(w, "    more at", printable(d.AdditionalInformation, shownReason))
}

func printAside(w io.Writer, e *reports.AsideEntry) {
	fmt.Fprintf(w, "aside/%d: %s\n\n", e.Number, e.Reason)
	fact(w, "detail", printable(e.Detail, shownReason))
	fact(w, "received", fmt.Sprintf("%s UTC by %s from %s", instant(e.Received), e.Channel, printable(e.Source, shownSource)))
	fact(w, "authenticated", cmp.Or(printable(e.Submitter, shownName), "no"))
	fact(w, "domain", printable(e.Domain, shownName))
	fact(w, "size", counted(e.Size, "byte"))
	if len(e.Data) == 0 {
		return
	}
	fmt.Fprintln(w)
	begin := e.Data[:min(len(e.Data), shownBytes)]
	_, _ = w.Write(tame(begin))
	if begin[len(begin)-1] != '\n' {
		fmt.Fprintln(w)
	}
	if len(e.Data) > len(begin) {
		fmt.Fprintln(w, "... see more with --raw")
	}
}
