package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
)

const serveLong = `serve publishes the policies of all configured domains at
https://mta-sts.<domain>/.well-known/mta-sts.txt and obtains and renews the
certificate of each host.

It watches the main file and the policy files and takes in edits within a second;
SIGHUP makes it look at once. What is not valid is refused: the domain keeps the
policy that it had, across restarts too. A domain whose file vanishes is served on
until it was withdrawn with mode = "none" or forgotten with the verb forget.

SIGTERM and SIGINT finish the requests under way and exit with 0.

Listeners, certificates, limits and the state directory are read at the start only;
policies, defaults, profiles and the log level at every reload.`

func newServe() *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "Serve the policies, with their certificates",
		Long:    serveLong,
		Example: "  mtasts-server serve --config examples/mtasts-server.toml",
		Args:    exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := configFile(cmd)
			if err != nil {
				return err
			}
			calmTimers()
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// Unheeded it would end the program, so it is taken from the start on.
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			a, err := app.New(app.Options{ConfigFile: file, Version: version(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			return a.Run(ctx, hup)
		},
	}
}
