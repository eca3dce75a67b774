package config

import (
	"mtasts-server/mtasts"
)

// Domain is one policy domain as configured, valid and ready to publish.
type Domain struct {
	Name    string   // A-label, lower case, no final dot
	AliasOf string   // the domain whose table names this one under aliases; "" for the table's own
	Body    []byte   // the policy as it is served; never changed
	ID      string   // of Body
	TLSRPT  []string // where senders report to, for the _smtp._tls record
	Owners  Owners
	Policy  mtasts.Policy
	Profile string // "" for none
	File    string // absolute path
	Origin  Origin

	key string // the table's key as written
}

// Owners names who answers for what; free text, such as a team or an address.
type Owners struct{ Policy, DNS, MX string }

// Layer is one of the places that a field of a policy can come from, nearest first.
type Layer uint8

// The layers. A field that the domain's own table lacks is looked for in its
// profile, then in [defaults] of the same file, then in [defaults] of the main
// file, and then has a built-in value.
const (
	FromDomain Layer = iota
	FromProfile
	FromFileDefaults
	FromMainDefaults
	FromBuiltin
)

// Origin says of each field which layer it comes from.
type Origin struct{ Mode, MaxAge, MX, TLSRPT Layer }

// Built-in values: begin in testing, and with an age that is soon over.
const (
	defaultMode   = mtasts.ModeTesting
	defaultMaxAge = 86400
)

// fields is what one table says of a policy: nil or "" where it says nothing.
type fields struct {
	profile string
	mode    mtasts.Mode
	maxAge  *int
	mx      []mtasts.MXPattern
	tlsrpt  []string
	owners  Owners
	failed  bool // the table has errors, so nothing may be built on it
}
