package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

const policyLong = `policy prints the exact bytes that serve publishes for a domain, the id that
belongs to them, and where each field comes from.

If the domain's configuration is broken or gone, it prints the last good policy,
which a server goes on serving, and says why.

Exit status: 0 published as configured, 1 not, 2 wrong usage.`

func newPolicy() *cobra.Command {
	var asJSON, raw bool
	cmd := &cobra.Command{
		Use:     "policy DOMAIN",
		Short:   "Print a domain's policy, its id, and why they are what they are",
		Long:    policyLong,
		Example: "  mtasts-server policy example.com\n  mtasts-server policy --raw example.com | sha256sum",
		Args:    exactly(1, "one domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && raw {
				return usageError{errors.New("--json and --raw exclude each other")}
			}
			domain, err := mtasts.ParseDomain(args[0])
			if err != nil {
				return usageError{err}
			}
			v, err := openView(cmd)
			if err != nil {
				return err
			}
			p, err := v.Policy(domain)
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case raw:
				_, err = io.WriteString(out, p.Policy)
			case asJSON:
				err = printJSON(out, p)
			default:
				err = printPolicy(out, p)
			}
			if err == nil && !p.Current() {
				err = errFindings
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the bytes of the policy and nothing else")
	return cmd
}

// openView is what a verb knows that runs beside the server.
func openView(cmd *cobra.Command) (*app.View, error) {
	file, err := configFile(cmd)
	if err != nil {
		return nil, err
	}
	return app.OpenView(file, func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), err) })
}

func printPolicy(out io.Writer, p *app.PolicyView) error {
	fmt.Fprintf(out, "%s\n\n%s\n", p.URL, strings.ReplaceAll(p.Policy, "\r\n", "\n"))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\n", p.ID)
	fmt.Fprintf(w, "state\t%s\n", p.State)
	if p.AliasOf != "" {
		fmt.Fprintf(w, "alias of\t%s\n", p.AliasOf)
	}
	for _, why := range p.Why {
		fmt.Fprintf(w, "%s\t%s\n", why[0], why[1])
	}
	for i, r := range p.Records {
		fmt.Fprintf(w, "%s\t%s\n", []string{"dns", ""}[min(i, 1)], r)
	}
	return w.Flush()
}
