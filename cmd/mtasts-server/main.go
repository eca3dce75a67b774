// Command mtasts-server serves the MTA-STS policies (RFC 8461) of many domains
// over HTTPS, from TOML files that it reloads when they change, with certificates
// that it obtains and renews itself.
//
// This package is the door: one file for each verb, which reads the command line,
// asks internal/app or a room, and prints. What runs the server is in internal/app.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
)

// The exit codes of every verb.
const (
	exitFindings = 1 // the verb did its work and found something wrong, or could not do it
	exitUsage    = 2 // the command line is wrong
)

// errFindings ends a verb that has said already what is wrong.
var errFindings = errors.New("findings")

// usageError is a wrong command line.
type usageError struct{ error }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFindings):
		return exitFindings
	}
	if refused, ok := errors.AsType[*app.ConfigError](err); ok {
		for _, p := range refused.Problems {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return exitFindings
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", cmd.CommandPath(), err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(cmd.ErrOrStderr(), "Run '%s --help' for how to use it.\n", cmd.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[tempFail](err); ok {
		return exitTempFail
	}
	return exitFindings
}

const rootLong = `mtasts-server serves the MTA-STS policies (RFC 8461) of one domain or of a
hundred thousand: over HTTPS, from TOML files, with certificates that it obtains
and renews itself.

A policy is written in TOML, checked, published, announced in DNS, and one day
withdrawn. An edit that is not valid changes nothing that is being served.

Begin with the examples:

  mtasts-server serve --config examples/mtasts-server.toml`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "mtasts-server",
		Short:         "Host MTA-STS policies for many domains",
		Long:          rootLong,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          verbMissing,
	}
	root.SetVersionTemplate("mtasts-server {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringP("config", "c", "", "main configuration `file` (default mtasts-server.toml here, else in /etc/mtasts-server)")
	root.AddCommand(newServe(), newAlerts(), newInit(), newCheck(), newPolicy(), newRecords(), newReports(), newReview(), newRollout(), newVerify(), newForget(), newCerts(), newHealth(), newVersion())
	return root
}

// noVerb and verbMissing are for commands that only have verbs below them.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("unknown verb %q%s", args[0], suggestion(cmd, args[0]))}
}

func verbMissing(cmd *cobra.Command, _ []string) error {
	_ = cmd.Help()
	return usageError{errors.New("a verb is missing")}
}

func suggestion(cmd *cobra.Command, arg string) string {
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(arg); len(s) > 0 {
		return fmt.Sprintf(", did you mean %q?", s[0])
	}
	return ""
}

// exactly and atLeast check how many arguments a verb was given.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == n:
			return nil
		case n == 0:
			return usageError{fmt.Errorf("unexpected argument %q", args[0])}
		}
		return usageError{fmt.Errorf("want %s", what)}
	}
}

func atLeastOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("want %s", what)}
		}
		return nil
	}
}

// configFile returns the main file that is meant.
func configFile(cmd *cobra.Command) (string, error) {
	if file, _ := cmd.Flags().GetString("config"); file != "" {
		return file, nil
	}
	for _, file := range []string{"mtasts-server.toml", "/etc/mtasts-server/mtasts-server.toml"} {
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", usageError{errors.New("no configuration: there is no mtasts-server.toml here and none in /etc/mtasts-server; name one with --config FILE")}
}
