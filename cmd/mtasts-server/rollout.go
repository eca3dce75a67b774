package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

const rolloutLong = `rollout says of each domain where it stands on the way from testing to a long enforce,
what the next step waits for, and the edit that takes it. It looks at what was served
(the ledger), at the reports of senders, and at what the review found; it changes
nothing. Without arguments it lists all domains, those first that may move on today.

The steps are: announced-not-served, testing, enforce-short, enforce-long, withdrawing,
gone. What each gate asks for is explained in docs/rollout.md; every number can be set.

Exit status: 0 nothing is wrong, 1 a domain alarms: mail is lost, or may be, 2 wrong usage.`

func newRollout() *cobra.Command {
	var asJSON, ready bool
	var step string
	cmd := &cobra.Command{
		Use:     "rollout [DOMAIN...]",
		Short:   "Say what each domain's next safe step is, and what it waits for",
		Long:    rolloutLong,
		Example: "  mtasts-server rollout example.com\n  mtasts-server rollout --ready\n  mtasts-server rollout plan-mx example.com --new mx1.example.net,mx2.example.net",
		RunE: func(cmd *cobra.Command, args []string) error {
			if step != "" && !slices.Contains(rollout.Steps(), rollout.Step(step)) {
				return usageError{fmt.Errorf("unknown step %q: want one of %v", step, rollout.Steps())}
			}
			return withRollout(cmd, func(r *app.Rollout) error {
				domains := r.Names()
				if len(args) > 0 {
					var err error
					if domains, err = parseDomains(args); err != nil {
						return err
					}
				}
				wanted := func(v *app.RolloutView) bool {
					return (!ready || v.Ready && v.Next != nil && v.Next.Mode == mtasts.ModeEnforce) && (step == "" || v.Step == rollout.Step(step))
				}
				return showRollout(cmd, r, domains, wanted, asJSON, len(args) > 0)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each domain, a line each")
	cmd.Flags().BoolVar(&ready, "ready", false, "only domains that may take a step of enforce today")
	cmd.Flags().StringVar(&step, "step", "", "only domains that stand on this `step`")
	cmd.AddCommand(newPlanMX())
	return cmd
}

func withRollout(cmd *cobra.Command, f func(*app.Rollout) error) error {
	file, err := configFile(cmd)
	if err != nil {
		return err
	}
	r, err := app.OpenRollout(file, func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), err) })
	if err != nil {
		return err
	}
	defer r.Close()
	return f(r)
}

func parseDomains(args []string) ([]string, error) {
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

func showRollout(cmd *cobra.Command, r *app.Rollout, domains []string, wanted func(*app.RolloutView) bool, asJSON, whole bool) error {
	out, alarms := cmd.OutOrStdout(), 0
	table := &rolloutTable{steps: map[rollout.Step]int{}}
	err := r.Each(cmd.Context(), domains, func(v *app.RolloutView) error {
		if !wanted(v) {
			return nil
		}
		alarms += len(v.Alarms)
		switch {
		case asJSON:
			return json.NewEncoder(out).Encode(v)
		case whole:
			return printRollout(out, v)
		}
		table.add(v)
		return nil
	})
	if err == nil && !asJSON && !whole {
		err = table.print(out)
	}
	if err == nil && !asJSON && !r.Reviews() {
		_, err = fmt.Fprintln(out, "Nobody looks at the domains: without [review] the gates checker, mx-stable, mx-allowed and tlsrpt-record stay open.")
	}
	if err == nil && alarms > 0 {
		return errFindings
	}
	return err
}

// printRollout tells all of one domain.
func printRollout(out io.Writer, v *app.RolloutView) error {
	fmt.Fprintf(out, "%s: %s%s\n", v.Domain, v.Step, since(v.Since))
	for _, a := range v.Alarms {
		fmt.Fprintf(out, "  ALARM: %s\n", a)
	}
	for _, h := range v.Hold {
		fmt.Fprintf(out, "  held back: %s\n", h)
	}
	if v.Override != "" {
		fmt.Fprintf(out, "  override: %s\n", v.Override)
	}
	if v.Guarded != "" {
		fmt.Fprintf(out, "  %s\n", v.Guarded)
	}
	if v.Kept != "" {
		fmt.Fprintf(out, "  %s\n", v.Kept)
	}
	if v.Next == nil {
		fmt.Fprintf(out, "  there is no next step to take\n\n")
		return nil
	}
	fmt.Fprintf(out, "  next: %s%s\n", nextStep(v), when(v))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, g := range v.Gates {
		mark := "open"
		if g.Passed {
			mark = "passed"
		}
		fmt.Fprintf(w, "    %s\t%s\thave %s\twant %s\t%s\n", mark, g.Name, g.Have, g.Want, earliest(g.Earliest))
	}
	w.Flush()
	if v.Auto {
		fmt.Fprintln(out, "  the server takes the step by itself (rollout.auto)")
	} else if len(v.Edit) > 0 {
		fmt.Fprintf(out, "  edit, in %s:\n", v.File)
		for _, line := range v.Edit {
			fmt.Fprintf(out, "    %s\n", line)
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + t.UTC().Format(time.DateOnly)
}

func earliest(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "not before " + t.UTC().Format(time.DateOnly)
}

// nextStep names the step in words.
func nextStep(v *app.RolloutView) string {
	switch {
	case v.Next == nil:
		return "-"
	case v.Next.Remove:
		return "record, policy host and certificate may go"
	}
	return fmt.Sprintf("%s, max_age %s", v.Next.Mode, age(v.Next.MaxAge))
}

func age(seconds int) string {
	if seconds%86400 == 0 {
		return fmt.Sprintf("%dd", seconds/86400)
	}
	return fmt.Sprintf("%ds", seconds)
}

func when(v *app.RolloutView) string {
	switch {
	case v.Ready:
		return ", now"
	case v.NotBefore.IsZero():
		return ", not yet"
	}
	return ", not before " + v.NotBefore.UTC().Format(time.DateOnly)
}

// rolloutTable is many domains, one line each.
type rolloutTable struct {
	rows  []rolloutRow
	steps map[rollout.Step]int
	ready int
}

type rolloutRow struct {
	domain, step, next, when, waits string
	rank                            int // alarms first, then who may move on, then the rest
}

func (t *rolloutTable) add(v *app.RolloutView) {
	t.steps[v.Step]++
	r := rolloutRow{domain: v.Domain, step: string(v.Step), next: nextStep(v), rank: 2}
	if v.Next != nil {
		r.when = strings.TrimPrefix(when(v), ", ")
	}
	var open []string
	for _, g := range v.Gates {
		if !g.Passed {
			open = append(open, g.Name)
		}
	}
	r.waits = strings.Join(open, " ")
	if v.Ready && v.Next != nil {
		r.rank = 1
		t.ready++
	}
	if len(v.Alarms) > 0 {
		r.rank, r.waits = 0, "ALARM: "+v.Alarms[0]
	}
	t.rows = append(t.rows, r)
}

func (t *rolloutTable) print(out io.Writer) error {
	if len(t.rows) == 0 {
		_, err := fmt.Fprintln(out, "there are none")
		return err
	}
	slices.SortFunc(t.rows, func(a, b rolloutRow) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.domain, b.domain))
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSTEP\tNEXT\tWHEN\tWAITS FOR")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.domain, r.step, r.next, r.when, r.waits)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var steps []string
	for _, s := range rollout.Steps() {
		if n := t.steps[s]; n > 0 {
			steps = append(steps, fmt.Sprintf("%d %s", n, s))
		}
	}
	_, err := fmt.Fprintf(out, "\n%d domains: %s; %d may take their next step now\n", len(t.rows), strings.Join(steps, ", "), t.ready)
	return err
}

func newPlanMX() *cobra.Command {
	var to, old []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan-mx DOMAIN --new HOST,HOST",
		Short: "Say in which order MX hosts are changed, so that no mail is lost",
		Long: `plan-mx prints the safe order for a change of a domain's MX hosts, with dates: the policy
goes first, as senders keep mail back from hosts that the policy they hold does not
allow (RFC 8461 §8.1). The dates come from what senders may still hold.`,
		Example: "  mtasts-server rollout plan-mx example.com --new mx1.example.net,mx2.example.net",
		Args:    exactly(1, "one domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains, err := parseDomains(args)
			if err != nil {
				return err
			}
			if len(to) == 0 {
				return usageError{fmt.Errorf("name the new MX hosts with --new")}
			}
			for _, hosts := range [][]string{to, old} {
				for i, h := range hosts {
					if hosts[i], err = mtasts.ParseDomain(h); err != nil {
						return usageError{err}
					}
				}
			}
			return withRollout(cmd, func(r *app.Rollout) error {
				plan, err := r.PlanMX(cmd.Context(), domains[0], old, to)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), plan)
				}
				return printPlanMX(cmd.OutOrStdout(), plan)
			})
		},
	}
	cmd.Flags().StringSliceVar(&to, "new", nil, "the MX `hosts` that there will be")
	cmd.Flags().StringSliceVar(&old, "old", nil, "the MX `hosts` that there are (default: asks DNS)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func printPlanMX(out io.Writer, p *app.MXPlan) error {
	fmt.Fprintf(out, "%s: from %s to %s\n", p.Domain, strings.Join(p.Old, ", "), strings.Join(p.New, ", "))
	if len(p.Stages) == 0 {
		_, err := fmt.Fprintln(out, "  nothing changes")
		return err
	}
	for i, s := range p.Stages {
		fmt.Fprintf(out, "\n%d. %s\n     when: from %s", i+1, stageText(s), s.NotBefore.UTC().Format("2006-01-02 15:04 MST"))
		if s.Certain.After(s.NotBefore) {
			fmt.Fprintf(out, "; to be certain, also of senders whose DNS fails, from %s", s.Certain.UTC().Format("2006-01-02 15:04 MST"))
		}
		fmt.Fprintf(out, "\n     why:  %s\n", s.Why)
	}
	return nil
}

func stageText(s rollout.Stage) string {
	hosts := strings.Join(s.MX, `", "`)
	switch s.Kind {
	case rollout.ChangeMX:
		return fmt.Sprintf("in DNS, have the MX records name: %s", strings.Join(s.MX, ", "))
	default:
		return fmt.Sprintf("in the policy, write mx = [\"%s\"]", hosts)
	}
}
