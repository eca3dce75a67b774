package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

const forgetLong = `forget takes a domain off the air whose configuration is gone.

A domain that vanishes from the files is served on, since a file may be deleted by
accident. The clean way to withdraw a policy is mode = "none" (RFC 8461 §8.3): a
server then lets the domain go by itself when no sender holds an older policy any
more. forget is for when that is not wanted, as when the domain moved to another
host that serves the same policy.

A running server stops serving the domain within a second or so.`

func newForget() *cobra.Command {
	return &cobra.Command{
		Use:     "forget DOMAIN...",
		Short:   "Stop serving a domain that is no longer configured",
		Long:    forgetLong,
		Example: "  mtasts-server forget example.com",
		Args:    atLeastOne("one domain or more"),
		RunE: func(cmd *cobra.Command, args []string) error {
			domains := make([]string, len(args))
			for i, arg := range args {
				var err error
				if domains[i], err = mtasts.ParseDomain(arg); err != nil {
					return usageError{err}
				}
			}
			v, err := openView(cmd)
			if err != nil {
				return err
			}
			var errs []error
			for _, domain := range domains { // one that cannot be forgotten does not stop the others
				errs = append(errs, forget(cmd.OutOrStdout(), v, domain, time.Now()))
			}
			return errors.Join(errs...)
		},
	}
}

func forget(out io.Writer, v *app.View, domain string, now time.Time) error {
	heldUntil, err := v.Forget(domain, now)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is forgotten; a running server stops serving it.\n", domain)
	if heldUntil.After(now) {
		fmt.Fprintf(out, "Senders may hold its policy until %s: its MX hosts must fit that policy until then.\n", heldUntil.UTC().Format("2006-01-02 15:04 MST"))
	}
	return nil
}
