package mtasts

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Severity tells what a Problem means for publication.
type Severity string

const (
	// Error: senders would refuse the policy or it can protect nobody; it must not be published.
	Error Severity = "error"
	// Warning: the policy works, and an experienced postmaster would not leave it so.
	Warning Severity = "warning"
)

// Problem is one thing that a publisher should mend in a policy.
type Problem struct {
	Severity Severity
	Field    string // "mode", "mx", "max_age", or "" for the policy as a whole
	Index    int    // which mx, from 0
	Rule     string // where the rule stands: "RFC 8461 §3.2"
	Text     string // what is wrong
	Fix      string // what to write instead
}

// Bounds of max_age that large senders and the British NCSC's Mail Check look
// for; the RFC names none but "weeks or greater" (RFC 8461 §3.2).
const (
	MinMaxAge        = 86400   // below a day large senders are said to ignore a policy
	MinMaxAgeEnforce = 1209600 // two weeks
)

// Validate says what is wrong with publishing p for domain (an A-label name, or
// "" where it is not known), as strictly as a publisher should. A policy without
// a Problem of severity Error prints to a Body that every known sender accepts.
func (p Policy) Validate(domain string) []Problem {
	var ps []Problem
	if _, err := ParseMode(string(p.Mode)); err != nil {
		ps = append(ps, Problem{
			Error, "mode", 0, "RFC 8461 §3.2", fmt.Sprintf("mode %q is none of testing, enforce, none", p.Mode),
			`write mode = "testing" to begin with`,
		})
	}
	ps = append(ps, p.validateMaxAge()...)
	ps = append(ps, p.validateMX(domain)...)
	if n := len(p.Body()); n > MaxPolicySize {
		ps = append(ps, Problem{
			Error, "", 0, "RFC 8461 §3.3", fmt.Sprintf("the policy is %d bytes long, senders stop at %d", n, MaxPolicySize),
			"name fewer mx hosts, or use a wildcard",
		})
	}
	return ps
}

func (p Policy) validateMaxAge() []Problem {
	problem := func(s Severity, text, fix string) []Problem {
		return []Problem{{s, "max_age", 0, "RFC 8461 §3.2", text, fix}}
	}
	switch {
	case p.MaxAge < 0:
		return problem(Error, fmt.Sprintf("max_age %d is negative", p.MaxAge), `write max_age = "1d"`)
	case p.MaxAge == 0:
		return problem(Error, "max_age 0 tells senders to forget the policy at once, so it protects nobody",
			`write max_age = "1d"; to withdraw a policy set mode = "none" instead`)
	case p.MaxAge > MaxMaxAge:
		return problem(Error, fmt.Sprintf("max_age %d is above the greatest value %d (about a year)", p.MaxAge, MaxMaxAge),
			`write max_age = "52w" at most`)
	case p.Mode == ModeEnforce && p.MaxAge < MinMaxAgeEnforce:
		return problem(Warning, fmt.Sprintf("max_age %d is short for mode enforce: weeks or more are expected", p.MaxAge),
			`once enforce has run clean, write max_age = "2w" or more`)
	case p.Mode != ModeNone && p.MaxAge < MinMaxAge:
		return problem(Warning, fmt.Sprintf("max_age %d is less than a day: some senders ignore such a policy", p.MaxAge),
			`write max_age = "1d" or more`)
	}
	return nil
}

func (p Policy) validateMX(domain string) []Problem {
	var ps []Problem
	if len(p.MX) == 0 {
		if p.Mode == ModeNone {
			return []Problem{{
				Warning, "mx", 0, "RFC 8461 §3.2", "there is no mx; that is legal for mode none, yet some senders refuse it",
				"keep the mx lines that the policy had",
			}}
		}
		return []Problem{{
			Error, "mx", 0, "RFC 8461 §3.2", "there is no mx, so no mail could be delivered",
			`name the hosts of the domain's MX records: mx = ["mx1.example.com"]`,
		}}
	}
	seen := make(map[MXPattern]bool, len(p.MX))
	for i, mx := range p.MX {
		add := func(s Severity, rule, text, fix string) {
			ps = append(ps, Problem{s, "mx", i, rule, text, fix})
		}
		norm, err := ParseMXPattern(string(mx))
		parent, wildcard := mx.Wildcard()
		switch {
		case err != nil:
			add(Error, "RFC 8461 §3.2", err.Error(), "write the name in the MX record, or \"*.\" and the name above it")
		case norm != mx:
			add(Error, "RFC 8461 §3.2", fmt.Sprintf("mx %q is not in lower-case A-labels", mx), fmt.Sprintf("write %q", norm))
		case seen[mx]:
			add(Warning, "RFC 8461 §3.2", fmt.Sprintf("mx %q stands twice", mx), "remove one of them")
		case wildcard && isPublicSuffix(parent):
			add(Error, "RFC 8461 §10.4", fmt.Sprintf("mx %q lets in everybody who registers a name below %q", mx, parent), "name the MX hosts")
		case wildcard && parent == domain:
			add(Warning, "RFC 8461 §10.4", fmt.Sprintf("mx %q allows every host of the domain itself, also those that others may name", mx),
				"name the MX hosts, or give them a subdomain of their own")
		}
		seen[mx] = true
	}
	return ps
}

// isPublicSuffix reports whether strangers can register names directly below name.
func isPublicSuffix(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return suffix == name && (icann || strings.Contains(suffix, "."))
}

// OrganizationalDomain returns the registrable domain that name belongs to:
// "example.co.uk" for "mx1.mail.example.co.uk". Without one it returns name.
func OrganizationalDomain(name string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return d
	}
	return name
}
