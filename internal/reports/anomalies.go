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

func dayText(t time.Time) string { return t.Format(time.DateOnly) }

func percent(share float64) string { return fmt.Sprintf("%.2f%%", 100*share) }

// counted prints a number with its noun.
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
