package reports

import (
	"context"
	"database/sql"
	"errors"
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

const (
	dayColumns     = "day, submitter, authenticated, policy_type, policy, reports, successful, failed"
	dayOrder       = "day, submitter, authenticated, policy_type, policy"
	failureColumns = "day, submitter, authenticated, policy_type, result_type, mx, sessions"
	failureOrder   = "day, submitter, authenticated, policy_type, result_type, mx"
)

// Since is when the first report came that is kept still; zero where there is none. Before
// that nobody can tell whether senders were silent: the database is new, or was lost.
func (s *Store) Since(ctx context.Context) (time.Time, error) {
	if err := s.Prepare(ctx); err != nil {
		return time.Time{}, err
	}
	var at int64
	switch err := s.db.QueryRowContext(ctx, "SELECT received FROM reports ORDER BY id LIMIT 1").Scan(&at); {
	case errors.Is(err, sql.ErrNoRows):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("reports: %w", err)
	}
	return time.Unix(at, 0).UTC(), nil
}

// EachFacts calls f with the sums of each domain that has any, of the days from first to
// last, in the order of domains. It holds one domain's in memory at a time, and no
// transaction while f runs.
func (s *Store) EachFacts(ctx context.Context, first, last time.Time, f func(domain string, facts *Facts) error) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	// Each domain's days stand together, and there are years of them: to go through domains
	// costs less than to read it all.
	next := s.db.SQL("SELECT domain FROM report_days WHERE domain > ? ORDER BY domain LIMIT 1")
	for domain := ""; ; {
		err := s.db.QueryRowContext(ctx, next, domain).Scan(&domain)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reports: %w", err)
		}
		facts, err := s.Facts(ctx, domain, first, last)
		if err != nil {
			return err
		}
		if len(facts.Days) == 0 {
			continue
		}
		if err := f(domain, facts); err != nil {
			return err
		}
	}
}

const ofDomain = " WHERE domain = ? AND day BETWEEN ? AND ? ORDER BY "

// Facts returns the sums of domain, of the days from first to last.
func (s *Store) Facts(ctx context.Context, domain string, first, last time.Time) (*Facts, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	args := []any{domain, dayOf(first), dayOf(last)}
	days, err := list(ctx, s, scanDay, "SELECT "+dayColumns+" FROM report_days"+ofDomain+dayOrder, args...)
	if err != nil {
		return nil, err
	}
	failures, err := list(ctx, s, scanFailures, "SELECT "+failureColumns+" FROM report_failures"+ofDomain+failureOrder, args...)
	return &Facts{days, failures}, err
}

func startOf(day int64) time.Time { return time.Unix(day*86400, 0).UTC() }

func scanDay(rows *sql.Rows) (d Day, err error) {
	var day, authenticated int64
	err = rows.Scan(&day, &d.Submitter, &authenticated, &d.PolicyType, &d.Policy, &d.Reports, &d.Successful, &d.Failed)
	d.Day, d.Authenticated = startOf(day), authenticated == 1
	return d, err
}

func scanFailures(rows *sql.Rows) (x Failures, err error) {
	var day, authenticated int64
	err = rows.Scan(&day, &x.Submitter, &authenticated, &x.PolicyType, &x.ResultType, &x.MX, &x.Sessions)
	x.Day, x.Authenticated = startOf(day), authenticated == 1
	return x, err
}
