package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/reports"
)

const reportsListLong = `list prints which reports there are: of the domains that are named the newest windows
first, without arguments of all domains the newest arrivals first. The ID in the first
column is what the verb show takes.

With --aside it lists what came in and could not be used, with the reason.

Exit status: 0 fine, 1 the reports cannot be read, 2 wrong usage.`

// listed are the flags of list.
type listed struct {
	last                 days
	failing, aside, json bool
	limit                int
}

// maxListed bounds --limit: a line of each is held in memory.
const maxListed = 100_000

func newReportsList() *cobra.Command {
	f := listed{}
	cmd := &cobra.Command{
		Use:     "list [DOMAIN...]",
		Short:   "List the reports that are there, or what was set aside",
		Long:    reportsListLong,
		Example: "  mtasts-server reports list --failing example.com\n  mtasts-server reports list --aside",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.limit < 1 || f.limit > maxListed:
				return usageError{fmt.Errorf("--limit must be from 1 to %d", maxListed)}
			case f.aside && (len(args) > 0 || f.failing):
				return usageError{errors.New("--aside goes with neither domains nor --failing: what was set aside belongs to no domain")}
			}
			r, err := openReports(cmd, false)
			if err != nil {
				return err
			}
			defer r.Close()
			since, _ := f.last.period(time.Now())
			if f.aside {
				return listAsides(cmd.Context(), cmd.OutOrStdout(), r, since, &f)
			}
			var domains []string
			if len(args) > 0 {
				if domains, err = domainsOf(r, args); err != nil {
					return err
				}
			}
			return listReports(cmd.Context(), cmd.OutOrStdout(), r, domains, since, &f)
		},
	}
	fs := cmd.Flags()
	fs.Var(&f.last, "since", "only those of the last `days` (30d) or weeks (4w) (default all)")
	fs.BoolVar(&f.failing, "failing", false, "only those that tell of failures")
	fs.BoolVar(&f.aside, "aside", false, "what was set aside instead")
	fs.IntVar(&f.limit, "limit", 50, "how many at most")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func listReports(ctx context.Context, out io.Writer, r *app.Reports, domains []string, since time.Time, f *listed) error {
	if len(domains) == 0 {
		domains = []string{""} // everybody's
	}
	all := []reports.Entry{}
	for _, domain := range domains {
		list, err := r.Store.List(ctx, reports.Filter{Domain: domain, Since: since, Failing: f.failing, Limit: f.limit})
		if err != nil {
			return err
		}
		all = append(all, list...)
		if len(domains) > 1 { // of several the newest of all, and never more than these in memory
			slices.SortStableFunc(all, func(a, b reports.Entry) int { return b.Start.Compare(a.Start) })
			all = all[:min(len(all), f.limit)]
		}
	}
	return printEntries(out, all, f)
}

func printEntries(out io.Writer, all []reports.Entry, f *listed) error {
	if f.json {
		return printJSON(jsonWriter{out}, struct {
			Reports []reports.Entry `json:"reports"`
		}{all})
	}
	w := &stickyWriter{out: out}
	g := &grid{columns: []column{
		{"ID", textColumn}, {"DAY", textColumn}, {"REPORTER", nameColumn}, {"SESSIONS", numberColumn}, {"FAILED", numberColumn}, {"BY", textColumn},
	}}
	for _, e := range all {
		g.add(e.ID.String(), day(e.Start), reporterName(e.Submitter, e.Unauthenticated == ""), thousands(saturated(e.Successful, e.Failed)), thousands(e.Failed), string(e.Channel))
	}
	if len(all) > 0 {
		g.write(w, "")
	}
	if slices.ContainsFunc(all, func(e reports.Entry) bool { return e.Unauthenticated != "" }) {
		fmt.Fprintln(w, bracketsHint)
	}
	foot(w, len(all), f.limit)
	return w.err
}

// foot says that there may be more.
func foot(w io.Writer, n, limit int) {
	switch {
	case n == 0:
		fmt.Fprintln(w, "there are none")
	case n == limit:
		fmt.Fprintf(w, "these are the newest %d: see more with --limit\n", n)
	}
}

func listAsides(ctx context.Context, out io.Writer, r *app.Reports, since time.Time, f *listed) error {
	list, err := r.Store.Asides(ctx, f.limit)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(e reports.AsideEntry) bool { return e.Received.Before(since) })
	return printAsides(out, list, f)
}

func printAsides(out io.Writer, list []reports.AsideEntry, f *listed) error {
	if f.json {
		return printJSON(jsonWriter{out}, struct {
			Asides []reports.AsideEntry `json:"asides"`
		}{append([]reports.AsideEntry{}, list...)})
	}
	w := &stickyWriter{out: out}
	for _, e := range list {
		fmt.Fprintf(w, "aside/%-7d %s  %-5s  %-15s %s\n", e.Number, e.Received.UTC().Format("2006-01-02 15:04"), e.Channel, e.Reason, counted(e.Size, "byte"))
		from := "from " + printable(e.Source, shownSource)
		if who := cmp.Or(e.Submitter, e.Domain); who != "" {
			from = fmt.Sprintf("from %s: by %s on %s", printable(e.Source, shownSource), orDash(e.Submitter), orDash(e.Domain))
		}
		wrapTo(w, "", 6, reportWidth, from)
		if e.Detail != "" {
			wrapTo(w, "", 6, reportWidth, printable(e.Detail, shownReason))
		}
	}
	foot(w, len(list), f.limit)
	return w.err
}

// orDash is a text of a stranger, or a dash for none.
func orDash(s string) string { return cmp.Or(printable(s, shownName), "-") }
