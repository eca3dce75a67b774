package reports

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"mtasts-server/tlsrpt"
)

// visit is what one reporter said of one day, each session once.
type visit struct {
	reporter
	day         time.Time
	reports     int64 // at least: one under several policies is told from several only in part
	sessions    int64
	failed      int64 // sessions
	stsSessions int64 // under policies of MTA-STS, whatever others were applied
	stsFailed   int64
	failures    []Failures
}

// reporter is who reports. One that was authenticated is another than one that says the
// same name.
type reporter struct {
	name          string
	authenticated bool
}

// visits brings facts into the form that can be added up. Of a submitter and a day for
// which there are reports of an authenticated one, those of nobody known, which may be
// copies or forged, do not count; claims says how many these were, by the day.
//
// Under several policy types the same sessions may stand, so the one with most counts and
// not the sum, as in tlsrpt.(*Report).Sessions (RFC 8460 §4).
func visits(f *Facts) (list []*visit, claims map[time.Time]int64) {
	type key struct {
		day time.Time
		reporter
	}
	days, failures := map[key][]Day{}, map[key][]Failures{}
	for _, d := range f.Days {
		k := key{d.Day, reporter{d.Submitter, d.Authenticated}}
		days[k] = append(days[k], d)
	}
	for _, x := range f.Failures {
		k := key{x.Day, reporter{x.Submitter, x.Authenticated}}
		failures[k] = append(failures[k], x)
	}
	claims = map[time.Time]int64{}
	for k, ds := range days {
		v := newVisit(k.reporter, ds, failures[k])
		if !k.authenticated && days[key{k.day, reporter{k.name, true}}] != nil {
			claims[k.day] = added(claims[k.day], v.reports)
			continue
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *visit) int {
		return cmp.Or(a.day.Compare(b.day), compareReporters(a.reporter, b.reporter))
	})
	return list, claims
}

func compareReporters(a, b reporter) int {
	switch {
	case a.name != b.name:
		return strings.Compare(a.name, b.name)
	case a.authenticated == b.authenticated:
		return 0
	case a.authenticated:
		return -1
	}
	return 1
}

func newVisit(r reporter, days []Day, failures []Failures) *visit {
	v := &visit{reporter: r, day: days[0].Day, failures: failures}
	type sum struct{ all, bad int64 }
	byType := map[string]sum{}
	for _, d := range days {
		v.reports = max(v.reports, d.Reports)
		s := byType[d.PolicyType]
		byType[d.PolicyType] = sum{added(s.all, added(d.Successful, d.Failed)), added(s.bad, d.Failed)}
	}
	for _, s := range byType {
		v.sessions, v.failed = max(v.sessions, s.all), max(v.failed, s.bad)
	}
	sts := byType[string(tlsrpt.PolicySTS)]
	v.stsSessions, v.stsFailed = sts.all, sts.bad
	return v
}

// added adds two counts, at most tlsrpt.MaxSessions.
func added(a, b int64) int64 { return min(a+b, tlsrpt.MaxSessions) }

// failuresBy sums up failures by a key: of several policy types the one with most counts.
func failuresBy[K comparable](failures []Failures, key func(Failures) K) map[K]int64 {
	type typed struct {
		key        K
		policyType string
	}
	if len(failures) == 0 { // as of most visits
		return nil
	}
	sums := map[typed]int64{}
	for _, f := range failures {
		k := typed{key(f), f.PolicyType}
		sums[k] = added(sums[k], f.Sessions)
	}
	most := map[K]int64{}
	for k, n := range sums {
		most[k.key] = max(most[k.key], n)
	}
	return most
}

func byResultType(f Failures) string { return f.ResultType }
func byMX(f Failures) string         { return f.MX }
