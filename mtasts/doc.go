// Package mtasts holds the words of RFC 8461, SMTP MTA Strict Transport
// Security: the Policy and its Mode, the MX Pattern, the TXT Record and the
// policy id. It parses as a tolerant sender must, prints in the one form that
// every known sender accepts, matches MX hosts, and validates as strictly as a
// publisher should.
//
// It knows no network, no clock and no configuration. Everything in this module
// that speaks of policies speaks through it, and other programs may use it too.
package mtasts

const (
	// Version is the only version of policy and record there is (RFC 8461 §3.1, §3.2).
	Version = "STSv1"

	// HostLabel is prepended to a Policy Domain to make its Policy Host (RFC 8461 §3.2).
	HostLabel = "mta-sts"

	// WellKnownPath is where a Policy Host serves its policy (RFC 8461 §3.2).
	WellKnownPath = "/.well-known/mta-sts.txt"

	// MaxMaxAge is the greatest max_age, in seconds: about a year (RFC 8461 §3.2).
	MaxMaxAge = 31557600

	// MaxPolicySize is the size in bytes over which senders may refuse a policy
	// ("a suggested maximum policy size is 64 kilobytes", RFC 8461 §3.3).
	MaxPolicySize = 64 << 10
)

// PolicyHost returns the name of the host that serves domain's policy.
func PolicyHost(domain string) string { return HostLabel + "." + domain }

// PolicyURL returns the URL of domain's policy.
func PolicyURL(domain string) string {
	return "https://" + PolicyHost(domain) + WellKnownPath
}

// RecordName returns the DNS name of domain's TXT record (RFC 8461 §3.1).
func RecordName(domain string) string { return "_mta-sts." + domain }
