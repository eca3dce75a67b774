package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// failures are the anomalies of what fails.
func (s *stream) failures() []Anomaly {
	list := s.rate()
	if len(s.before) == 0 {
		return list // all is new
	}
	list = append(list, s.newOnes(NewFailureType, byResultType, func(name string) string { return fmt.Sprintf("%s is new", name) })...)
	return append(list, s.newOnes(NewFailingMX, byMX, func(name string) string { return fmt.Sprintf("sessions with %s fail that did not before", name) })...)
}

// newOnes finds failures of the period that there were none of before: at least 10
// sessions, and 1 % of all that those reported who saw it since the first day of it; or 3
// sessions and 10 %. It is an error if it was seen within the last 7 days.
func (s *stream) newOnes(code AnomalyCode, key func(Failures) string, what func(string) string) (list []Anomaly) {
	all := tallies[string]{}
	for i, visits := range [][]*visit{s.before, s.now} {
		for _, v := range visits {
			for name, n := range failuresBy(v.failures, key) {
				all.add(name, v, n, i == 1)
			}
		}
	}
	for name, t := range all {
		if name == "" || t.before > 0 || t.now < fewNewSessions {
			continue
		}
		of := s.sessions(t)
		if (t.now < newSessions || t.now*newShare < of) && t.now*fewsShare < of {
			continue
		}
		a, end := Anomaly{Code: code, Severity: Error, Subject: name, Since: t.first}, ""
		if s.over(t.last) {
			a.Severity, end = Warning, ", and none after "+dayText(t.last)
		}
		a.Text = fmt.Sprintf("%s: %d of %s since %s, seen by %s%s", what(name), t.now, counted(max(of, t.now), "session"), dayText(t.first), counted(int64(len(t.reporters)), "reporter"), end)
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Anomaly) int {
		return cmp.Or(cmp.Compare(all[b.Subject].now, all[a.Subject].now), strings.Compare(a.Subject, b.Subject))
	})
	return list
}

// sessions is how many those reported since the first day of t who saw it.
func (s *stream) sessions(t *tally) (n int64) {
	for _, v := range s.now {
		if t.reporters[v.reporter] && !v.day.Before(t.first) {
			n = added(n, v.sessions)
		}
	}
	return n
}

// rate finds the days that leave the band of failure rates: more than twice the rate of
// the worst day before, and more than a percentage point above it, with at least 10
// failed sessions. Days of less than 10 sessions say nothing of a rate. Where less than 7
// days of before say something, the band ends at 10 %. It is an error while the last day
// that says something is outside, and within the last 7 days.
func (s *stream) rate() []Anomaly {
	band, why := s.band()
	var outside []Day
	last := false
	for _, d := range daySums(s.now) {
		if last = d.Failed >= rateSessions && d.rate() > band; last {
			outside = append(outside, d)
		}
	}
	if len(outside) == 0 {
		return nil
	}
	a, end := Anomaly{Code: FailureRate, Severity: Warning, Since: outside[0].Day}, ", and no more since"
	if last && !s.over(outside[len(outside)-1].Day) {
		a.Severity, end = Error, ""
	}
	w := slices.MaxFunc(outside, func(a, b Day) int { return cmp.Compare(a.rate(), b.rate()) })
	a.Text = fmt.Sprintf("too many sessions fail: more than %s on %s, at worst %s of %d on %s%s; %s",
		percent(band), counted(int64(len(outside)), "day"), percent(w.rate()), w.sessions(), dayText(w.Day), end, why)
	return []Anomaly{a}
}

// band returns the failure rate that days may have, and why so.
func (s *stream) band() (rate float64, why string) {
	days := daySums(s.before)
	if len(days) < bandDays {
		return bandWithout, "there is little to compare with"
	}
	worst := slices.MaxFunc(days, func(a, b Day) int { return cmp.Compare(a.rate(), b.rate()) }).rate()
	return max(2*worst, worst+bandPoint), fmt.Sprintf("the worst day of the period before had %s", percent(worst))
}

// daySums are the sessions of all reporters by day, of the days that say something.
func daySums(visits []*visit) (days []Day) {
	for _, v := range visits {
		if n := len(days); n == 0 || !days[n-1].Day.Equal(v.day) {
			days = append(days, Day{Day: v.day})
		}
		d := &days[len(days)-1]
		d.Successful, d.Failed = added(d.Successful, v.sessions-v.failed), added(d.Failed, v.failed)
	}
	return slices.DeleteFunc(days, func(d Day) bool { return d.sessions() < rateSessions })
}

func (d Day) sessions() int64 { return added(d.Successful, d.Failed) }
func (d Day) rate() float64   { return float64(d.Failed) / float64(d.sessions()) }
