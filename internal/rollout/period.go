package rollout

import (
	"slices"
	"time"

	"mtasts-server/mtasts"
)

// period is the days that a step is decided by. Good reports count in the whole days from
// first to end, late ones being waited for; bad ones count at once, from start on.
type period struct {
	g   *Gates
	f   *Facts
	v   Version // what is served
	now time.Time
	n   int // days that are wanted

	since time.Time // since when it has been as it is
	first time.Time // the first whole day of that
	start time.Time // of the last n days, or of the day of since
	end   time.Time // of the last day whose reports have been waited for
}

func (g *Gates) period(f *Facts, current Version, n int, now time.Time) *period {
	p := &period{g: g, f: f, v: current, now: now, n: n, since: f.streak(current)}
	p.first = dayAfter(p.since)
	p.end = dayOf(now.Add(-g.Lag))
	p.start = later(p.startFor(p.end), dayOf(p.since))
	return p
}

// startFor is the start of the n days up to end.
func (p *period) startFor(end time.Time) time.Time { return end.AddDate(0, 0, -p.n) }

// at is when the days up to end are decided on.
func (p *period) at(end time.Time) time.Time { return end.Add(p.g.Lag) }

// counts reports whether good reports of that day count.
func (p *period) counts(date time.Time) bool {
	return !date.Before(p.start) && !date.Before(p.first) && date.Before(p.end)
}

// streak is since when a policy at least as strict as the current one, for the same MX
// hosts, has been served without a break. A longer max_age is stricter.
func (f *Facts) streak(current Version) time.Time {
	since := current.From
	for i := len(f.Versions) - 1; i >= 0; i-- {
		v := f.Versions[i]
		switch {
		case v.Until.IsZero(): // the current one
		case v.Mode != current.Mode || !samePatterns(v.MX, current.MX) || v.Until.Before(since):
			return since
		case v.Mode == mtasts.ModeEnforce && v.MaxAge < current.MaxAge:
			return since
		case v.From.Before(since):
			since = v.From
		}
	}
	return since
}

func samePatterns(a, b []mtasts.MXPattern) bool {
	return slices.Equal(sorted(a), sorted(b))
}

func sorted[T ~string](a []T) []T {
	a = slices.Clone(a)
	slices.Sort(a)
	return slices.Compact(a)
}

// dayOf is the start of t's day in UTC.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(day) }

// dayAfter is the start of the first whole day from t on.
func dayAfter(t time.Time) time.Time {
	if d := dayOf(t); !d.Equal(t) {
		return d.Add(day)
	}
	return dayOf(t)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
