package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/config"
)

// healthTimeout is shorter than what container runtimes grant a health check.
const healthTimeout = 5 * time.Second

func newHealth() *cobra.Command {
	var admin string
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running server on this machine whether it is well",
		Long: `health asks the admin listener of a running server for /livez, or with --ready for
/readyz, and prints the answer. It is the health check of the container image.

Exit status: 0 well, 1 not, 2 wrong usage.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if admin == "" {
				admin = adminAddress(cmd)
			}
			path := "/livez"
			if ready {
				path = "/readyz"
			}
			return health(cmd.Context(), cmd.OutOrStdout(), "http://"+admin+path)
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "", "`address` of the admin listener (default: as configured)")
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready, and what is amiss")
	return cmd
}

// adminAddress is the configured one; a broken main file does not make the server
// that runs from the one before unhealthy.
func adminAddress(cmd *cobra.Command) string {
	if file, err := configFile(cmd); err == nil {
		if loader, err := config.NewLoader(file, config.LoaderOptions{}); err == nil {
			if s, ok := loader.Settings(); ok && s.Listen.Admin != "" {
				return s.Listen.Admin
			}
		}
	}
	return "127.0.0.1:8461"
}

func health(ctx context.Context, out io.Writer, url string) error {
	return askAdmin(ctx, url, healthTimeout, func(resp *http.Response) error {
		if _, err := io.Copy(out, io.LimitReader(resp.Body, 64<<10)); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", url, resp.Status)
		}
		return nil
	})
}

// askAdmin gets url from the admin listener of a running server, and has read take the
// answer, all within limit.
func askAdmin(ctx context.Context, url string, limit time.Duration, read func(*http.Response) error) error {
	if ctx == nil { // cobra hands none over where none was given to it
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer resp.Body.Close()
	return read(resp)
}
