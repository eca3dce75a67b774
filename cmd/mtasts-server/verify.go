package main

import (
	"crypto/x509"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mtasts-server/internal/app"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

const verifyLong = `verify looks at domains as a sending mail server does: the TXT record, the policy
from every address of its host, each MX host over SMTP with STARTTLS, DANE, and where
reports go. It changes nothing. Domains may be anybody's; without arguments it looks at
all that are configured, and compares those with what is meant.

What could not be looked at, as when this machine may not connect to port 25, is said
to be unknown, never good. All findings, by their codes, stand in docs/findings.md.

Exit status: 0 all fine, 1 errors or something unknown (with --strict: or warnings),
2 wrong usage.`

// maxParallel bounds --parallel. Each domain takes some file descriptors while it is
// looked at.
const maxParallel = 256

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
	fs.StringArrayVar(&f.resolvers, "resolver", nil, "`address` of a recursive name server, again for more (default: as configured, else the system's)")
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
	domains, wants, err := verifyDomains(cmd, f, args)
	if err != nil {
		return err
	}
	checker, err := f.checker()
	if err != nil {
		return err
	}
	out, err := newVerifyPrinter(f.format, cmd.OutOrStdout(), domains, f.strict)
	if err != nil {
		return usageError{err}
	}
	bar := newProgress(cmd.ErrOrStderr(), len(domains), f.quiet)
	run := checker.NewRun()
	sum := verifySummary{Verdicts: map[sendercheck.Verdict]int{}}
	run.CheckAll(cmd.Context(), jobs(domains, wants), f.parallel, func(r *sendercheck.Report) {
		sum.add(r)
		bar.clear()
		out.report(verified{r, wants[r.Domain].File})
		bar.step()
	})
	bar.clear()
	sum.Port25Closed = run.Port25Closed()
	sum.OK = sum.Errors+sum.Unknown == 0 && (sum.Warnings == 0 || !f.strict)
	if err := out.end(sum); err != nil {
		return err
	}
	if !sum.OK {
		return errFindings
	}
	return nil
}

func jobs(domains []string, wants map[string]app.Wanted) iter.Seq[sendercheck.Job] {
	return func(yield func(sendercheck.Job) bool) {
		for _, d := range domains {
			if !yield(sendercheck.Job{Domain: d, Want: wants[d].Want}) {
				return
			}
		}
	}
}

// checker builds what looks, or says what is wrong with the flags.
func (f *verifyFlags) checker() (*sendercheck.Checker, error) {
	servers, err := nameServers(f.resolvers)
	if err != nil {
		return nil, usageError{err}
	}
	if f.parallel < 1 || f.parallel > maxParallel {
		return nil, usageError{fmt.Errorf("--parallel must be from 1 to %d", maxParallel)}
	}
	roots, err := readRoots(f.roots)
	if err != nil {
		return nil, err
	}
	c, err := sendercheck.New(sendercheck.Options{
		Resolver: lookup.New(servers, nil), Roots: roots, HTTPSPort: f.httpsPort, SMTPPort: f.smtpPort, AllowPrivate: f.private,
		SkipMX: f.noMX, Hello: f.hello, HTTPTimeout: f.timeout, SMTPTimeout: f.timeout, PerTarget: f.perTarget,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// readRoots returns the system's CAs and those of a file; nil, which stands for the
// system's, without one.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--roots %q has no certificate", file)
	}
	return pool, nil
}

// verifyDomains is which domains to look at, with what is meant for those of ours. No
// configuration is needed where domains are named.
func verifyDomains(cmd *cobra.Command, f *verifyFlags, args []string) ([]string, map[string]app.Wanted, error) {
	domains := make([]string, len(args))
	for i, arg := range args {
		var err error
		if domains[i], err = mtasts.ParseDomain(arg); err != nil {
			return nil, nil, usageError{err}
		}
	}
	if _, err := configFile(cmd); err != nil && len(args) > 0 {
		return domains, nil, nil
	}
	v, err := openView(cmd)
	if err != nil {
		return nil, nil, err
	}
	wants := v.Wants()
	addProgress(cmd, v, wants)
	if len(f.resolvers) == 0 {
		f.resolvers = v.Resolvers()
	}
	if len(args) == 0 {
		domains = slices.Sorted(maps.Keys(wants))
	}
	strange := func(domain string) bool { return wants[domain].Want == nil }
	f.private = f.private || v.Private() && !slices.ContainsFunc(domains, strange) // it is for what we serve
	return domains, wants, nil
}
