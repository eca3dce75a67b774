package rollout

import (
	"errors"
	"fmt"
	"time"

	"mtasts-server/mtasts"
)

const day = 24 * time.Hour

// maxWindows bounds every number of windows: a year's reports are all there is to look at.
const maxWindows = 366

// Gates are the numbers of the rules. Default has those that are advised.
type Gates struct {
	// Windows is how many whole days with testing it takes to enforce. Google advises two weeks.
	Windows int

	// ActiveWindows is how many of them must have had successful sessions. Small domains get
	// mail from large senders on few days: set less.
	ActiveWindows int

	// Reporters is how many distinct authenticated ones must have reported in them, and
	// CurrentReporters how many of those must have shown the policy as it is now.
	Reporters, CurrentReporters int

	// Ladder has the max_age of enforce, step by step. That of the first one has no Clean.
	Ladder []Rung

	// LongMaxAge is from which max_age on enforce is called long.
	LongMaxAge time.Duration

	// Lag is how long after the end of a day its reports are waited for. Most come within
	// a day, a few later.
	Lag time.Duration

	// Silence is after how long without reports of success nothing goes on: silence is not
	// success, since an attacker who downgrades can also hide the TLSRPT record (RFC 8460 §7).
	Silence time.Duration

	// TLSRPTLive is how long the TLSRPT record must be there before testing begins, so that
	// the first reports are not missed.
	TLSRPTLive time.Duration

	// CheckAge is how old the last look at the domain may be.
	CheckAge time.Duration

	// UnauthenticatedHolds is whether failures in reports that nobody known has sent hold a
	// step back. Anyone can forge such ones, and anyone can have honest ones.
	UnauthenticatedHolds bool

	// Refresh is how long senders take to fetch a new policy, once its id may be seen: "a
	// suggested refresh frequency is once per day" (RFC 8461 §3.3). Most look with each mail.
	Refresh time.Duration

	// Queue is how long senders go on trying to deliver to an MX host that they know of:
	// at least 4 or 5 days are asked for (RFC 5321 §4.5.4.1).
	Queue time.Duration
}

// Rung is one max_age of enforce.
type Rung struct {
	MaxAge time.Duration
	Clean  int // how many whole days without failures it takes on the rung before
}

// Default returns the numbers that are advised.
func Default() Gates {
	return Gates{
		Windows: 14, ActiveWindows: 7, Reporters: 2, CurrentReporters: 1,
		Ladder: []Rung{
			{MaxAge: mtasts.MinMaxAge * time.Second}, // a mistake lasts a day
			{MaxAge: 7 * day, Clean: 7},              // Microsoft's advice
			{MaxAge: 30 * day, Clean: 28},            // "weeks or greater" (RFC 8461 §3.2)
		},
		LongMaxAge: mtasts.MinMaxAgeEnforce * time.Second,
		Lag:        3 * day, Silence: 7 * day, TLSRPTLive: day, CheckAge: day,
		UnauthenticatedHolds: true,
		Refresh:              day, Queue: 5 * day,
	}
}

// Validate says what is wrong with the numbers.
func (g Gates) Validate() error {
	switch {
	case g.Windows < 1 || g.Windows > maxWindows:
		return fmt.Errorf("%d windows: want 1 to %d", g.Windows, maxWindows)
	case g.ActiveWindows < 0 || g.ActiveWindows > g.Windows:
		return fmt.Errorf("%d windows of %d with sessions", g.ActiveWindows, g.Windows)
	case g.CurrentReporters < 0 || g.CurrentReporters > g.Reporters:
		return fmt.Errorf("%d reporters of %d that show the current policy", g.CurrentReporters, g.Reporters)
	case len(g.Ladder) == 0:
		return errors.New("no max_age of enforce is given")
	}
	for _, d := range []time.Duration{g.Lag, g.TLSRPTLive, g.Refresh, g.Queue} {
		if d < 0 || d > maxWindows*day {
			return fmt.Errorf("a time of %s: want 0 to %d days", d, maxWindows)
		}
	}
	for _, d := range []time.Duration{g.Silence, g.CheckAge, g.LongMaxAge} {
		if d <= 0 || d > maxWindows*day {
			return fmt.Errorf("a time of %s: want more than 0, and up to %d days", d, maxWindows)
		}
	}
	return g.validateLadder()
}

func (g Gates) validateLadder() error {
	for i, r := range g.Ladder {
		switch {
		case r.MaxAge <= 0 || r.MaxAge > mtasts.MaxMaxAge*time.Second:
			return fmt.Errorf("a max_age of %s: want up to %d s", r.MaxAge, mtasts.MaxMaxAge)
		case i > 0 && r.MaxAge <= g.Ladder[i-1].MaxAge:
			return fmt.Errorf("a max_age of %s after %s: want a greater one", r.MaxAge, g.Ladder[i-1].MaxAge)
		case i > 0 && (r.Clean < 1 || r.Clean > maxWindows):
			return fmt.Errorf("%d clean days: want 1 to %d", r.Clean, maxWindows)
		}
	}
	return nil
}
