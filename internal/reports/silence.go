package reports

import (
	"fmt"
	"time"
)

// silence is the anomalies of who does not report any more. Where all are silent each one
// is not told of.
func (s *stream) silence() []Anomaly {
	if list := s.silenceOfAll(); list != nil {
		return list
	}
	return s.silentReporters()
}

// silenceOfAll finds that nobody has reported for more than 7 days, and more than three
// times the longest gap before, after at least 7 days with reports.
func (s *stream) silenceOfAll() []Anomaly {
	var r rhythm
	for _, list := range [][]*visit{s.before, s.now} {
		for _, v := range list {
			r.add(v.day)
		}
	}
	silent := r.silent(s.until)
	if r.days < rhythmDays || silent <= max(silentGaps*r.gap, silentDays) {
		return nil
	}
	text := fmt.Sprintf("nobody has reported for %d days: the last report is on %s, and until then %s; silence is not success",
		silent, dayText(r.last), r.pauses())
	return []Anomaly{{Code: Silence, Severity: Error, Text: text, Since: r.last}}
}

// silentReporters finds those who have not reported for longer than their longest gap and
// 24 days, after at least 10 days with reports. A name that anybody may claim does not go
// silent: this is for those who are known. Others go on, so that it is a warning.
func (s *stream) silentReporters() (list []Anomaly) {
	rhythms := map[string]*rhythm{}
	var names []string // in the order of their first reports
	for _, visits := range [][]*visit{s.before, s.now} {
		for _, v := range visits {
			r := rhythms[v.name]
			if r == nil {
				r = &rhythm{}
				rhythms[v.name] = r
				names = append(names, v.name)
			}
			r.add(v.day)
		}
	}
	for _, name := range names {
		r := rhythms[name]
		if silent := r.silent(s.until); r.days >= reporterRhythmDays && silent > r.gap+lateDays {
			text := fmt.Sprintf("%s has not reported for %d days: its last report is on %s, and until then %s",
				name, silent, dayText(r.last), r.pauses())
			list = append(list, Anomaly{Code: ReporterSilent, Severity: Warning, Subject: name, Text: text, Since: r.last})
		}
	}
	return list
}

// rhythm is how often reports come.
type rhythm struct {
	days int       // that were reported on
	gap  int       // the longest one, in days without reports between two with
	last time.Time // day
}

// add takes the days in their order.
func (r *rhythm) add(day time.Time) {
	if r.days > 0 && day.Equal(r.last) {
		return
	}
	if r.days > 0 {
		r.gap = max(r.gap, daysBetween(r.last, day)-1)
	}
	r.days, r.last = r.days+1, day
}

// silent is how many whole days there were none, until a time.
func (r *rhythm) silent(until time.Time) int { return daysBetween(r.last, until) - 1 }

// pauses says how long the longest gap was.
func (r *rhythm) pauses() string {
	if r.gap == 0 {
		return "there was one every day"
	}
	return fmt.Sprintf("the longest pause was %s", counted(int64(r.gap), "day"))
}

func daysBetween(a, b time.Time) int { return int(b.Sub(a) / oneDay) }
