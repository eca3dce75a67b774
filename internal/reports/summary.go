package reports

import (
	"context"
	"math/bits"
	"time"
)

// Summary is what the reports of a period say of a domain, beside the period of the same
// length before. Counts are of sessions where nothing else is said. Those of failures by
// kind may add up to more than the total (RFC 8460 §4).
type Summary struct {
	Domain string    `json:"domain"`
	Since  time.Time `json:"since"` // the start of the first day
	Until  time.Time `json:"until"` // the end of the last day
	Totals
	FirstSeen *time.Time `json:"first_seen"` // first day of the period that was reported on; null for none
	LastSeen  *time.Time `json:"last_seen"`

	Anomalies    []Anomaly     `json:"anomalies"`      // the worst first
	ByResultType []FailureRow  `json:"by_result_type"` // likewise
	ByMX         []FailureRow  `json:"by_mx"`          // "" for failures of which no host is said
	ByReporter   []ReporterRow `json:"by_reporter"`
	Worst        []CrossRow    `json:"worst"`
	Before       Totals        `json:"before"`
	Changes      []Change      `json:"changes"`   // none where nobody reported before
	Truncated    bool          `json:"truncated"` // rows were left out, those of least weight
}

// Totals are the sums of a period.
type Totals struct {
	Days      int   `json:"days"`      // that somebody reported on
	Reporters int   `json:"reporters"` // of them
	Reports   int64 `json:"reports"`   // at least
	Sessions  int64 `json:"sessions"`
	Failed    int64 `json:"failed"`

	// SuccessRate is the share of sessions that succeeded, from 0 to 1, rounded down: it is
	// 1 only if none failed. Null without sessions: silence is not success.
	SuccessRate *float64 `json:"success_rate"`

	// What is reported by nobody known, and counted above.
	UnauthenticatedSessions int64 `json:"unauthenticated_sessions"`
	UnauthenticatedFailed   int64 `json:"unauthenticated_failed"`

	// AlsoClaimed are reports by nobody known in the name of reporters whose own reports of
	// the day are there. They are not counted.
	AlsoClaimed int64 `json:"also_claimed"`

	// Sessions under policies of MTA-STS: what a promotion looks at.
	STSSessions int64 `json:"sts_sessions"`
	STSFailed   int64 `json:"sts_failed"`
}

// FailureRow is what failed in one way, or at one host.
type FailureRow struct {
	Name            string    `json:"name"`
	Sessions        int64     `json:"sessions"`
	Before          int64     `json:"before"`
	Reporters       int       `json:"reporters"`       // that saw it in the period
	Unauthenticated bool      `json:"unauthenticated"` // only such as nobody knows did
	FirstSeen       time.Time `json:"first_seen"`      // day; it may be one of the period before
	LastSeen        time.Time `json:"last_seen"`
}

// ReporterRow is what one reporter said.
type ReporterRow struct {
	Name          string    `json:"name"`
	Authenticated bool      `json:"authenticated"`
	Reports       int64     `json:"reports"` // at least
	Sessions      int64     `json:"sessions"`
	Failed        int64     `json:"failed"`
	Before        int64     `json:"before"`     // sessions
	FirstSeen     time.Time `json:"first_seen"` // day; it may be one of the period before
	LastSeen      time.Time `json:"last_seen"`
}

// CrossRow is what one reporter saw fail in one way at one host.
type CrossRow struct {
	ResultType    string    `json:"result_type"`
	MX            string    `json:"mx"` // "" where it is not said
	Reporter      string    `json:"reporter"`
	Authenticated bool      `json:"authenticated"`
	Sessions      int64     `json:"sessions"`
	FirstSeen     time.Time `json:"first_seen"` // day; it may be one of the period before
	LastSeen      time.Time `json:"last_seen"`
}

const (
	oneDay = 24 * time.Hour

	// maxRows bounds each list of a summary: names come from strangers.
	maxRows = 1000
)

// Summary sums up what is known of domain, from the day of since to the last one that
// begins before until.
func (s *Store) Summary(ctx context.Context, domain string, since, until time.Time) (*Summary, error) {
	p := newPeriod(since, until)
	facts, err := s.Facts(ctx, domain, p.before, p.until.Add(-oneDay))
	if err != nil {
		return nil, err
	}
	return Summarize(domain, facts, since, until), nil
}

// period is some days, and as many before them.
type period struct{ before, since, until time.Time }

func newPeriod(since, until time.Time) period {
	first, last := dayOf(since), dayOf(until.Add(-1))
	last = max(first, last)
	return period{startOf(first - (last - first + 1)), startOf(first), startOf(last + 1)}
}

// Summarize sums up the facts of domain, from the day of since to the last one that begins
// before until. Facts have to be those of these days, and of as many before them.
func Summarize(domain string, facts *Facts, since, until time.Time) *Summary {
	p := newPeriod(since, until)
	list, claims := visits(facts)
	var before, now []*visit
	for _, v := range list {
		switch {
		case v.day.Before(p.before) || !v.day.Before(p.until):
		case v.day.Before(p.since):
			before = append(before, v)
		default:
			now = append(now, v)
		}
	}
	s := &Summary{Domain: domain, Since: p.since, Until: p.until, Totals: totals(now), Before: totals(before)}
	for day, n := range claims {
		switch {
		case day.Before(p.before) || !day.Before(p.until):
		case day.Before(p.since):
			s.Before.AlsoClaimed = added(s.Before.AlsoClaimed, n)
		default:
			s.AlsoClaimed = added(s.AlsoClaimed, n)
		}
	}
	if len(now) > 0 {
		s.FirstSeen, s.LastSeen = &now[0].day, &now[len(now)-1].day
	}
	s.addRows(before, now)
	s.Anomalies = anomalies(p, before, now)
	s.truncate()
	return s
}

func totals(list []*visit) (t Totals) {
	days, reporters := map[time.Time]bool{}, map[reporter]bool{}
	for _, v := range list {
		days[v.day], reporters[v.reporter] = true, true
		t.Reports = added(t.Reports, v.reports)
		t.Sessions, t.Failed = added(t.Sessions, v.sessions), added(t.Failed, v.failed)
		t.STSSessions, t.STSFailed = added(t.STSSessions, v.stsSessions), added(t.STSFailed, v.stsFailed)
		if !v.authenticated {
			t.UnauthenticatedSessions = added(t.UnauthenticatedSessions, v.sessions)
			t.UnauthenticatedFailed = added(t.UnauthenticatedFailed, v.failed)
		}
	}
	t.Days, t.Reporters, t.SuccessRate = len(days), len(reporters), SuccessRate(t.Sessions, t.Failed)
	return t
}

// SuccessRate is the share of sessions that did not fail, rounded down so that it is 1
// only if none did; nil without sessions.
func SuccessRate(sessions, failed int64) *float64 {
	if sessions <= 0 {
		return nil
	}
	const digits = 1_000_000
	high, low := bits.Mul64(uint64(max(sessions-failed, 0)), digits) // more than 64 bits have
	millionths, _ := bits.Div64(high, low, uint64(sessions))
	rate := float64(millionths) / digits
	return &rate
}
