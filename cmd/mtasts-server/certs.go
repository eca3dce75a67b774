package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

const certsLong = `certs asks the admin listener of a running server how the certificates are: how many
hosts have one, how many orders wait and until when, and of each host in trouble the
last error and when it is tried, or looked at, again. With domains it tells of those, with --all of
every one.

Exit status: 0 all these hosts have a certificate, 1 some have none or fail, 2 wrong
usage.`

func newCerts() *cobra.Command {
	var admin string
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:     "certs [DOMAIN...]",
		Short:   "Show how the certificates of a running server are",
		Long:    certsLong,
		Example: "  mtasts-server certs\n  mtasts-server certs example.com\n  mtasts-server certs --all --json | jq '.hosts[].not_after'",
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			for _, arg := range args {
				domain, err := mtasts.ParseDomain(arg)
				if err != nil {
					return usageError{err}
				}
				query.Add("host", mtasts.PolicyHost(domain))
			}
			if all {
				query.Set("all", "1")
			}
			if admin == "" {
				admin = adminAddress(cmd)
			}
			var v app.CertsView
			if err := getJSON(cmd.Context(), "http://"+admin+"/certs?"+query.Encode(), &v); err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), v); err != nil {
					return err
				}
			} else if err := printCerts(cmd.OutOrStdout(), v, time.Now()); err != nil {
				return err
			}
			if !v.OK(len(args) > 0) {
				return errFindings
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "", "`address` of the admin listener (default: as configured)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&all, "all", false, "tell of every host, not only of those in trouble")
	return cmd
}

func printCerts(out io.Writer, v app.CertsView, now time.Time) error {
	fmt.Fprintf(out, "%d of %s have a certificate, %d pending, %d failing\n", v.Ready, count(v.Known, "host"), v.Pending, v.Failing)
	if v.Waiting > 0 {
		fmt.Fprintf(out, "%s waiting", count(v.Waiting, "order"))
		if !v.LastBegin.IsZero() {
			fmt.Fprintf(out, "; by what the CA grants, the last begins in about %s", roughly(v.LastBegin.Sub(now)))
		}
		fmt.Fprintln(out)
	}
	for _, host := range v.Missing {
		fmt.Fprintf(out, "%s is not served: see the verb check\n", host)
	}
	if len(v.Hosts) > 0 {
		fmt.Fprintln(out)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, h := range v.Hosts {
		expires := "no certificate"
		if !h.NotAfter.IsZero() {
			expires = "expires " + h.NotAfter.UTC().Format("2006-01-02 15:04")
		}
		next := ""
		switch {
		case h.Next.IsZero():
		case h.Held:
			next = "next look in " + roughly(h.Next.Sub(now))
		default:
			next = "next order in " + roughly(h.Next.Sub(now))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Host, h.State, expires, next, h.Error)
	}
	if v.More > 0 {
		fmt.Fprintf(w, "and %d more: see --all\n", v.More)
	}
	return w.Flush()
}

// roughly is a time to come, for people.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "a moment"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// maxAnswer bounds what is read of a server's answer: some 500 bytes for each of
// 100,000 hosts, and room.
const maxAnswer = 256 << 20

func getJSON(ctx context.Context, url string, to any) error {
	return askAdmin(ctx, url, time.Minute, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("asking the server: %s answered %s", url, resp.Status)
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(to); err != nil {
			return fmt.Errorf("asking the server: %w", err)
		}
		return nil
	})
}
