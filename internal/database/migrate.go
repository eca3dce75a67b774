package database

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// migrationLock is the number by which those who bring one PostgreSQL up to date wait for
// each other; any number that nobody else takes.
const migrationLock = 8461_8460

// Migrate brings the tables of room up to date; where this process has done so it costs
// nothing. steps has a directory "steps" of files whose names sort in their order, each a few statements that end with a semicolon at the end of a line; a step
// that was taken once must never change. So that one text does for both databases, four
// words stand for what they say differently: $ID, $BYTES, $CLUSTERED, and $NAME for texts
// whose order is that of their bytes.
//
// A database that a newer program has been at is left alone: that is an error.
func (db *DB) Migrate(ctx context.Context, room string, steps fs.FS) error {
	if _, done := db.migrated.Load(room); done {
		return nil
	}
	select {
	case db.migrating <- struct{}{}: // one at a time: tables are made once
		defer func() { <-db.migrating }()
	case <-ctx.Done():
		return fmt.Errorf("database: its tables of %s are being made: %w", room, ctx.Err())
	}
	if err := db.migrate(ctx, room, steps); err != nil {
		return err
	}
	db.migrated.Store(room, true)
	return nil
}

func (db *DB) migrate(ctx context.Context, room string, steps fs.FS) error {
	files, err := fs.Glob(steps, "steps/*.sql")
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	have, err := db.version(ctx, room)
	if err == nil && have == len(files) {
		return nil
	}
	return db.Write(ctx, func(tx *sql.Tx) error {
		if db.postgres {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
				return fmt.Errorf("database: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_steps (room TEXT NOT NULL, step INTEGER NOT NULL, file TEXT NOT NULL, PRIMARY KEY (room, step))"); err != nil {
			return fmt.Errorf("database: %w", err)
		}
		return db.take(ctx, tx, room, steps, files)
	})
}

// version returns how many steps were taken; an error where none was ever.
func (db *DB) version(ctx context.Context, room string) (n int, err error) {
	err = db.QueryRowContext(ctx, db.SQL("SELECT count(*) FROM schema_steps WHERE room = ?"), room).Scan(&n)
	return n, err
}

func (db *DB) take(ctx context.Context, tx *sql.Tx, room string, steps fs.FS, files []string) error {
	var have int
	if err := tx.QueryRowContext(ctx, db.SQL("SELECT count(*) FROM schema_steps WHERE room = ?"), room).Scan(&have); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if have > len(files) {
		return fmt.Errorf("database: its tables of %s are of step %d, made by a newer program; this one knows %d: run the newer one, or restore a backup of before", room, have, len(files))
	}
	for i, file := range files[have:] {
		text, err := fs.ReadFile(steps, file)
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
		for statement := range strings.SplitSeq(db.words(string(text)), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("database: step %s of %s: %w", path.Base(file), room, err)
			}
		}
		if _, err := tx.ExecContext(ctx, db.SQL("INSERT INTO schema_steps (room, step, file) VALUES (?, ?, ?)"), room, have+i+1, path.Base(file)); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	return nil
}

func (db *DB) words(text string) string {
	if db.postgres {
		return strings.NewReplacer("$ID", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "$BYTES", "BYTEA", "$NAME", `TEXT COLLATE "C"`, " $CLUSTERED", "").Replace(text)
	}
	// AUTOINCREMENT: the id of what was deleted is not given again.
	return strings.NewReplacer("$ID", "INTEGER PRIMARY KEY AUTOINCREMENT", "$BYTES", "BLOB", "$NAME", "TEXT", "$CLUSTERED", "WITHOUT ROWID").Replace(text)
}
