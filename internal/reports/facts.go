package reports

import (
	"context"
	"fmt"
	"time"
)

// Day is what one submitter reported of a domain for one day, under one policy.
type Day struct {
	Day           time.Time // its start, UTC
	Submitter     string
	Authenticated bool
	PolicyType    string // "sts", "tlsa", "no-policy-found" or "other"
	Policy        string // id of the MTA-STS policy that it saw; "" where it does not say
	Reports       int64
	Successful    int64 // sessions
	Failed        int64 // sessions
}

// Failures are sessions of a day that failed in one way.
type Failures struct {
	Day           time.Time
	Submitter     string
	Authenticated bool
	PolicyType    string
	ResultType    string // of RFC 8460 §4.3, or "other"
	MX            string // "" where it is not said
	Sessions      int64
}

// Facts are the sums of a domain's reports, in the order of days. Reports of submitters that
// were authenticated and of those that only say so are told apart, and so are policy types:
// one session may stand under several, so these must not be added.
type Facts struct {
	Days     []Day
	Failures []Failures
}

// Facts returns the sums of domain, of the days from first to last.
func (s *Store) Facts(ctx context.Context, domain string, first, last time.Time) (*Facts, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	f := &Facts{}
	rows, err := s.db.QueryContext(ctx, s.db.SQL(`SELECT day, submitter, authenticated, policy_type, policy, reports, successful, failed
		FROM report_days WHERE domain = ? AND day BETWEEN ? AND ? ORDER BY day, submitter, authenticated, policy_type, policy`), domain, dayOf(first), dayOf(last))
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d Day
		var day, authenticated int64
		if err := rows.Scan(&day, &d.Submitter, &authenticated, &d.PolicyType, &d.Policy, &d.Reports, &d.Successful, &d.Failed); err != nil {
			return nil, fmt.Errorf("reports: %w", err)
		}
		d.Day, d.Authenticated = startOf(day), authenticated == 1
		f.Days = append(f.Days, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return f, s.failures(ctx, f, domain, first, last)
}

func (s *Store) failures(ctx context.Context, f *Facts, domain string, first, last time.Time) error {
	rows, err := s.db.QueryContext(ctx, s.db.SQL(`SELECT day, submitter, authenticated, policy_type, result_type, mx, sessions
		FROM report_failures WHERE domain = ? AND day BETWEEN ? AND ? ORDER BY day, submitter, authenticated, policy_type, result_type, mx`), domain, dayOf(first), dayOf(last))
	if err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var x Failures
		var day, authenticated int64
		if err := rows.Scan(&day, &x.Submitter, &authenticated, &x.PolicyType, &x.ResultType, &x.MX, &x.Sessions); err != nil {
			return fmt.Errorf("reports: %w", err)
		}
		x.Day, x.Authenticated = startOf(day), authenticated == 1
		f.Failures = append(f.Failures, x)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reports: %w", err)
	}
	return nil
}

func startOf(day int64) time.Time { return time.Unix(day*86400, 0).UTC() }
