// Package database opens the embedded database or a shared one, and brings its tables
// up to date. It knows no table's meaning.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

const (
	// busyFor is how long one process waits while another writes to the embedded database:
	// an import commits each few thousand reports.
	busyFor = 20 * time.Second

	// connections at most: one writes, and a few answer people.
	connections = 8

	// cacheSize is how much of the embedded database each connection keeps in memory.
	cacheSize = 16 << 20
)

// Options say which database to open.
type Options struct {
	// URL of a shared PostgreSQL, "postgres://..."; "" for the embedded SQLite in File.
	URL  string
	File string
}

// DB is an open database. Its methods may be called from any goroutine.
type DB struct {
	*sql.DB
	postgres bool
	path     string      // of the file, where it is embedded
	file     fs.FileInfo // what was opened there

	migrated  sync.Map      // rooms whose tables are up to date
	migrating chan struct{} // has a value while somebody sees to that
}

// Open prepares the use of a database. It does not wait for a shared one: whether that
// answers is seen when it is asked.
func Open(o Options) (*DB, error) {
	if o.URL == "" {
		return openFile(o.File)
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New(`database: want a URL "postgres://user@host/name"`) // what there is may hold a password
	}
	db, err := sql.Open("pgx", o.URL)
	if err != nil {
		return nil, errors.New("database: the URL of PostgreSQL cannot be read; see the manual of libpq for its form")
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxLifetime(time.Hour) // behind a name that leads elsewhere one day
	return &DB{DB: db, postgres: true, migrating: make(chan struct{}, 1)}, nil
}

func openFile(file string) (*DB, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	// What it holds is private: made before SQLite makes it for everybody.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	fi, err := f.Stat()
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(" + strconv.FormatInt(busyFor.Milliseconds(), 10) + ")",
		"journal_mode(WAL)",
		"synchronous(FULL)", // what is committed survives a power cut: the spool lets go of it then
		"cache_size(-" + strconv.Itoa(cacheSize>>10) + ")",
		"journal_size_limit(67108864)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", file, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(2)
	return &DB{DB: db, path: file, file: fi, migrating: make(chan struct{}, 1)}, nil
}

// Postgres reports whether it is a shared PostgreSQL.
func (db *DB) Postgres() bool { return db.postgres }

// SQL returns a statement, written with "?" for its arguments, in the words of this
// database. No "?" may stand in a text.
func (db *DB) SQL(statement string) string {
	if !db.postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(statement, "?") {
		if n > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// Write has f make changes that are all made, or none. Several processes may do so at a
// time; they wait for each other where they must.
func (db *DB) Write(ctx context.Context, f func(*sql.Tx) error) (err error) {
	defer func() {
		if end := ctx.Err(); err != nil && end != nil && !errors.Is(err, end) { // as that the connection is bad, or the transaction over
			err = fmt.Errorf("%w: %w", end, err)
		}
	}()
	if err := db.replaced(); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return db.replaced()
}

// replaced returns an error where the file is gone, or another one stands in its place:
// what is written then would be in a file that nobody finds again.
func (db *DB) replaced() error {
	if db.postgres {
		return nil
	}
	switch fi, err := os.Stat(db.path); {
	case err != nil:
		return fmt.Errorf("database: it was removed while in use: %w", err)
	case !os.SameFile(fi, db.file):
		return fmt.Errorf("database: %q was replaced while in use: start the server anew", db.path)
	}
	return nil
}

const (
	// again is how often changes are tried that others got in the way of.
	again = 10

	// asideFor is how long the one that was given up lets the other go first, at most, times
	// how often it was: at once they would only meet again.
	asideFor = 100 * time.Millisecond
)

// WriteAgain is Write for changes that others may make at the same time: where the database
// finds that two wait for each other, it gives one up, and that one is tried again. So f may
// be called several times, and must not remember anything of a call before.
func (db *DB) WriteAgain(ctx context.Context, f func(*sql.Tx) error) error {
	for n := 1; ; n++ {
		err := db.Write(ctx, f)
		var refused *pgconn.PgError
		if n == again || !errors.As(err, &refused) || refused.Code != deadlockDetected && refused.Code != serializationFailure {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Duration(n) * asideFor)):
		}
	}
}

// PostgreSQL's words for it: deadlock_detected and serialization_failure.
const (
	deadlockDetected     = "40P01"
	serializationFailure = "40001"
)

// Asker is a database, or a transaction of one.
type Asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// List returns what a query yields, each row as scan reads it. The statement is written as
// for SQL.
func List[T any](ctx context.Context, db *DB, from Asker, scan func(*sql.Rows) (T, error), statement string, args ...any) ([]T, error) {
	rows, err := from.QueryContext(ctx, db.SQL(statement), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// Size returns how many bytes the database takes on disk.
func (db *DB) Size(ctx context.Context) (int64, error) {
	query := "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
	if db.postgres {
		query = "SELECT pg_database_size(current_database())"
	}
	var n int64
	if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("database: %w", err)
	}
	return n, nil
}
