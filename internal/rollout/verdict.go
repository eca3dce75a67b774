package rollout

import (
	"time"

	"mtasts-server/mtasts"
)

// Step is where a domain stands. It may be a metric label.
type Step string

const (
	Announced    Step = "announced-not-served" // it is to have a policy, and never had one
	Testing      Step = "testing"
	EnforceShort Step = "enforce-short" // with a max_age below Gates.LongMaxAge
	EnforceLong  Step = "enforce-long"
	Withdrawing  Step = "withdrawing" // none is served, or nothing, and senders may hold another one
	Gone         Step = "gone"
)

// Steps lists them all.
func Steps() []Step {
	return []Step{Announced, Testing, EnforceShort, EnforceLong, Withdrawing, Gone}
}

// Verdict says where a domain stands, and what is next.
type Verdict struct {
	Step  Step
	Since time.Time // when it got there; zero where it got nowhere yet

	Next  Next
	Gates []Gate // what Next waits for
	Ready bool   // there is a Next, and all gates are passed

	// NotBefore is when Next may be taken at the earliest: now if Ready, later if all
	// goes well from now on. Where an open gate waits for somebody, it is no promise.
	NotBefore time.Time

	Hold   []Reason // why it does not go on, other than that time has to pass
	Alarms []Reason // what somebody has to look at now: mail is lost, or may be
}

// Next is the next safe step; zero if there is none to take.
type Next struct {
	Mode   mtasts.Mode   // testing or enforce
	MaxAge time.Duration // of the policy
	Remove bool          // record, policy host and certificate may go
}

// Gate is one thing that a step waits for.
type Gate struct {
	Name     string
	Passed   bool
	Have     string // a number, a date or a few words
	Want     string
	Evidence string // a sentence

	// EarliestAt is when an open gate may be passed at the earliest. It is zero for one that
	// is passed, and for one that waits for somebody and not for time.
	EarliestAt time.Time
}

// Reason is why something holds or alarms. Code is stable; Text is a sentence.
type Reason struct{ Code, Text string }

// The names of gates.
const (
	GateTLSRPT    = "tlsrpt-record"
	GateWindows   = "windows"
	GateSessions  = "sessions"
	GateReporters = "reporters"
	GateCurrent   = "current-policy"
	GateFailures  = "failures"
	GateUnsigned  = "unauthenticated-failures"
	GateHeard     = "heard"
	GateCheck     = "checker"
	GateMXStable  = "mx-stable"
	GateMXAllowed = "mx-allowed"
	GateExpired   = "expired"
)

// TakenAway is the alarm that a policy is not served any more and senders still hold it.
// All others are called as the gates.
const TakenAway = "taken-away"
