package reports

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	// deleteAtOnce bounds how long others wait for a deletion.
	deleteAtOnce = 5000

	// maxAsides bounds what strangers can fill with what cannot be used; the oldest goes.
	maxAsides     = 100_000
	maxAsideBytes = 256 << 20

	// Where so much was set aside, it is looked at whether it is too much.
	someAsides     = 10_000
	someAsideBytes = 32 << 20
)

// Tidy gives up what is older than it is to be kept. It is for once an hour or so.
func (s *Store) Tidy(ctx context.Context) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	now := s.o.Now()
	// Reports are remembered for a while longer than they are taken: a repeat is never new.
	details, err := s.before(ctx, "reports", now.Add(-s.o.Keep.Details-2*ahead))
	if err != nil {
		return err
	}
	raw, err := s.before(ctx, "reports", now.Add(-s.o.Keep.Raw))
	if err != nil {
		return err
	}
	asides, err := s.before(ctx, "report_asides", now.Add(-s.o.Keep.Asides))
	if err != nil {
		return err
	}
	return errors.Join(
		s.deleteUpTo(ctx, "report_raw", "report", raw),
		s.deleteUpTo(ctx, "report_details", "report", details),
		s.deleteUpTo(ctx, "reports", "id", details),
		s.deleteUpTo(ctx, "report_asides", "id", asides),
		s.deleteAsides(ctx),
		s.deleteDays(ctx, "report_days", dayOf(now.Add(-s.o.Keep.Sums))),
		s.deleteDays(ctx, "report_failures", dayOf(now.Add(-s.o.Keep.Sums))),
	)
}

// before returns the highest id of what came before at. Ids grow with time, or nearly so.
func (s *Store) before(ctx context.Context, table string, at time.Time) (int64, error) {
	var low, high sql.NullInt64
	if err := s.db.QueryRowContext(ctx, "SELECT min(id), max(id) FROM "+table).Scan(&low, &high); err != nil {
		return 0, fmt.Errorf("reports: %w", err)
	}
	from, to := low.Int64-1, high.Int64 // all up to from came before; none after to did
	for from < to {
		middle := from + (to-from+1)/2
		var id, received int64
		err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT id, received FROM "+table+" WHERE id >= ? ORDER BY id LIMIT 1"), middle).Scan(&id, &received)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			to = middle - 1
		case err != nil:
			return 0, fmt.Errorf("reports: %w", err)
		case received < at.Unix():
			from = min(id, to)
		default:
			to = middle - 1
		}
	}
	return from, nil
}

// trimAsides looks whether what strangers fill is too much, now and then.
func (s *Store) trimAsides(ctx context.Context, all []sifted) {
	s.mu.Lock()
	for _, x := range all {
		s.asideRows += len(x.asides)
		for _, a := range x.asides {
			s.asideBytes += len(a.data)
		}
	}
	due := s.asideRows > someAsides || s.asideBytes > someAsideBytes
	if due {
		s.asideRows, s.asideBytes = 0, 0
	}
	s.mu.Unlock()
	if due {
		if err := s.deleteAsides(ctx); err != nil {
			s.o.Log.Warn("what was set aside stays for now", "err", err)
		}
	}
}

func (s *Store) deleteAsides(ctx context.Context) error {
	last, err := s.tooMuch(ctx)
	if err != nil {
		return err
	}
	return s.deleteUpTo(ctx, "report_asides", "id", last)
}

// tooMuch returns up to which id what was set aside goes, as there is too much of it.
func (s *Store) tooMuch(ctx context.Context) (int64, error) {
	var id sql.NullInt64
	err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT id FROM report_asides ORDER BY id DESC LIMIT 1 OFFSET ?"), maxAsides).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("reports: %w", err)
	}
	var bytes sql.NullInt64
	err = s.db.QueryRowContext(ctx, s.db.SQL(
		"SELECT max(id) FROM (SELECT id, sum(length(data)) OVER (ORDER BY id DESC) AS total FROM report_asides) AS t WHERE total > ?"), maxAsideBytes).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("reports: %w", err)
	}
	return max(id.Int64, bytes.Int64), nil
}

func (s *Store) deleteUpTo(ctx context.Context, table, column string, last int64) error {
	query := s.db.SQL(fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE %[2]s <= ? ORDER BY %[2]s LIMIT %[3]d)", table, column, deleteAtOnce))
	return s.delete(ctx, table, query, last)
}

func (s *Store) deleteDays(ctx context.Context, table string, before int64) error {
	// Each domain's days stand together: there is no index by day, which each report would
	// pay for, so domains are gone through.
	from := ""
	for {
		var domain string
		err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT domain FROM "+table+" WHERE domain > ? ORDER BY domain LIMIT 1"), from).Scan(&domain)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			_, err = s.db.ExecContext(ctx, s.db.SQL("DELETE FROM "+table+" WHERE domain = ? AND day < ?"), domain, before)
		}
		if err != nil {
			return fmt.Errorf("reports: giving up old sums: %w", err)
		}
		from = domain
	}
}

func (s *Store) delete(ctx context.Context, table, query string, args ...any) error {
	for {
		result, err := s.db.ExecContext(ctx, query, args...)
		if err != nil {
			return fmt.Errorf("reports: giving up what is old of %s: %w", table, err)
		}
		if n, err := result.RowsAffected(); err != nil || n < deleteAtOnce {
			return err
		}
	}
}
