package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

const verifyLong = `verify looks at domains as a sending mail server does: the TXT record, the policy
from every address of its host, each MX host over SMTP with STARTTLS, DANE, and where
reports go. It changes nothing. Domains may be anybody's; without arguments it looks at all that
are configured, and compares those with what is meant.

What could not be looked at, as when this machine may not connect to port 25, is said
to be unknown, never good.

Exit status: 0 all fine, 1 errors or something unknown (with --strict: or warnings),
2 wrong usage.`

// verifyFlags are the flags of verify.
type verifyFlags struct {
	format                             string
	json, strict, noMX, private, quiet bool
	resolvers                          []string
	timeout                            time.Duration
	parallel, perTarget                int
	httpsPort, smtpPort                int
	roots, hello                       string
}

func newVerify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:     "verify [DOMAIN...]",
		Short:   "Check domains from outside, as a sending mail server does",
		Long:    verifyLong,
		Example: "  mtasts-server verify example.com\n  mtasts-server verify --format junit > verify.xml\n  mtasts-server verify --json example.com | jq '.domains[].findings[].code'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return verify(cmd, &f, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.format, "format", "text", "how to print: text, json, junit or sarif")
	fs.BoolVar(&f.json, "json", false, "the same as --format json")
	fs.BoolVar(&f.strict, "strict", false, "let warnings fail too")
	fs.BoolVar(&f.noMX, "no-mx", false, "do not connect to MX hosts")
	fs.StringArrayVar(&f.resolvers, "resolver", nil, "`address` of a recursive name server, again for more (default: the system's)")
	fs.DurationVar(&f.timeout, "timeout", 0, "how long one policy host or MX host may take (default 60s and 30s)")
	fs.IntVar(&f.parallel, "parallel", 16, "how many domains to look at at the same time")
	fs.IntVar(&f.perTarget, "per-target", 2, "how many connections at the same time one address has to bear")
	fs.BoolVar(&f.private, "private", false, "connect to private, loopback and other addresses that are not on the internet, too")
	fs.IntVar(&f.httpsPort, "https-port", 443, "port of policy hosts")
	fs.IntVar(&f.smtpPort, "smtp-port", 25, "port of MX hosts")
	fs.StringVar(&f.roots, "roots", "", "PEM `file` of CAs to trust beside the system's")
	fs.StringVar(&f.hello, "hello", "", "our `name` in EHLO (default: this machine's)")
	fs.BoolVar(&f.quiet, "quiet", false, "show no progress")
	return cmd
}

func verify(cmd *cobra.Command, f *verifyFlags, args []string) error {
	if f.json {
		f.format = "json"
	}
	checker, err := f.checker()
	if err != nil {
		return err
	}
	jobs, err := verifyJobs(cmd, args)
	if err != nil {
		return err
	}
	out, err := newVerifyPrinter(f.format, cmd.OutOrStdout(), len(jobs))
	if err != nil {
		return usageError{err}
	}
	bar := newProgress(cmd.ErrOrStderr(), len(jobs), f.quiet)
	run := checker.NewRun()
	sum := verifySummary{Verdicts: map[sendercheck.Verdict]int{}}
	run.CheckAll(cmd.Context(), each(jobs), f.parallel, func(r *sendercheck.Report) {
		sum.add(r)
		bar.clear()
		out.report(r)
		bar.step()
	})
	bar.done()
	sum.Port25Closed = run.Port25Closed()
	sum.OK = sum.Errors+sum.Unknown == 0 && (sum.Warnings == 0 || !f.strict)
	if err := context.Cause(cmd.Context()); err != nil {
		return err
	}
	if err := out.end(&sum); err != nil {
		return err
	}
	if !sum.OK {
		return errFindings
	}
	return nil
}

func each(jobs []sendercheck.Job) iter.Seq[sendercheck.Job] { return slices.Values(jobs) }

// checker builds what looks, or says what is wrong with the flags.
func (f *verifyFlags) checker() (*sendercheck.Checker, error) {
	for i, s := range f.resolvers {
		addr, err := netip.ParseAddrPort(s)
		if a, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
			addr, err = netip.AddrPortFrom(a, 53), nil
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--resolver %q is no address", s)}
		}
		f.resolvers[i] = addr.String()
	}
	if f.parallel < 1 || f.parallel > 1000 || f.perTarget < 1 || f.perTarget > 1000 {
		return nil, usageError{errors.New("--parallel and --per-target must be from 1 to 1000")}
	}
	var roots *x509.CertPool
	if f.roots != "" {
		pem, err := os.ReadFile(f.roots)
		if err != nil {
			return nil, err
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--roots %q has no certificate", f.roots)
		}
	}
	c, err := sendercheck.New(sendercheck.Options{
		Resolver: lookup.New(f.resolvers, nil), Roots: roots, HTTPSPort: f.httpsPort, SMTPPort: f.smtpPort, AllowPrivate: f.private,
		SkipMX: f.noMX, Hello: f.hello, HTTPTimeout: f.timeout, SMTPTimeout: f.timeout, PerTarget: f.perTarget,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// verifyJobs is which domains to look at, those of ours with what is meant. No
// configuration is needed where domains are named.
func verifyJobs(cmd *cobra.Command, args []string) ([]sendercheck.Job, error) {
	var domains []string
	for _, arg := range args {
		domain, err := mtasts.ParseDomain(arg)
		if err != nil {
			return nil, usageError{err}
		}
		domains = append(domains, domain)
	}
	wants, err := verifyWants(cmd, len(args) > 0)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		domains = slices.Sorted(maps.Keys(wants))
	}
	jobs := make([]sendercheck.Job, len(domains))
	for i, domain := range domains {
		jobs[i] = sendercheck.Job{Domain: domain, Want: wants[domain]}
	}
	return jobs, nil
}

func verifyWants(cmd *cobra.Command, optional bool) (map[string]*sendercheck.Want, error) {
	if _, err := configFile(cmd); err != nil && optional {
		return nil, nil
	}
	v, err := openView(cmd)
	if err != nil {
		return nil, err
	}
	return v.Wants(), nil
}
