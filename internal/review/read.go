package review

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"mtasts-server/internal/database"
)

// pageRows is how many rows are read at a time: who reads 100,000 domains holds up nobody.
const pageRows = 2000

// Filter says which open findings; what is zero does not matter.
type Filter struct {
	Domain   string
	Severity Severity
	Owner    Owner
	Code     string
	Limit    int // at most; 0 for all
}

// Open returns findings that are open: errors first, and of these the oldest first.
func (s *Store) Open(ctx context.Context, f Filter) ([]Finding, error) {
	query, args := "SELECT "+findingColumns+" FROM review_findings WHERE closed = 0", []any(nil)
	for _, c := range []struct{ column, value string }{
		{"domain", f.Domain}, {"severity", string(f.Severity)}, {"owner", string(f.Owner)}, {"code", f.Code},
	} {
		if c.value != "" {
			query, args = query+" AND "+c.column+" = ?", append(args, c.value)
		}
	}
	query += " ORDER BY severity, first_seen, domain, code, subject" // "error" is before "warning"
	if f.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, f.Limit)
	}
	return s.findings(ctx, query, args...)
}

// Unseen returns domains that could not be looked at the last time, at most limit.
func (s *Store) Unseen(ctx context.Context, limit int) ([]string, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	return s.names(ctx, "SELECT domain FROM review_domains WHERE unknown_since > 0 AND due < ? LIMIT ?", int64(never), limit)
}

// Findings returns the findings of a domain that are open, or closed since a time: the
// newest first.
func (s *Store) Findings(ctx context.Context, domain string, since time.Time) ([]Finding, error) {
	return s.findings(ctx, "SELECT "+findingColumns+` FROM review_findings WHERE domain = ? AND (closed = 0 OR closed >= ?)
		ORDER BY first_seen DESC, code, subject`, domain, since.Unix())
}

func (s *Store) findings(ctx context.Context, query string, args ...any) ([]Finding, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, s.db, s.db, func(rows *sql.Rows) (Finding, error) {
		f, err := scanFinding(rows)
		if err != nil {
			return Finding{}, err
		}
		return f.Finding, nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("review: reading findings: %w", err)
	}
	return list, nil
}

// EachFinding goes through the findings of all domains that are open, or closed since a
// time, by domain. What ends it early is what the second one returns afterwards.
func (s *Store) EachFinding(ctx context.Context, since time.Time) (iter.Seq[Finding], func() error) {
	return pages(func(last *Finding) ([]Finding, error) {
		if last == nil {
			last = &Finding{}
		}
		return s.findings(ctx, "SELECT "+findingColumns+` FROM review_findings WHERE (domain, code, subject, first_seen) > (?, ?, ?, ?)
			AND (closed = 0 OR closed >= ?) ORDER BY domain, code, subject, first_seen LIMIT ?`,
			last.Domain, last.Code, last.Subject, unix(last.FirstSeen), since.Unix(), pageRows)
	})
}

// EachState goes through all states, by domain. What ends it early is what the second one
// returns afterwards.
func (s *Store) EachState(ctx context.Context) (iter.Seq[State], func() error) {
	all, fail := s.each(ctx)
	return func(yield func(State) bool) {
		for m := range all {
			if !yield(m.State) {
				return
			}
		}
	}, fail
}

func (s *Store) each(ctx context.Context) (iter.Seq[*memory], func() error) {
	return pages(func(last **memory) ([]*memory, error) {
		after := ""
		if last != nil {
			after = (*last).Domain
		}
		return s.states(ctx, "SELECT "+stateColumns+" FROM review_domains WHERE domain > ? ORDER BY domain LIMIT ?", after, pageRows)
	})
}

// pages goes through what next returns, page by page, until it returns nothing.
func pages[T any](next func(last *T) ([]T, error)) (iter.Seq[T], func() error) {
	var err error
	return func(yield func(T) bool) {
		var page []T
		var last *T
		for {
			if page, err = next(last); err != nil || len(page) == 0 {
				return
			}
			for i := range page {
				if !yield(page[i]) {
					return
				}
			}
			last = &page[len(page)-1]
		}
	}, func() error { return err }
}

// Count is how many findings are open of a kind.
type Count struct {
	Severity Severity
	Code     string
	Open     int
}

// Counts counts the open findings of all domains.
func (s *Store) Counts(ctx context.Context) ([]Count, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	list, err := database.List(ctx, s.db, s.db, func(rows *sql.Rows) (c Count, err error) {
		err = rows.Scan(&c.Severity, &c.Code, &c.Open)
		return c, err
	}, "SELECT severity, code, count(*) FROM review_findings WHERE closed = 0 GROUP BY severity, code ORDER BY severity, code")
	if err != nil {
		return nil, fmt.Errorf("review: counting findings: %w", err)
	}
	return list, nil
}

// overdue counts the domains that were to be looked at before a time.
func (s *Store) overdue(ctx context.Context, before time.Time) (n int, err error) {
	if err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT count(*) FROM review_domains WHERE due <= ?"), before.Unix()).Scan(&n); err != nil {
		return 0, fmt.Errorf("review: counting domains: %w", err)
	}
	return n, nil
}
