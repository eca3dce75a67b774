package review

import "time"

const (
	// clockOff is how far ahead of now a time may be that was noted before: other processes
	// have other clocks. Beyond that the clock was wrong then.
	clockOff = time.Hour

	// farOff is when a domain can be due that somebody scheduled by a wrong clock only.
	farOff = 7 * 24 * time.Hour
)

// elapsed reports whether d has passed since last. A last in the future was noted by a clock
// that was wrong.
func elapsed(now, last time.Time, d time.Duration) bool {
	return now.Sub(last) >= d || now.Before(last)
}

// setRight has what was noted in the future be noted now: else no look would count, and
// nothing open or close, until that day.
func (m *memory) setRight(now time.Time) {
	times := []*time.Time{&m.UnknownSince, &m.TLSRPTSince, &m.changed}
	for i := range m.MX {
		times = append(times, &m.MX[i].Since)
	}
	for _, r := range m.rows {
		times = append(times, &r.LastSeen, &r.Closed) // FirstSeen says which finding it is
		if r.missed.Sub(now) > clockOff {
			r.missed = time.Time{} // the next look misses it anew
		}
	}
	for _, t := range times {
		if t.Sub(now) > clockOff {
			*t = now
		}
	}
	if m.Looked.Sub(now) > clockOff {
		m.Looked = time.Time{}
	}
}
