package config

import (
	"fmt"

	"mtasts-server/mtasts"
)

// Domain is one policy domain as configured, valid and ready to publish. There may be
// 100,000: it holds on to nothing but itself, and not to what Body says already.
type Domain struct {
	Name    string   // A-label, lower case, no final dot
	AliasOf string   // the domain whose table names this one under aliases; "" for the table's own
	Body    []byte   // the policy as it is served; never changed
	ID      string   // of Body
	TLSRPT  []string // where senders report to, for the _smtp._tls record
	*Circumstances

	key string // the table's key as written
}

// Circumstances are what many domains of a file have in common, and then share.
type Circumstances struct {
	Owners  Owners
	Profile string // "" for none
	File    string // absolute path
	Origin  Origin
	Plan    *Plan // nil: as advised, and by hand
	Care    *Care // nil: nothing was said
}

// Policy returns the policy that Body says.
func (d *Domain) Policy() mtasts.Policy {
	p, err := mtasts.Parse(d.Body)
	if err != nil {
		panic(fmt.Sprintf("the policy of %q was rendered so that it cannot be parsed: %v", d.Name, err))
	}
	return p
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
	plan    *Plan
	failed  bool // the table has errors, so nothing may be built on it
}
