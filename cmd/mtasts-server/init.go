package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

const initLong = `init looks up which hosts receive a domain's mail, writes a policy file for it in mode
testing, checks it, and prints the DNS records to publish and the next steps. Known
mail providers are written as a profile. A file that is there is never written over,
and a domain that is configured is left alone.

Exit status: 0 written, 1 not, 2 wrong usage.`

func newInit() *cobra.Command {
	var o app.InitOptions
	cmd := &cobra.Command{
		Use:     "init DOMAIN",
		Short:   "Write a first policy file for a domain, from its MX records",
		Long:    initLong,
		Example: "  mtasts-server init example.com\n  mtasts-server init --output policies/customers.toml example.com",
		Args:    exactly(1, "one domain"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Domain, err = mtasts.ParseDomain(args[0]); err != nil {
				return usageError{err}
			}
			if o.Resolvers, err = nameServers(o.Resolvers); err != nil {
				return usageError{err}
			}
			file, err := configFile(cmd)
			if asked, _ := cmd.Flags().GetString("config"); err != nil && asked != "" {
				return err
			} else if err == nil {
				o.ConfigFile = file
			}
			o.Now = time.Now()
			r, err := app.Init(cmd.Context(), o)
			if err != nil {
				return err
			}
			return printInit(cmd, o, r)
		},
	}
	cmd.Flags().StringVarP(&o.File, "output", "o", "", "`file` to write (default: beside the other policy files)")
	cmd.Flags().StringArrayVar(&o.Resolvers, "resolver", nil, "`address` of a recursive name server to ask (default: as configured, else the system's)")
	return cmd
}

// nameServers are the addresses of name servers, with their ports.
func nameServers(args []string) ([]string, error) {
	var servers []string
	for _, arg := range args {
		if addr, err := netip.ParseAddr(arg); err == nil {
			servers = append(servers, net.JoinHostPort(addr.String(), "53"))
		} else if addr, err := netip.ParseAddrPort(arg); err == nil {
			servers = append(servers, addr.String())
		} else {
			return nil, fmt.Errorf("--resolver %q is no address: write 192.0.2.53 or [2001:db8::53]:53", arg)
		}
	}
	return servers, nil
}

func printInit(cmd *cobra.Command, o app.InitOptions, r *app.InitResult) error {
	out := cmd.OutOrStdout()
	provider := ""
	if r.Profile != "" {
		provider = ", which are those of " + r.Profile
	}
	fmt.Fprintf(out, "MX hosts of %s: %s%s\nwritten: %s\n", o.Domain, strings.Join(r.MX, ", "), provider, r.File)
	for _, p := range r.Problems {
		fmt.Fprintln(out, p)
	}
	steps := []string{
		"Publish the records that are missing, but the one that is withheld. Senders report to the address in tlsrpt: make sure that it exists.",
		fmt.Sprintf("When \"mtasts-server certs %s\" shows a certificate, run \"mtasts-server records %s\" again, and publish the id that it prints.", o.Domain, o.Domain),
		fmt.Sprintf("See with \"mtasts-server verify %s\" what senders see. When the reports of two weeks are clean, write mode = \"enforce\".", o.Domain),
	}
	if r.NoConfig {
		steps = append([]string{"Write mtasts-server.toml (README, \"In production\"), and start the server."}, steps[1:]...)
	} else if err := initRecords(cmd, o); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nNext:")
	for i, s := range steps {
		fmt.Fprintf(out, "%d. %s\n", i+1, s)
	}
	return nil
}

// initRecords prints the records of the new domain.
func initRecords(cmd *cobra.Command, o app.InitOptions) error {
	v, err := openView(cmd)
	if err != nil {
		return err
	}
	views, err := v.Records(cmd.Context(), []string{o.Domain}, app.RecordsOptions{Resolvers: o.Resolvers})
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout())
	if err := printRecords(cmd.OutOrStdout(), "text", views, false); err != nil && !errors.Is(err, errFindings) {
		return err
	}
	return nil
}
