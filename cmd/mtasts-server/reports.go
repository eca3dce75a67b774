package main

import "github.com/spf13/cobra"

const reportsLong = `reports is about what senders report of mail to the domains: which TLS sessions failed,
how, at which MX host, and how often (RFC 8460). Begin with the summary:

  mtasts-server reports summary

How to read it, what each kind of failure means, and what counts as out of the ordinary
stand in docs/reports.md.`

func newReports() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reports",
		Short: "Take, list and sum up the TLS reports of senders",
		Long:  reportsLong,
		Args:  noVerb,
		RunE:  verbMissing,
	}
	cmd.AddCommand(newReportsImport(), newReportsSummary(), newReportsList(), newReportsShow(), newReportsExport())
	return cmd
}
