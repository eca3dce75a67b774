package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/config"
	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
)

// InitOptions say what to write a first policy file for.
type InitOptions struct {
	ConfigFile string   // the main file; "" where there is none yet
	Domain     string   // A-label
	File       string   // to write; "" for one beside the other policy files
	Resolvers  []string // name servers, "address:port"; none for those that are configured
	Now        time.Time
}

// InitResult is what was written, and of what.
type InitResult struct {
	File     string
	Text     string
	MX       []string // as in DNS, by preference
	Profile  string   // of the provider that they belong to, "" for none that is known
	Problems []config.Problem
	NoConfig bool // there is no main file yet
}

// maxInitMX bounds the MX hosts that a policy is written for. More than ten are rare.
const maxInitMX = 50

// Init looks up which hosts receive the domain's mail, and writes a policy file for it, in
// mode testing. It never writes over a file.
func Init(ctx context.Context, o InitOptions) (*InitResult, error) {
	r := &InitResult{File: o.File, NoConfig: o.ConfigFile == ""}
	pattern := filepath.Join("policies", "*.toml")
	if !r.NoConfig {
		snap, _, err := loadConfig(o.ConfigFile)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(snap.Domains, func(d *config.Domain) bool { return d.Name == o.Domain }); i >= 0 {
			return nil, fmt.Errorf("%q is configured already, in %s", o.Domain, snap.Domains[i].File)
		}
		if why, ok := snap.Refused[o.Domain]; ok {
			return nil, fmt.Errorf("%q is configured already, with errors: %s", o.Domain, why)
		}
		pattern = snap.Settings.Policies[0]
		if len(o.Resolvers) == 0 {
			o.Resolvers = snap.Settings.DNS.Resolvers
		}
	}
	if r.File == "" {
		if strings.Count(filepath.Base(pattern), "*") != 1 || strings.ContainsAny(filepath.Dir(pattern), "*?[") {
			return nil, fmt.Errorf("the pattern %q does not say where a new file goes: name it with --output FILE", pattern)
		}
		r.File = filepath.Join(filepath.Dir(pattern), strings.Replace(filepath.Base(pattern), "*", o.Domain, 1))
	}
	if _, err := os.Lstat(r.File); err == nil {
		return nil, fmt.Errorf("%s is there already, and is not written over", r.File)
	}
	var err error
	if r.MX, err = mxHosts(ctx, lookup.New(o.Resolvers, nil), o.Domain); err != nil {
		return nil, err
	}
	r.Profile = config.ProfileOf(r.MX)
	r.Text = policyText(o.Domain, r.MX, r.Profile, o.Now)
	if err := writeNew(r.File, r.Text); err != nil {
		return nil, err
	}
	r.Problems = problemsOf(o.ConfigFile, r.File)
	return r, nil
}

// problemsOf says what check says of the new file.
func problemsOf(configFile, file string) []config.Problem {
	if configFile == "" {
		return nil
	}
	loader, err := config.NewLoader(configFile, config.LoaderOptions{Advise: true})
	if err != nil {
		return nil // it was read a moment ago
	}
	snap, _ := loader.Load()
	return slices.DeleteFunc(snap.Problems, func(p config.Problem) bool {
		a, aerr := filepath.Abs(p.File)
		b, berr := filepath.Abs(file)
		return aerr != nil || berr != nil || a != b
	})
}

// mxHosts are the hosts that receive the domain's mail, by preference.
func mxHosts(ctx context.Context, r *lookup.Resolver, domain string) ([]string, error) {
	a, err := r.Lookup(ctx, domain, dns.TypeMX)
	switch {
	case err != nil:
		return nil, fmt.Errorf("which hosts receive mail for %q is not known: %w", domain, err)
	case !a.Exists:
		return nil, fmt.Errorf("there is no domain %q in DNS", domain)
	case len(a.Records) == 0:
		return []string{domain}, nil // RFC 5321 §5.1
	}
	slices.SortStableFunc(a.Records, func(x, y dns.RR) int { return cmp.Compare(x.(*dns.MX).Preference, y.(*dns.MX).Preference) })
	var hosts []string
	for _, rr := range a.Records[:min(len(a.Records), maxInitMX)] {
		host := rr.(*dns.MX).Mx
		if host == "." {
			return nil, fmt.Errorf("%q receives no mail, its MX record says (RFC 7505): there is nothing that a policy could protect", domain)
		}
		mx, err := mtasts.ParseMXPattern(host)
		if _, wildcard := mx.Wildcard(); err != nil || wildcard {
			return nil, fmt.Errorf("the MX record of %q names %q, which no policy can allow: mend the record first", domain, host)
		}
		hosts = append(hosts, string(mx))
	}
	return slices.Compact(hosts), nil
}

// policyText is a policy file to begin with.
func policyText(domain string, mx []string, profile string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# MTA-STS for %s. Its MX hosts, as of %s:\n", domain, now.UTC().Format(time.DateOnly))
	for _, host := range mx {
		fmt.Fprintf(&b, "#   %s\n", host)
	}
	fmt.Fprintf(&b, `[domains.%q]
# Senders deliver all the same, and report what would have failed. Write "enforce" when
# the reports of two weeks are clean.
mode    = "testing"
# How long senders may keep the policy. A day, as long as it may still be wrong; weeks for
# mode enforce.
max_age = "1d"
`, domain)
	if profile != "" {
		fmt.Fprintf(&b, "# The MX hosts that %s tells its customers to use.\nprofile = %q\n", profile, profile)
	} else {
		b.WriteString("# Each host that an MX record names; its certificate must hold the name.\nmx      = [")
		for i, host := range mx {
			fmt.Fprintf(&b, "%s%q", []string{"", ", "}[min(i, 1)], host)
		}
		b.WriteString("]\n")
	}
	fmt.Fprintf(&b, "# Where senders report to; some use the first address only. It must exist.\ntlsrpt  = [\"mailto:tlsrpt@%s\"]\n", domain)
	return b.String()
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not written over", path)
	} else if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path)) // half a file would be refused, or worse
	}
	return errors.Join(f.Sync(), f.Close())
}
