// Package review looks at domains again and again, and remembers: what was found, since
// when, until when, whose it is to mend. It decides nothing and changes no policy.
package review

import (
	"context"
	"time"
)

// Severity says how bad a finding is.
type Severity string

const (
	Error   Severity = "error"   // mail is lost, or unprotected, or will be
	Warning Severity = "warning" // it works, and should not stay so
)

// Owner says who can mend a finding; who that is stands in the domain's TOML.
type Owner string

const (
	PolicyOwner Owner = "policy"
	DNSOwner    Owner = "dns"
	MXOwner     Owner = "mx"
)

// Problem is what one look at a domain found. Code and Subject say which one it is: the
// same at the next look.
type Problem struct {
	Code     string   `json:"code"`    // stable, as in docs/findings.md
	Subject  string   `json:"subject"` // the name that it is about
	Severity Severity `json:"severity"`
	Owner    Owner    `json:"owner"`
	Text     string   `json:"text"`               // what is wrong
	Evidence string   `json:"evidence,omitempty"` // what was seen; one line, printable
	Fix      string   `json:"fix"`                // what to do, in a sentence
	Rule     string   `json:"rule,omitempty"`     // where the rule stands: "RFC 8461 §3.1"
}

// Look is one look at a domain.
type Look struct {
	At       time.Time
	Known    bool      // something could be seen; where nobody answers nothing is known, and nothing closes
	Problems []Problem // of all kinds that were looked for
	Unseen   []string  // codes that could not be looked for: what was open of them stays open
	MX       []string  // the set of MX hosts in DNS, sorted; nil where it is not known
	TLSRPT   bool      // the _smtp._tls record is there and good

	// TLSRPTUnseen says that the record could not be looked for: what was known of it stays.
	TLSRPTUnseen bool
}

// Looker looks at a domain as a sender does.
type Looker func(ctx context.Context, domain string) (Look, error)

// Finding is a problem with its history.
type Finding struct {
	Domain string `json:"domain"`
	Problem
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	Closed    time.Time `json:"closed,omitzero"` // zero while it is open
	Times     int       `json:"times"`           // that it came back after it was closed: a flap is one finding
	Looks     int       `json:"looks"`           // that saw it since it opened, or came back: one may be a mishap
}

// MXSet is a set of MX hosts that was seen in DNS from Since on.
type MXSet struct {
	Since time.Time `json:"since"`
	Hosts []string  `json:"hosts"`
}

// State is what is remembered of a domain beside findings.
type State struct {
	Domain      string    `json:"domain"`
	Looked      time.Time `json:"looked,omitzero"`       // last time that something could be seen
	OK          bool      `json:"ok"`                    // no error was found then
	MX          []MXSet   `json:"mx,omitempty"`          // oldest first; the last one is there now
	TLSRPTSince time.Time `json:"tlsrpt_since,omitzero"` // zero where it is not there

	// UnknownSince is since when nothing can be seen; zero where something could, the last time.
	UnknownSince time.Time `json:"unknown_since,omitzero"`
}
