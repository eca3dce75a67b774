package app

import (
	"fmt"
	"time"

	"mtasts-server/mtasts"
)

// The oracle of the year: whether a step was too early, by what was sent and seen. It knows
// nothing of the rules but their numbers (RFC 8461 says none), and counts days one by one.
const (
	oracleWindows   = 14
	oracleActive    = 7
	oracleReporters = 2
	oracleLag       = 3 * day
	oracleSilence   = 7 * day
)

// tooEarly says why r should not have gone from one policy to a stricter one at now; "" where
// it was right.
func (r *resident) tooEarly(from, to era, now time.Time) string {
	days := oracleWindows
	if r.windows > 0 {
		days = r.windows
	}
	if from.mode == mtasts.ModeEnforce {
		switch to.age {
		case 7 * day:
			days = 7
		case 30 * day:
			days = 28
		default:
			return fmt.Sprintf("max_age %s is no rung", to.age)
		}
	}
	midnight := func(t time.Time) time.Time { return t.Truncate(day) }
	since := r.sameSince(from)
	end := midnight(now.Add(-oracleLag))
	first := end
	n := 0
	active, reporters := map[time.Time]bool{}, map[string]bool{}
	for n < days && !first.Add(-day).Before(since) {
		first = first.Add(-day)
		n++
	}
	if n < days {
		return fmt.Sprintf("%d of %d days", n, days)
	}
	var heard time.Time
	for _, e := range r.raw {
		if e.failed > 0 && !e.day.Before(first) && !e.day.Before(r.resolved) {
			return "failures on " + e.day.Format(time.DateOnly)
		}
		if e.ok == 0 || e.from == "" {
			continue
		}
		if heard = e.day; !e.day.Before(first) && e.day.Before(end) {
			active[e.day], reporters[e.from] = true, true
		}
	}
	switch {
	case now.Sub(heard.Add(day)) >= oracleSilence:
		return "nobody was heard of since " + heard.Format(time.DateOnly)
	case r.hostsSince.After(laterOf(first, since)):
		return "the MX hosts changed on " + r.hostsSince.Format(time.DateOnly)
	case len(refusedBy(from.mx, r.hosts)) > 0:
		return "the policy refuses an MX host"
	case r.trouble != "":
		return "it fails today: " + r.trouble
	case from.mode != mtasts.ModeEnforce && len(active) < oracleActive:
		return fmt.Sprintf("mail on %d days", len(active))
	case from.mode != mtasts.ModeEnforce && len(reporters) < oracleReporters:
		return fmt.Sprintf("%d reporters", len(reporters))
	}
	return ""
}

// sameSince is since when as much as the last era before the present one said was served.
func (r *resident) sameSince(e era) time.Time {
	since := e.from
	for i := len(r.eras) - 1; i >= 0; i-- {
		x := r.eras[i]
		if !x.from.Before(since) {
			continue
		}
		if x.mode != e.mode || fmt.Sprint(x.mx) != fmt.Sprint(e.mx) || x.age < e.age {
			break
		}
		since = x.from
	}
	return since
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// milder says in what a policy is milder than one that was enforced; "" where it is not.
func milder(from, to era) string {
	switch {
	case from.mode != mtasts.ModeEnforce:
		return ""
	case to.body == nil:
		return "nothing is served"
	case to.mode != mtasts.ModeEnforce:
		return "it does not enforce"
	case to.age < from.age:
		return "its max_age is shorter"
	}
	return ""
}
