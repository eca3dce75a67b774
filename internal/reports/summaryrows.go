package reports

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// tally counts something in both periods.
type tally struct {
	before, now   int64
	first, last   time.Time // last is of the period
	reporters     map[reporter]bool
	authenticated bool
}

// tallies counts things by their keys.
type tallies[K comparable] map[K]*tally

func (ts tallies[K]) add(k K, v *visit, n int64, now bool) {
	if n <= 0 {
		return
	}
	t := ts[k]
	if t == nil {
		t = &tally{first: v.day, reporters: map[reporter]bool{}}
		ts[k] = t
	}
	if !now {
		t.before = added(t.before, n)
		return
	}
	t.now, t.last = added(t.now, n), v.day
	t.reporters[v.reporter] = true
	t.authenticated = t.authenticated || v.authenticated
}

type crossKey struct {
	resultType, mx string
	reporter
}

// addRows fills the tables. Both lists are in the order of days.
func (s *Summary) addRows(before, now []*visit) {
	types, hosts, cross := tallies[string]{}, tallies[string]{}, tallies[crossKey]{}
	reporters := map[reporter]*ReporterRow{}
	for i, list := range [][]*visit{before, now} {
		isNow := i == 1
		for _, v := range list {
			for name, n := range failuresBy(v.failures, byResultType) {
				types.add(name, v, n, isNow)
			}
			for name, n := range failuresBy(v.failures, byMX) {
				hosts.add(name, v, n, isNow)
			}
			for k, n := range failuresBy(v.failures, func(f Failures) crossKey { return crossKey{f.ResultType, f.MX, v.reporter} }) {
				cross.add(k, v, n, isNow)
			}
			addReporter(reporters, v, isNow)
		}
	}
	s.ByResultType, s.ByMX = failureRowsOf(types), failureRowsOf(hosts)
	s.ByReporter, s.Worst = reporterRowsOf(reporters), crossRowsOf(cross)
	s.Changes = changes(before, types, hosts, reporters)
}

func addReporter(rows map[reporter]*ReporterRow, v *visit, now bool) {
	r := rows[v.reporter]
	if r == nil {
		r = &ReporterRow{Name: v.name, Authenticated: v.authenticated, FirstSeen: v.day}
		rows[v.reporter] = r
	}
	if !now {
		r.Before = added(r.Before, v.sessions)
		return
	}
	r.Reports, r.LastSeen = added(r.Reports, v.reports), v.day
	r.Sessions, r.Failed = added(r.Sessions, v.sessions), added(r.Failed, v.failed)
}

// failureRowsOf returns what failed in the period, most sessions first.
func failureRowsOf(ts tallies[string]) []FailureRow {
	rows := []FailureRow{}
	for _, name := range slices.Sorted(maps.Keys(ts)) {
		if t := ts[name]; t.now > 0 {
			rows = append(rows, FailureRow{name, t.now, t.before, len(t.reporters), !t.authenticated, t.first, t.last})
		}
	}
	slices.SortStableFunc(rows, func(a, b FailureRow) int { return cmp.Compare(b.Sessions, a.Sessions) })
	return rows
}

// reporterRowsOf returns who reported in the period, those who saw most failures first.
func reporterRowsOf(all map[reporter]*ReporterRow) []ReporterRow {
	rows := []ReporterRow{}
	for _, r := range slices.SortedFunc(maps.Keys(all), compareReporters) {
		if row := all[r]; !row.LastSeen.IsZero() {
			rows = append(rows, *row)
		}
	}
	slices.SortStableFunc(rows, func(a, b ReporterRow) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Sessions, a.Sessions))
	})
	return rows
}

func crossRowsOf(ts tallies[crossKey]) []CrossRow {
	rows := []CrossRow{}
	for k, t := range ts {
		if t.now > 0 {
			rows = append(rows, CrossRow{k.resultType, k.mx, k.name, k.authenticated, t.now, t.first, t.last})
		}
	}
	slices.SortFunc(rows, func(a, b CrossRow) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), strings.Compare(a.ResultType, b.ResultType), strings.Compare(a.MX, b.MX),
			compareReporters(reporter{a.Reporter, a.Authenticated}, reporter{b.Reporter, b.Authenticated}))
	})
	return rows
}

// truncate keeps of each list what has most weight.
func (s *Summary) truncate() {
	s.ByResultType = truncated(s, s.ByResultType)
	s.ByMX = truncated(s, s.ByMX)
	s.ByReporter = truncated(s, s.ByReporter)
	s.Worst = truncated(s, s.Worst)
	s.Changes = truncated(s, s.Changes)
	s.Anomalies = truncated(s, s.Anomalies)
}

func truncated[T any](s *Summary, rows []T) []T {
	if len(rows) <= maxRows {
		return rows
	}
	s.Truncated = true
	return slices.Clip(rows[:maxRows])
}
