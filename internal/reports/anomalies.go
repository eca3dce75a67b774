package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Severity says what an anomaly means.
type Severity string

const (
	Error   Severity = "error"   // it goes on, and somebody should look
	Warning Severity = "warning" // it is over, or others go on, or nobody known says so
)

// AnomalyCode is a kind of anomaly. Codes are stable.
type AnomalyCode string

const (
	NewFailureType AnomalyCode = "new-failure-type"
	NewFailingMX   AnomalyCode = "new-failing-mx"
	FailureRate    AnomalyCode = "failure-rate"
	ReporterSilent AnomalyCode = "reporter-silent"
	Silence        AnomalyCode = "silence" // nobody reports any more, which is no success
)

// AnomalyCodes lists them all.
func AnomalyCodes() []AnomalyCode {
	return []AnomalyCode{Silence, FailureRate, NewFailureType, NewFailingMX, ReporterSilent}
}

// Anomaly is something out of the ordinary, in a sentence with its numbers.
type Anomaly struct {
	Code     AnomalyCode `json:"code"`
	Severity Severity    `json:"severity"`
	Subject  string      `json:"subject,omitempty"` // the result type, MX host or reporter
	Text     string      `json:"text"`              // what is from outside in it is not escaped
	Since    time.Time   `json:"since"`             // day
}

// The rules. They stand in docs/reports.md, too.
const (
	// A new failure comes to so many sessions, and to one in so many of those who saw it, as
	// some of many fail by chance; for a small domain few sessions are enough, if they are
	// a good part of all.
	newSessions, newShare     = 10, 100
	fewNewSessions, fewsShare = 3, 10

	// overAfter is when something that was not seen again counts as over, with the days
	// that reports take.
	overAfter = 7 * oneDay

	// A day with less than rateSessions says nothing of a rate. A day leaves the band if so
	// many failed, and it is more than twice the worst day of before and a percentage point
	// above it. bandWithout is the end of the band where before has less than bandDays such
	// days: there is nothing to compare with.
	rateSessions = 10
	bandPoint    = 0.01
	bandWithout  = 0.10
	bandDays     = 7

	// Reports lag behind by one to three days, and whoever sends mail now and then may be
	// long in coming: all are silent if they are so for longer than this, and than three
	// times the longest gap before.
	silentDays = 7
	silentGaps = 3

	// Microsoft's reports came 24 days late once: a reporter is silent if it is so for
	// longer than after its longest gap, and that.
	lateDays = 24

	// So many days with reports make a rhythm.
	rhythmDays         = 7
	reporterRhythmDays = 10
)

// anomalies applies the rules, first to what reporters say that are known. What those say
// whom nobody knows is looked at apart from it, so that it can neither hide nor feign
// anything of the others, and it is never more than a warning. The lists are those of the
// period before and of the period, in the order of days.
func anomalies(p period, before, now []*visit) []Anomaly {
	known, unknown := streamOf(p, before, now, true), streamOf(p, before, now, false)
	list := append(append([]Anomaly{}, known.failures()...), known.silence()...)
	told := map[[2]string]bool{}
	for _, a := range list {
		told[[2]string{string(a.Code), a.Subject}] = true
	}
	more := unknown.failures()
	if known.days() == 0 {
		more = append(more, unknown.silenceOfAll()...)
	}
	for _, a := range more {
		if !told[[2]string{string(a.Code), a.Subject}] {
			a.Severity = Warning
			a.Text += "; no authenticated reporter says so"
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b Anomaly) int {
		return cmp.Or(strings.Compare(string(a.Severity), string(b.Severity)),
			cmp.Compare(slices.Index(AnomalyCodes(), a.Code), slices.Index(AnomalyCodes(), b.Code)))
	})
	return slices.Clip(list)
}

// stream is what reporters say that are known, or those that are not.
type stream struct {
	period
	before, now []*visit
}

func streamOf(p period, before, now []*visit, authenticated bool) *stream {
	other := func(v *visit) bool { return v.authenticated != authenticated }
	return &stream{p, slices.DeleteFunc(slices.Clone(before), other), slices.DeleteFunc(slices.Clone(now), other)}
}

// days counts the visits of both periods.
func (s *stream) days() int { return len(s.before) + len(s.now) }

// over reports whether something that was last seen on a day does not go on.
func (s *stream) over(last time.Time) bool { return s.until.Sub(last) > overAfter }

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

// daySums are the sessions of all reporters by day.
func daySums(visits []*visit) (days []Day) {
	for _, v := range visits {
		if n := len(days); n == 0 || !days[n-1].Day.Equal(v.day) {
			days = append(days, Day{Day: v.day})
		}
		d := &days[len(days)-1]
		d.Successful, d.Failed = added(d.Successful, v.sessions-v.failed), added(d.Failed, v.failed)
	}
	return days
}

func (d Day) sessions() int64 { return added(d.Successful, d.Failed) }
func (d Day) rate() float64   { return float64(d.Failed) / float64(d.sessions()) }

// rate finds the days that leave the band of failure rates: more than twice the rate of
// the worst day before, and more than a percentage point above it, with at least 10
// failed sessions. Days of less than 10 sessions say nothing of a rate. Where less than 7
// days of before say something, the band ends at 10 %. It is an error while the last day
// that says something is outside.
func (s *stream) rate() []Anomaly {
	counts := func(d Day) bool { return d.sessions() >= rateSessions }
	var worst Day
	days := 0
	for _, d := range daySums(s.before) {
		if counts(d) {
			days++
			if worst.Day.IsZero() || d.rate() > worst.rate() {
				worst = d
			}
		}
	}
	band, why := bandWithout, "there is little to compare with"
	if days >= bandDays {
		band = max(2*worst.rate(), worst.rate()+bandPoint)
		why = fmt.Sprintf("the worst day of the period before had %s", percent(worst.rate()))
	}
	var outside []Day
	last := false
	for _, d := range daySums(s.now) {
		if counts(d) {
			if last = d.Failed >= rateSessions && d.rate() > band; last {
				outside = append(outside, d)
			}
		}
	}
	if len(outside) == 0 {
		return nil
	}
	w := slices.MaxFunc(outside, func(a, b Day) int { return cmp.Compare(a.rate(), b.rate()) })
	a, end := Anomaly{Code: FailureRate, Severity: Warning, Since: outside[0].Day}, ", and no more since"
	if last && !s.over(outside[len(outside)-1].Day) {
		a.Severity, end = Error, ""
	}
	a.Text = fmt.Sprintf("too many sessions fail: more than %s on %s, at worst %s of %d on %s%s; %s",
		percent(band), counted(int64(len(outside)), "day"), percent(w.rate()), w.sessions(), dayText(w.Day), end, why)
	return []Anomaly{a}
}

func dayText(t time.Time) string { return t.Format(time.DateOnly) }

func percent(share float64) string { return fmt.Sprintf("%.2f%%", 100*share) }

// counted prints a number with its noun.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
