package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/mtasts"
)

const recordsLong = `records prints what each domain must publish in DNS, beside what is there and what
to change: where the policy host leads to, the TXT record that announces the policy,
the one that says where senders report to, and CAA where it would keep the CA from
issuing. Without arguments it tells of all domains.

The id of a policy is withheld until each address of the policy host serves the new
bytes (RFC 8461 §8.1): the body first, the id second. To see them as the world does
it asks the name servers of dns.resolvers, and connects to port 443.

The formats zone, dnscontrol and octodns hold what can be published now; what is
withheld stands in comments.

Exit status: 0 DNS has all that it should have (or it was printed in a format for
machines other than JSON), 1 something is to be done, or not known, 2 wrong usage.`

func newRecords() *cobra.Command {
	var format string
	var asJSON bool
	var o app.RecordsOptions
	formats := append([]string{"text", "json"}, dnsrecords.Forms...)
	cmd := &cobra.Command{
		Use:     "records [DOMAIN...]",
		Short:   "Print the DNS records that domains must publish, beside those that are there",
		Long:    recordsLong,
		Example: "  mtasts-server records example.com\n  mtasts-server records --format zone > mta-sts.zone\n  mtasts-server records --offline --format dnscontrol example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "json"
			}
			if !slices.Contains(formats, format) {
				return usageError{fmt.Errorf("unknown format %q: want one of %s", format, strings.Join(formats, ", "))}
			}
			var err error
			if o.Resolvers, err = nameServers(o.Resolvers); err != nil {
				return usageError{err}
			}
			v, err := openView(cmd)
			if err != nil {
				return err
			}
			domains, err := namesOr(v, args)
			if err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr(), len(domains), false)
			o.Done = bar.step
			views, err := v.Records(cmd.Context(), domains, o)
			bar.clear()
			if err != nil {
				return err
			}
			return printRecords(cmd.OutOrStdout(), format, views, o.Offline)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`form`: "+strings.Join(formats, ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&o.Offline, "offline", false, "ask nobody: print all that is wanted, ids included")
	cmd.Flags().StringArrayVar(&o.Resolvers, "resolver", nil, "`address` of a recursive name server to ask (default: as configured, else the system's)")
	cmd.Flags().IntVar(&o.Parallel, "parallel", 0, "how many domains at a `time` (default: by processors)")
	return cmd
}

// namesOr returns the domains that were named, or all that v knows.
func namesOr(v *app.View, args []string) ([]string, error) {
	if len(args) == 0 {
		names := v.Names()
		if len(names) == 0 {
			return nil, errors.New("no domain is configured: write a policy file, or have one written by the verb init")
		}
		return names, nil
	}
	var domains []string
	for _, arg := range args {
		domain, err := mtasts.ParseDomain(arg)
		if err != nil {
			return nil, usageError{err}
		}
		domains = append(domains, domain)
	}
	return domains, nil
}

func printRecords(out io.Writer, format string, views []*app.RecordsView, offline bool) error {
	switch format {
	case "json":
		if err := printJSON(out, struct {
			Domains []*app.RecordsView `json:"domains"`
		}{views}); err != nil {
			return err
		}
	case "text":
		if err := printRecordsText(out, views, offline); err != nil {
			return err
		}
	default:
		sheets := make([]dnsrecords.Sheet, len(views))
		for i, v := range views {
			if v.Unsure != "" {
				return fmt.Errorf("nothing is printed, as a tool would remove what may be there: %s: %s", v.Domain, v.Unsure)
			}
			sheets[i] = v.Sheet()
		}
		return dnsrecords.Print(out, format, sheets)
	}
	if !offline && slices.ContainsFunc(views, func(v *app.RecordsView) bool { return !v.OK() }) {
		return errFindings
	}
	return nil
}

func printRecordsText(out io.Writer, views []*app.RecordsView, offline bool) error {
	var b strings.Builder
	good := 0
	for i, v := range views {
		if i > 0 {
			b.WriteByte('\n')
		}
		if v.OK() {
			good++
		}
		fmt.Fprintf(&b, "%s\n", v.Domain)
		for _, note := range v.Notes {
			fmt.Fprintf(&b, "  %s\n", note)
		}
		for _, r := range v.Records {
			printRecord(&b, r)
		}
	}
	if !offline {
		fmt.Fprintf(&b, "\n%s: %d as they should be, %d to do\n", count(len(views), "domain"), good, len(views)-good)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// printRecord writes one record in a line, and below it what there is to say.
func printRecord(b *strings.Builder, r app.RecordView) {
	value, margin := r.Value, ""
	switch {
	case value == "":
		value = "..."
	case r.Type == "CNAME":
		value += "."
	}
	if r.State != "" {
		margin = fmt.Sprintf("%-9s ", r.State)
	}
	fmt.Fprintf(b, "  %s%s. %s %s\n", margin, r.Name, r.Type, value)
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "  %*s  %-6s %s\n", len(margin), "", label, text)
		}
	}
	line("why", r.Why)
	if r.State != dnsrecords.StateOK {
		for i, today := range r.Today {
			line([]string{"today", ""}[min(i, 1)], today)
		}
	}
	line("do", r.Do)
}
