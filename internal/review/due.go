package review

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"mtasts-server/internal/database"
)

// lane is a queue of domains: what hangs in one of them does not hold up the others.
type lane int

const (
	urgent lane = iota // touched, or something may be lost
	usual
	slow // nobody answered the last time, which takes a while
)

// claim takes at most n domains of a lane that are due, the longest first, and has them
// be due again when lease is over: no other process takes them meanwhile, and if this one
// dies another one does then.
func (s *Store) claim(ctx context.Context, l lane, n int, lease time.Duration) ([]string, error) {
	now := s.now()
	due := "SELECT domain FROM review_domains WHERE lane = ? AND due <= ? ORDER BY due LIMIT ?"
	// Most often nothing is due; to find that out takes no lock.
	list, err := s.names(ctx, due, int(l), now.Unix(), n)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	defer s.lock()()
	claim := "UPDATE review_domains SET due = ? WHERE domain IN (" + due + ") RETURNING domain"
	args := []any{now.Add(lease).Unix(), int(l), now.Unix(), n}
	if s.db.Postgres() {
		// Processes do not wait for each other; SQLite has one writer at a time. By an array it
		// does not read the whole table, for whatever it expects of the limit, and takes it once.
		claim = "UPDATE review_domains SET due = ? WHERE domain = ANY (ARRAY(" + due + " FOR UPDATE SKIP LOCKED)) RETURNING domain"
	}
	return s.names(ctx, claim, args...)
}

func (s *Store) names(ctx context.Context, query string, args ...any) ([]string, error) {
	list, err := database.List(ctx, s.db, s.db, scanName, query, args...)
	if err != nil {
		return nil, fmt.Errorf("review: %w", err)
	}
	return list, nil
}

func scanName(rows *sql.Rows) (name string, err error) {
	err = rows.Scan(&name)
	return name, err
}

// nextDue is when the first domain is due.
func (s *Store) nextDue(ctx context.Context) (time.Time, error) {
	at := int64(never)
	for _, l := range []lane{urgent, usual, slow} { // one after the other: each is the first of an index
		var first sql.NullInt64
		if err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT min(due) FROM review_domains WHERE lane = ?"), int(l)).Scan(&first); err != nil {
			return time.Time{}, fmt.Errorf("review: %w", err)
		}
		if first.Valid {
			at = min(at, first.Int64)
		}
	}
	return time.Unix(at, 0), nil
}

// touch has domains be due at a time, or when they are before that.
func (s *Store) touch(ctx context.Context, domains []string, at time.Time) error {
	return s.setDue(ctx, "UPDATE review_domains SET lane = 0, due = CASE WHEN due < ? THEN due ELSE ? END WHERE domain IN ", domains, at, at)
}

// postpone has domains be due later that are not to be looked at now.
func (s *Store) postpone(ctx context.Context, domains []string, until time.Time) error {
	return s.setDue(ctx, "UPDATE review_domains SET due = ? WHERE domain IN ", domains, until)
}

func (s *Store) setDue(ctx context.Context, query string, domains []string, times ...time.Time) error {
	defer s.lock()()
	for group := range slices.Chunk(domains, atOnce) {
		var args []any
		for _, at := range times {
			args = append(args, at.Unix())
		}
		for _, d := range group {
			args = append(args, d)
		}
		if _, err := s.db.ExecContext(ctx, s.db.SQL(query+"("+marks(len(group))+")"), args...); err != nil {
			return fmt.Errorf("review: %w", err)
		}
	}
	return nil
}

// spread is a number from 0 to 1 that a name has by chance, and keeps.
func spread(name string, salt int64) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", name, salt)
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd // FNV alone leaves names that differ in their last letter close together
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}
