package rollout

import (
	"time"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Facts is what is known of one domain. What is not known is left zero, and opens nothing.
type Facts struct {
	// Versions are the policies that were served, oldest first. What is served now has no
	// Until; without such a one no policy is served.
	Versions []Version

	// HeldUntil is until when senders may hold policies that are not in Versions any more.
	HeldUntil time.Time

	// Days is what was reported, one entry a day, in any order. A day without an entry is
	// one without reports.
	Days []Day

	// ReportsSince is since when reports are kept: who is silent since before is not told of.
	// Zero is for as long as it takes.
	ReportsSince time.Time

	// Resolved are failures that somebody says are understood and mended.
	Resolved []Resolution

	// Check is the last look at the domain, as a sender looks.
	Check Check

	// MX are the sets of MX hosts that were seen in DNS, oldest first; the last one is there now.
	MX []MXSet

	// TLSRPTSince is since when the _smtp._tls record has been there; zero if it is not.
	TLSRPTSince time.Time

	// RecordTTL and MXTTL are how long resolvers keep the _mta-sts record and the MX set.
	RecordTTL, MXTTL time.Duration
}

// Version is a policy that was served.
type Version struct {
	ID     string
	Mode   mtasts.Mode
	MaxAge time.Duration
	MX     []mtasts.MXPattern
	From   time.Time
	Until  time.Time // when it was last served; zero while it is
}

// Day is what was reported on the sessions of one day.
type Day struct {
	Date            time.Time // its start in UTC, as report windows have it (RFC 8460 §4.1)
	Authenticated   Evidence  // signed by who is said to have sent it
	Unauthenticated Evidence  // of anyone: it opens nothing
}

// Evidence sums up reports.
type Evidence struct {
	Successful int64      // sessions
	Failures   []Failure  // in any order; several of a kind add up
	Reporters  []Reporter // that had successful sessions, each once
}

// Reporter is who sent reports.
type Reporter struct {
	Domain  string
	Current bool // a report of that day showed the policy that is served now, word for word
}

// Failure is how many sessions failed in one way under one policy type.
type Failure struct {
	Policy   tlsrpt.PolicyType
	Result   tlsrpt.ResultType
	Sessions int64
}

// Resolution is the word of somebody that failures of a kind are mended.
type Resolution struct {
	Result tlsrpt.ResultType // "" for any
	Before time.Time         // days that began before; never in the future, or it counts for nothing
	Note   string
}

// Check is the outcome of a look at the domain as senders look: policy host, policy,
// record, MX hosts.
type Check struct {
	At       time.Time
	OK       bool
	Findings []string // what is wrong, by codes
}

// MXSet is a set of MX hosts, preferences aside.
type MXSet struct {
	Since time.Time // when it was first seen
	Hosts []string  // A-labels in lower case
}

// current returns what is served now.
func (f *Facts) current() (Version, bool) {
	for i := len(f.Versions) - 1; i >= 0; i-- {
		if f.Versions[i].Until.IsZero() {
			return f.Versions[i], true
		}
	}
	return Version{}, false
}
