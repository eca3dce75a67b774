package app

import (
	"fmt"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/policyserve"
)

type state = policyserve.State

const (
	stateCurrent = policyserve.Current
	stateKept    = policyserve.Kept
)

// reason says why a domain that was published is not published as configured.
type reason string

const (
	refused    reason = "refused"     // its table has errors, or two files claim it
	fileBroken reason = "file broken" // the file that it came from is not TOML or cannot be read
	vanished   reason = "vanished"    // no file names it
)

// kept is a domain that is served as it was last published.
type kept struct {
	ledger.Entry
	reason reason
	detail string
}

// keep says why the published domain e is not among the valid domains of snap.
func keep(snap *config.Snapshot, e ledger.Entry) kept {
	if why, ok := snap.Refused[e.Domain]; ok {
		return kept{e, refused, why}
	}
	if why, ok := snap.Broken[e.Source]; ok {
		return kept{e, fileBroken, e.Source + ": " + why}
	}
	return kept{e, vanished, ""}
}

// gone reports whether the domain was withdrawn in order and may disappear: no file
// names it, it is published with mode none, and no sender holds an older policy any
// more (RFC 8461 §8.3).
func (k kept) gone(now time.Time) bool {
	at, none := k.WithdrawnAt()
	return k.reason == vanished && none && !now.Before(at)
}

func (k kept) why() string {
	if k.reason != vanished {
		return k.detail
	}
	if at, none := k.WithdrawnAt(); none {
		return fmt.Sprintf("no file names it any more; mode none is served until %s, when the last sender has dropped the policy before", at.UTC().Format("2006-01-02 15:04 MST"))
	}
	return fmt.Sprintf("no file names it any more; put it back, withdraw it with mode = \"none\", or run: mtasts-server forget %s", k.Domain)
}
