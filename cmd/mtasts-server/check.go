package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mtasts-server/config"
	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

const checkLong = `check reads the configuration as serve would and prints each problem: where it
stands, which rule it breaks, and what to write instead. It needs no network and
changes nothing.

An error keeps the domain (or the whole file) from being published; a running
server goes on serving what was valid before. A warning is something that works
and that an experienced postmaster would not leave so.

Exit status: 0 fine, 1 errors (with --strict: or warnings), 2 wrong usage.
In a deployment pipeline, run:

  mtasts-server check --strict --config mtasts-server.toml`

func newCheck() *cobra.Command {
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:     "check",
		Short:   "Validate the configuration and say what to write instead",
		Long:    checkLong,
		Example: "  mtasts-server check --config examples/mtasts-server.toml\n  mtasts-server check --json | jq '.problems[].message'",
		Args:    exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := configFile(cmd)
			if err != nil {
				return err
			}
			return check(cmd.OutOrStdout(), file, asJSON, strict)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&strict, "strict", false, "let warnings fail too")
	return cmd
}

// checkResult is what check --json prints.
type checkResult struct {
	OK       bool             `json:"ok"`
	Files    int              `json:"files"`
	Domains  int              `json:"domains"` // that serve would publish, aliases included
	Errors   int              `json:"errors"`
	Warnings int              `json:"warnings"`
	Problems []config.Problem `json:"problems"`
}

func check(out io.Writer, file string, asJSON, strict bool) error {
	loader, err := config.NewLoader(file, config.LoaderOptions{Advise: true})
	if err != nil {
		return err
	}
	snap, ok := loader.Load()
	problems := snap.Problems
	if ok && !slices.ContainsFunc(problems, func(p config.Problem) bool {
		return p.Severity == mtasts.Error && strings.HasPrefix(p.Key, "certificates")
	}) {
		if err := app.CheckCertificates(snap.Settings); err != nil {
			problems = append(problems, config.Problem{File: file, Severity: mtasts.Error, Key: "certificates", Message: err.Error()})
		}
	}
	r := checkResult{Files: snap.Files, Domains: len(snap.Domains), Problems: slices.Clip(problems)}
	for _, p := range problems {
		if p.Severity == mtasts.Error {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	r.OK = r.Errors == 0 && (r.Warnings == 0 || !strict)
	if asJSON {
		if r.Problems == nil {
			r.Problems = []config.Problem{}
		}
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(out, p)
		}
		fmt.Fprintf(out, "%s in %s: %s, %s\n", count(r.Domains, "domain"), count(r.Files, "policy file"), count(r.Errors, "error"), count(r.Warnings, "warning"))
	}
	if !r.OK {
		return errFindings
	}
	return nil
}

// printJSON is how every verb answers --json.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// count prints a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
