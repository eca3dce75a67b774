package main

import "github.com/spf13/cobra"

const reportsLong = `reports is about what senders report of mail to the domains: which TLS sessions failed,
how, at which MX host, and how often (RFC 8460).`

func newReports() *cobra.Command {
	cmd := &cobra.Command{Use: "reports", Short: "Take, list and sum up the TLS reports of senders", Long: reportsLong}
	cmd.AddCommand(newReportsImport(), newReportsSummary(), newReportsList(), newReportsShow(), newReportsExport())
	return cmd
}
