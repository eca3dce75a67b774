package review

import "time"

// Risk says what a domain has to lose.
type Risk string

const (
	Enforcing Risk = "enforcing" // what is wrong loses mail
	Testing   Risk = "testing"   // what is wrong is reported, and no mail is lost
	Quiet     Risk = "quiet"     // mode none, or not announced yet
)

// Pace says how long after a look the next one comes. Each becomes up to a fifth longer, by
// chance: domains that were added at one time do not stay together.
type Pace struct {
	Confirm time.Duration // something opened: is it still so?
	Error   time.Duration // an error is open, under enforce; it grows to the usual as the error gets old
	Warned  time.Duration // an error is open, and no mail is lost meanwhile; it grows as well
	Unknown time.Duration // nothing could be seen; it grows to UnknownAtMost the longer that is so
	Enforce time.Duration
	Testing time.Duration // and quiet ones

	// Where nothing opened or closed for StableAfter, and nothing is open:
	StableAfter   time.Duration
	EnforceStable time.Duration
	TestingStable time.Duration

	UnknownAtMost time.Duration
}

// DefaultPace is what 100,000 domains bear with 4 looks a second, and a few with none that
// somebody notices.
func DefaultPace() Pace {
	const day = 24 * time.Hour
	return Pace{
		Confirm: 5 * time.Minute, Error: 15 * time.Minute, Warned: time.Hour, Unknown: 15 * time.Minute,
		Enforce: 4 * time.Hour, Testing: day,
		StableAfter: 30 * day, EnforceStable: 12 * time.Hour, TestingStable: 3 * day,
		UnknownAtMost: 6 * time.Hour,
	}
}

const (
	// ageShare: an error that nobody mended for a day is looked at each hour, and so on.
	ageShare = 24

	// jitter is how much longer, at most, a domain may wait than Pace says.
	jitter = 0.2

	// slowLook is what a look takes where somebody does not answer.
	slowLook = 15 * time.Second
)

// next is how long after a look, at the time at, the next one comes.
func (p *Pace) next(m *memory, risk Risk, at time.Time) time.Duration {
	d := p.usual(m, risk, at)
	if m.errors > 0 {
		often := p.Error
		if risk != Enforcing {
			often = p.Warned
		}
		d = min(d, max(often, at.Sub(m.changed)/ageShare))
	}
	if m.fresh > 0 {
		d = min(d, p.Confirm)
	}
	if m.missing > 0 {
		d = min(d, closeApart)
	}
	if !m.UnknownSince.IsZero() {
		d = min(max(p.Unknown, at.Sub(m.UnknownSince)/2), p.UnknownAtMost)
	}
	return d + time.Duration(float64(d)*jitter*spread(m.Domain, at.Unix()))
}

func (p *Pace) usual(m *memory, risk Risk, at time.Time) time.Duration {
	stable := m.open == 0 && at.Sub(m.changed) >= p.StableAfter
	switch {
	case risk == Enforcing && stable:
		return p.EnforceStable
	case risk == Enforcing:
		return p.Enforce
	case stable:
		return p.TestingStable
	}
	return p.Testing
}

// laneOf says in which lane a domain waits for the next look.
func laneOf(m *memory, took time.Duration) lane {
	switch {
	case !m.UnknownSince.IsZero() || took > slowLook:
		return slow
	case m.errors > 0 || m.fresh > 0 || m.missing > 0:
		return urgent
	}
	return usual
}
