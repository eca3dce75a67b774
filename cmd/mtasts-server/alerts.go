package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
)

const alertsLong = `alerts is about who is told what the server finds: by a signed web hook, and by mail
([alerts] in docs/configuration.md). What loses mail is told at once, all else in one
digest a day.`

func newAlerts() *cobra.Command {
	cmd := &cobra.Command{Use: "alerts", Short: "Try whether alerts arrive", Long: alertsLong, Args: noVerb, RunE: verbMissing}
	cmd.AddCommand(&cobra.Command{
		Use:   "test",
		Short: "Send a message by each way that is configured, which says that it is a test",
		Long: `test sends one message by each way that is configured, which says that it is a test, and
says what went wrong where it did not get through. The server need not run.

Exit status: 0 all were taken, 1 one was not, 2 wrong usage.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := configFile(cmd)
			if err != nil {
				return err
			}
			all, err := app.TestAlerts(cmd.Context(), file)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return errors.New("alerts go nowhere: write [alerts.webhook] or [alerts.mail], as docs/configuration.md says")
			}
			failed := false
			for _, t := range all {
				if t.Err != nil {
					failed = true
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %v\n", t.Channel, t.Err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: taken\n", t.Channel)
			}
			if failed {
				return errFindings
			}
			return nil
		},
	})
	return cmd
}
