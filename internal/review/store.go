package review

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"mtasts-server/internal/database"
)

//go:embed steps/*.sql
var stepFiles embed.FS

// StoreOptions are what a Store needs; both are required.
type StoreOptions struct {
	DB  *database.DB
	Now func() time.Time
}

// Store remembers findings and states of domains. Its methods may be called from any
// goroutine, and by several processes on one database.
type Store struct {
	db  *database.DB
	now func() time.Time

	// writing is held by who writes to SQLite. Its own way to wait for another one is to
	// sleep, and to look again; that is for other processes.
	writing sync.Mutex
}

// NewStore returns a store. It does not wait for the database.
func NewStore(o StoreOptions) (*Store, error) {
	if o.DB == nil || o.Now == nil {
		return nil, errors.New("review: an option of the store is missing")
	}
	return &Store{db: o.DB, now: o.Now}, nil
}

// Prepare brings the tables up to date. What needs them does so by itself.
func (s *Store) Prepare(ctx context.Context) error {
	if err := s.db.Migrate(ctx, "review", stepFiles); err != nil {
		return fmt.Errorf("review: %w", err)
	}
	return nil
}

// Seen is a look at a domain that is to be remembered.
type Seen struct {
	Domain string
	Look   Look

	next func(*memory) time.Time // when to look again, after this one; nil leaves it as it is
	lane func(*memory) lane
}

// Record remembers what a look saw. A look that is older than the last one changes nothing.
func (s *Store) Record(ctx context.Context, domain string, l Look) (Changes, error) {
	all, err := s.RecordAll(ctx, []Seen{{Domain: domain, Look: l}})
	if err != nil {
		return Changes{}, err
	}
	return all[0], nil
}

// RecordAll remembers looks at different domains: all of them, or with an error none. What
// it returns is in their order.
func (s *Store) RecordAll(ctx context.Context, all []Seen) ([]Changes, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	var changes []Changes
	defer s.lock()()
	err := s.db.WriteAgain(ctx, func(tx *sql.Tx) (err error) {
		if s.db.Postgres() {
			// A plan that was made while a table was small, and kept, reads all of it later.
			if _, err := tx.ExecContext(ctx, "SET LOCAL plan_cache_mode = force_custom_plan"); err != nil {
				return err
			}
		}
		changes, err = (&recorder{ctx, tx, s.db, s.now()}).record(all)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("review: storing looks: %w", err)
	}
	return changes, nil
}

// lock waits for the other writers of this process, where that is better, and returns what
// lets the next one in.
func (s *Store) lock() (unlock func()) {
	if s.db.Postgres() {
		return func() {}
	}
	s.writing.Lock()
	return s.writing.Unlock
}

// unix is how times are stored: seconds, and 0 for none.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func fromUnix(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}
