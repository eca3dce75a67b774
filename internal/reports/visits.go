package reports

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"mtasts-server/mtasts"
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
// copies or forged, do not count; claims says how many these were, by the day. Names of one
// organization are one here: who signs as sender.example may name postmaster@mail.sender.example
// as its contact, by which a copy over HTTPS is known.
//
// Under several policy types the same sessions may stand, so the one with most counts and
// not the sum, as in tlsrpt.(*Report).Sessions (RFC 8460 §4).
func visits(f *Facts) (list []*visit, claims map[time.Time]int64) {
	days, failures := inOrder(f.Days, Day.moment), inOrder(f.Failures, Failures.moment)
	genuine := genuineReporters(days)
	claims = map[time.Time]int64{}
	for len(days) > 0 {
		m := days[0].moment()
		_, failures = cut(failures, func(x Failures) bool { return x.moment().compare(m) < 0 }) // of nobody who reported
		var ds []Day
		var xs []Failures
		ds, days = cut(days, func(d Day) bool { return d.moment() == m })
		xs, failures = cut(failures, func(x Failures) bool { return x.moment() == m })
		v := newVisit(m.reporter, ds, xs)
		if !m.authenticated && genuine.has(v.day, v.name) {
			claims[v.day] = added(claims[v.day], v.reports)
			continue
		}
		list = append(list, v)
	}
	return list, claims
}

// genuine are the organizations that were authenticated, by day.
type genuine struct {
	seen map[genuineKey]bool
	orgs map[string]string // of names: asking the public suffix list takes a microsecond
}

type genuineKey struct {
	day int64
	org string
}

func genuineReporters(days []Day) *genuine {
	g := &genuine{map[genuineKey]bool{}, map[string]string{}}
	for _, d := range days {
		if d.Authenticated {
			g.seen[genuineKey{dayOf(d.Day), g.org(d.Submitter)}] = true
		}
	}
	return g
}

func (g *genuine) has(day time.Time, name string) bool {
	return g.seen[genuineKey{dayOf(day), g.org(name)}]
}

func (g *genuine) org(name string) string {
	org, known := g.orgs[name]
	if !known {
		org = mtasts.OrganizationalDomain(name)
		g.orgs[name] = org
	}
	return org
}

// moment is a day of a reporter.
type moment struct {
	day int64
	reporter
}

func (d Day) moment() moment { return moment{dayOf(d.Day), reporter{d.Submitter, d.Authenticated}} }

func (x Failures) moment() moment {
	return moment{dayOf(x.Day), reporter{x.Submitter, x.Authenticated}}
}

func (m moment) compare(o moment) int {
	if m.day != o.day {
		return cmp.Compare(m.day, o.day)
	}
	return compareReporters(m.reporter, o.reporter)
}

// inOrder returns rows in the order of moments. They come nearly so from a database.
func inOrder[T any](rows []T, of func(T) moment) []T {
	compare := func(a, b T) int { return of(a).compare(of(b)) }
	if slices.IsSortedFunc(rows, compare) {
		return rows
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, compare)
	return rows
}

// cut takes the first rows for which f is true.
func cut[T any](rows []T, f func(T) bool) (first, rest []T) {
	n := 0
	for n < len(rows) && f(rows[n]) {
		n++
	}
	return rows[:n:n], rows[n:]
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
	v := &visit{reporter: r, day: startOf(dayOf(days[0].Day)), failures: failures}
	type sum struct {
		policyType string
		all, bad   int64
	}
	sums := make([]sum, 0, 4) // there are four types: a map costs more
	for _, d := range days {
		v.reports = max(v.reports, d.Reports)
		i := slices.IndexFunc(sums, func(s sum) bool { return s.policyType == d.PolicyType })
		if i < 0 {
			i, sums = len(sums), append(sums, sum{policyType: d.PolicyType})
		}
		s := &sums[i]
		s.all, s.bad = added(s.all, added(d.Successful, d.Failed)), added(s.bad, d.Failed)
	}
	for _, s := range sums {
		v.sessions, v.failed = max(v.sessions, s.all), max(v.failed, s.bad)
		if s.policyType == string(tlsrpt.PolicySTS) {
			v.stsSessions, v.stsFailed = s.all, s.bad
		}
	}
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
