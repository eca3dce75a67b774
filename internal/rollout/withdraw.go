package rollout

import (
	"slices"
	"time"

	"mtasts-server/mtasts"
)

// EarliestRemoval is from when on record, policy host and certificate may go: when every
// version other than none has expired with whoever fetched it last, the maximum over
// versions of last served + max_age (RFC 8461 §8.3). ok is false while such a version is
// served. It is zero where none ever was.
func EarliestRemoval(versions []Version) (at time.Time, ok bool) {
	for _, v := range versions {
		switch {
		case v.Mode == mtasts.ModeNone:
		case v.Until.IsZero():
			return time.Time{}, false
		default:
			at = later(at, v.Until.Add(v.MaxAge))
		}
	}
	return at, true
}

// removal is until when senders may hold a policy if nothing but none is served from now on.
// Who began with none withdraws what is not known here: it may have been held for a year.
func (f *Facts) removal(now time.Time) time.Time {
	at := f.HeldUntil
	if known := slices.ContainsFunc(f.Versions, func(v Version) bool { return v.Mode != mtasts.ModeNone }); !known && at.IsZero() && len(f.Versions) > 0 {
		return f.Versions[0].From.Add(mtasts.MaxMaxAge * time.Second)
	}
	for _, v := range f.Versions {
		if v.Mode != mtasts.ModeNone {
			at = later(at, v.last(now).Add(v.MaxAge))
		}
	}
	return at
}

// last is when the version was last served.
func (v Version) last(now time.Time) time.Time {
	if v.Until.IsZero() {
		return now
	}
	return v.Until
}

// judgeEnd judges a domain that serves none, or nothing any more.
func (g Gates) judgeEnd(v *Verdict, f *Facts, now time.Time) {
	at := f.removal(now)
	current, served := f.current()
	v.Since = current.From
	if !served {
		for _, old := range f.Versions {
			v.Since = later(v.Since, old.Until)
		}
	}
	if v.Step == Gone {
		v.Since = later(v.Since, at)
		return
	}
	if served {
		v.Next = Next{Remove: true}
		v.Gates = []Gate{expired(at, now)}
	} else {
		v.Alarms = append(v.Alarms, Reason{TakenAway, "senders may hold a policy until " + date(at) + ", and none is served in its place"})
	}
	v.Alarms = append(v.Alarms, f.drift(now)...)
}

// expired: no sender holds a policy any more.
func expired(at, now time.Time) Gate {
	gate := Gate{Name: GateExpired, Have: date(now), Want: date(at), Passed: !now.Before(at), Evidence: "senders may hold a policy until " + at.UTC().Format(time.RFC3339)}
	if !gate.Passed {
		gate.EarliestAt = at
	}
	return gate
}
