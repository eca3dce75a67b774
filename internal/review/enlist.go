package review

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// keepClosed is how long closed findings and MX sets are remembered: as long as the sums of
	// reports, so that a year can be compared with the one before.
	keepClosed = 730 * 24 * time.Hour

	// goneAfter is for how long nobody may have looked at a domain that is not configured
	// here until it is given up. Another process may have a newer configuration.
	goneAfter = 2 * 24 * time.Hour

	// manyNew domains make PostgreSQL's idea of the table, that it is empty, a bad one: until it
	// looks by itself it would read all of it each time.
	manyNew = 1000
)

// enlist puts domains on the schedule, those that are not yet: some time within window.
func (s *Store) enlist(ctx context.Context, domains []string, window time.Duration) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	domains = slices.Sorted(slices.Values(domains))
	if err := s.enlistAll(ctx, domains, window); err != nil {
		return err
	}
	if s.db.Postgres() && len(domains) > manyNew {
		if _, err := s.db.ExecContext(ctx, "ANALYZE review_domains"); err != nil {
			return fmt.Errorf("review: %w", err)
		}
	}
	return nil
}

func (s *Store) enlistAll(ctx context.Context, domains []string, window time.Duration) error {
	now := s.now()
	defer s.lock()()
	return s.db.Write(ctx, func(tx *sql.Tx) error {
		r := &recorder{ctx, tx, s.db, now}
		var rows [][]any
		for _, d := range domains {
			if storable(d) {
				at := now.Add(time.Duration(spread(d, 0) * float64(window)))
				rows = append(rows, []any{d, at.Unix(), int(usual), 0, 0, 0, now.Unix(), 0, "[]"})
			}
		}
		return r.rows("review_domains", stateColumns, fmt.Sprintf("ON CONFLICT (domain) DO UPDATE SET due = excluded.due, lane = excluded.lane WHERE review_domains.due = %d", int64(never)), rows)
	})
}

// Tidy gives up what is older than it is to be kept, and closes what is open of domains
// that are not configured any more: known says which are. It is for once an hour or so.
func (s *Store) Tidy(ctx context.Context, known func(domain string) bool) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	old := s.now().Add(-keepClosed).Unix()
	_, err := s.db.ExecContext(ctx, s.db.SQL("DELETE FROM review_findings WHERE closed > 0 AND closed < ?"), old)
	_, err2 := s.db.ExecContext(ctx, s.db.SQL("DELETE FROM review_domains WHERE due = ? AND looked < ? AND changed < ?"), int64(never), old, old)
	now := s.now()
	_, err3 := s.db.ExecContext(ctx, s.db.SQL("UPDATE review_domains SET due = ? WHERE due > ? AND due < ?"), now.Unix(), now.Add(farOff).Unix(), int64(never))
	if err := errors.Join(err, err2, err3); err != nil {
		return fmt.Errorf("review: %w", err)
	}
	return errors.Join(s.retire(ctx, known), s.trimMX(ctx))
}

// retire closes what is open of domains that are gone, and takes them off the schedule.
func (s *Store) retire(ctx context.Context, known func(string) bool) error {
	var gone []string
	now := s.now()
	all, fail := s.each(ctx)
	for m := range all {
		last := slices.MaxFunc([]time.Time{m.Looked, m.UnknownSince, m.changed}, time.Time.Compare)
		if !known(m.Domain) && now.Sub(last) > goneAfter {
			gone = append(gone, m.Domain)
		}
	}
	if err := fail(); err != nil {
		return err
	}
	for group := range slices.Chunk(gone, atOnce) {
		if err := s.retireGroup(ctx, group, now); err != nil {
			return fmt.Errorf("review: giving up domains: %w", err)
		}
	}
	return nil
}

func (s *Store) retireGroup(ctx context.Context, group []string, now time.Time) error {
	args := make([]any, len(group))
	for i, d := range group {
		args[i] = d
	}
	in := " domain IN (" + marks(len(group)) + ")"
	return s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, s.db.SQL("UPDATE review_domains SET due = ?, changed = ? WHERE due < ? AND"+in),
			append([]any{int64(never), now.Unix(), int64(never)}, args...)...)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, s.db.SQL("UPDATE review_findings SET closed = ? WHERE closed = 0 AND"+in), append([]any{now.Unix()}, args...)...)
		return err
	})
}

// trimMX gives up MX sets that were replaced long ago.
func (s *Store) trimMX(ctx context.Context) error {
	old := s.now().Add(-keepClosed)
	states, fail := s.EachState(ctx)
	for state := range states {
		n := slices.IndexFunc(state.MX, func(set MXSet) bool { return !set.Since.Before(old) })
		if n < 0 {
			n = len(state.MX)
		}
		if n < 2 { // the set before the first one of late was there until then
			continue
		}
		if err := s.dropMX(ctx, state.Domain, n-1); err != nil {
			return fmt.Errorf("review: old MX sets of %q: %w", state.Domain, err)
		}
	}
	return fail()
}

func (s *Store) dropMX(ctx context.Context, domain string, n int) error {
	return s.db.Write(ctx, func(tx *sql.Tx) error {
		r := &recorder{ctx, tx, s.db, s.now()}
		memories, dues := map[string]*memory{}, map[string]due{}
		if err := r.loadStates([]any{domain}, memories, dues); err != nil || memories[domain] == nil {
			return err
		}
		m := memories[domain]
		m.MX = m.MX[min(n, len(m.MX)-1):]
		row, err := stateRow(m, dues[domain])
		if err != nil {
			return err
		}
		return r.rows("review_domains", stateColumns, "ON CONFLICT (domain) DO UPDATE SET "+excluded(stateColumns), [][]any{row})
	})
}

// enlisted returns all domains on the schedule.
func (s *Store) enlisted(ctx context.Context) (map[string]bool, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	all := map[string]bool{}
	list, err := s.names(ctx, "SELECT domain FROM review_domains WHERE due < ?", int64(never))
	for _, d := range list {
		all[strings.Clone(d)] = true
	}
	return all, err
}
