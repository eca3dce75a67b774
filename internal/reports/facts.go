package reports

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"mtasts-server/internal/database"
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
	dayColumns     = "domain, day, submitter, authenticated, policy_type, policy, reports, successful, failed"
	dayOrder       = "domain, day, submitter, authenticated, policy_type, policy"
	failureColumns = "domain, day, submitter, authenticated, policy_type, result_type, mx, sessions"
	failureOrder   = "domain, day, submitter, authenticated, policy_type, result_type, mx"
)

// Facts returns the sums of domain, of the days from first to last.
func (s *Store) Facts(ctx context.Context, domain string, first, last time.Time) (*Facts, error) {
	facts := &Facts{}
	err := s.facts(ctx, "domain = ? AND day BETWEEN ? AND ?", []any{domain, dayOf(first), dayOf(last)}, func(_ string, f *Facts) error {
		facts = f
		return nil
	})
	return facts, err
}

func startOf(day int64) time.Time { return time.Unix(day*86400, 0).UTC() }

// EachFacts calls f with the sums of each domain that has any, of the days from first to
// last, in the order of domains. It holds one domain's in memory at a time.
func (s *Store) EachFacts(ctx context.Context, first, last time.Time, f func(domain string, facts *Facts) error) error {
	return s.facts(ctx, "day BETWEEN ? AND ?", []any{dayOf(first), dayOf(last)}, f)
}

func (s *Store) facts(ctx context.Context, where string, args []any, f func(domain string, facts *Facts) error) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	days, err := query(ctx, s.db, "SELECT "+dayColumns+" FROM report_days WHERE "+where+" ORDER BY "+dayOrder, args, scanDay)
	if err != nil {
		return err
	}
	defer days.rows.Close()
	failures, err := query(ctx, s.db, "SELECT "+failureColumns+" FROM report_failures WHERE "+where+" ORDER BY "+failureOrder, args, scanFailures)
	if err != nil {
		return err
	}
	defer failures.rows.Close()
	for {
		domain, err := days.domain()
		if err != nil || domain == "" {
			return err // a domain with failures has days
		}
		facts := &Facts{}
		if facts.Days, err = days.take(domain); err != nil {
			return err
		}
		if facts.Failures, err = failures.take(domain); err != nil {
			return err
		}
		if err := f(domain, facts); err != nil {
			return err
		}
	}
}

func query[T any](ctx context.Context, db *database.DB, text string, args []any, scan func(*sql.Rows) (string, T, error)) (*cursor[T], error) {
	rows, err := db.QueryContext(ctx, db.SQL(text), args...)
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return &cursor[T]{rows: rows, scan: scan}, nil
}

// cursor reads rows of domains, one domain after the other.
type cursor[T any] struct {
	rows  *sql.Rows
	scan  func(*sql.Rows) (string, T, error)
	ahead bool // next is read and not taken
	of    string
	next  T
}

// domain returns the domain of the next row; "" at the end.
func (c *cursor[T]) domain() (string, error) {
	if c.ahead {
		return c.of, nil
	}
	if !c.rows.Next() {
		if err := c.rows.Err(); err != nil {
			return "", fmt.Errorf("reports: %w", err)
		}
		return "", nil
	}
	var err error
	if c.of, c.next, err = c.scan(c.rows); err != nil {
		return "", fmt.Errorf("reports: %w", err)
	}
	c.ahead = true
	return c.of, nil
}

// take reads all rows of domain, and passes over those of domains before it.
func (c *cursor[T]) take(domain string) (all []T, err error) {
	for {
		of, err := c.domain()
		if err != nil || of == "" || of > domain {
			return all, err
		}
		if of == domain {
			all = append(all, c.next)
		}
		c.ahead = false
	}
}

func scanDay(rows *sql.Rows) (domain string, d Day, err error) {
	var day, authenticated int64
	err = rows.Scan(&domain, &day, &d.Submitter, &authenticated, &d.PolicyType, &d.Policy, &d.Reports, &d.Successful, &d.Failed)
	d.Day, d.Authenticated = startOf(day), authenticated == 1
	return domain, d, err
}

func scanFailures(rows *sql.Rows) (domain string, x Failures, err error) {
	var day, authenticated int64
	err = rows.Scan(&domain, &day, &x.Submitter, &authenticated, &x.PolicyType, &x.ResultType, &x.MX, &x.Sessions)
	x.Day, x.Authenticated = startOf(day), authenticated == 1
	return domain, x, err
}
