package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/review"
)

const reviewLong = `review prints the page for the quarterly review: what changed, what is stuck in testing,
what drifted, what failed and who saw it, overrides, missing owners, certificates, and the
plan for the next quarter. It is made of the ledger, of the reports of senders, and of
what the server found by looking at the domains ([review] in docs/configuration.md).
Where the server runs, it is asked how its certificates are.`

func newReview() *cobra.Command {
	var format, name string
	var asJSON bool
	last := days(90)
	cmd := &cobra.Command{
		Use:     "review",
		Short:   "Print the quarterly review of all domains",
		Long:    reviewLong,
		Example: "  mtasts-server review > review.md\n  mtasts-server review --since 30d --format html > review.html\n  mtasts-server review --json | jq .totals",
		Args:    exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				format = "json"
			}
			write, ok := map[string]func(*review.Page) error{
				"markdown": func(p *review.Page) error { return p.WriteMarkdown(cmd.OutOrStdout()) },
				"html":     func(p *review.Page) error { return p.WriteHTML(cmd.OutOrStdout()) },
				"json":     func(p *review.Page) error { return p.WriteJSON(cmd.OutOrStdout()) },
			}[format]
			if !ok {
				return usageError{fmt.Errorf("unknown format %q: want one of markdown, html, json", format)}
			}
			return withRollout(cmd, func(r *app.Rollout) error {
				now := time.Now()
				since, _ := last.period(now)
				certificates, err := servedCertificates(cmd.Context(), adminAddress(cmd))
				if err != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "nothing is known of certificates: %v\n", err)
				}
				page, err := r.Review(cmd.Context(), name, since, now, certificates)
				if err != nil {
					return err
				}
				return write(page)
			})
		},
	}
	cmd.Flags().Var(&last, "since", "how many `days` (90d) or weeks (13w) to look back")
	cmd.Flags().StringVar(&format, "format", "markdown", "`form`: markdown, html, json")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringVar(&name, "name", "", "whose `name` stands in the title")
	return cmd
}

// servedCertificates asks a running server.
func servedCertificates(ctx context.Context, admin string) ([]review.Certificate, error) {
	var v app.CertsView
	if err := getJSON(ctx, "http://"+admin+"/certs?"+url.Values{"all": {"1"}}.Encode(), &v); err != nil {
		return nil, err
	}
	return v.ForReview(), nil
}
