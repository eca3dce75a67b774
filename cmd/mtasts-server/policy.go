package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
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
			p, err := v.policy(domain)
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case raw:
				_, err = io.WriteString(out, p.Policy)
			case asJSON:
				err = printJSON(out, p)
			default:
				err = p.print(out)
			}
			if err == nil && p.State != stateCurrent {
				err = errFindings
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the bytes of the policy and nothing else")
	return cmd
}

// view is the configuration and the ledger as a verb beside the server sees them.
type view struct {
	snap   *config.Snapshot
	ledger *ledger.Ledger
}

func openView(cmd *cobra.Command) (*view, error) {
	file, err := configFile(cmd)
	if err != nil {
		return nil, err
	}
	snap, _, err := loadConfig(cmd.ErrOrStderr(), file)
	if err != nil {
		return nil, err
	}
	v := &view{snap: snap}
	if v.ledger, err = ledger.Visit(ledgerDir(snap.Settings)); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "what was published before cannot be read: %v\n", err)
	}
	return v, nil
}

// loadConfig loads the configuration for a verb that cannot do without; if the main
// file has errors it prints them.
func loadConfig(stderr io.Writer, file string) (*config.Snapshot, *config.Loader, error) {
	loader, err := config.NewLoader(file, config.LoaderOptions{})
	if err != nil {
		return nil, nil, err
	}
	snap, ok := loader.Load()
	if !ok {
		for _, p := range snap.Problems {
			fmt.Fprintln(stderr, p)
		}
		return nil, nil, errFindings
	}
	return snap, loader, nil
}

// policyView is what the verb policy prints.
type policyView struct {
	Domain  string      `json:"domain"`
	URL     string      `json:"url"`
	State   state       `json:"state"`
	Policy  string      `json:"policy"` // the exact bytes
	ID      string      `json:"id"`
	Records []string    `json:"records"`
	AliasOf string      `json:"alias_of,omitempty"`
	Profile string      `json:"profile,omitempty"`
	Why     [][2]string `json:"why"` // field, where it comes from
}

func (v *view) policy(domain string) (*policyView, error) {
	p := &policyView{Domain: domain, URL: mtasts.PolicyURL(domain), State: stateCurrent}
	for _, d := range v.snap.Domains {
		if d.Name != domain {
			continue
		}
		if e, ok := v.ledger.Lookup(domain); ok && contested(v.snap, e, d) {
			break // the server does not publish it either
		}
		p.Policy, p.ID, p.AliasOf, p.Profile = string(d.Body), d.ID, d.AliasOf, d.Profile
		for _, field := range []string{"mode", "mx", "max_age", "tlsrpt"} {
			p.Why = append(p.Why, [2]string{field, v.snap.Explain(d, field)})
		}
		p.records(d.TLSRPT)
		return p, nil
	}
	e, ok := v.ledger.Lookup(domain)
	if !ok {
		return nil, fmt.Errorf("%q is neither configured nor published; %s", domain, nextStep(v.snap, domain))
	}
	k := keep(v.snap, e)
	p.State, p.Policy, p.ID = stateKept, string(e.Body), e.ID
	p.Why = [][2]string{
		{"kept", k.why()},
		{"since", e.From.Format(time.RFC3339)},
		{"from", e.Source},
	}
	p.records(nil)
	return p, nil
}

func nextStep(snap *config.Snapshot, domain string) string {
	if why, ok := snap.Refused[domain]; ok {
		return "its configuration is refused: " + why
	}
	return "write a policy file for it and run check"
}

func (p *policyView) records(rua []string) {
	p.Records = []string{fmt.Sprintf("%s. IN TXT %q", mtasts.RecordName(p.Domain), mtasts.Record{ID: p.ID})}
	if len(rua) > 0 {
		p.Records = append(p.Records, fmt.Sprintf("%s. IN TXT %q", tlsrpt.RecordName(p.Domain), tlsrpt.Record{RUA: rua}))
	}
}

func (p *policyView) print(out io.Writer) error {
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

func ledgerDir(s config.Settings) string { return filepath.Join(s.State, "ledger") }
