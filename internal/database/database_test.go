package database_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

var steps = fstest.MapFS{
	"steps/1-first.sql":  {Data: []byte("CREATE TABLE things (id $ID, name TEXT NOT NULL UNIQUE, data $BYTES);\nCREATE TABLE sums (name TEXT PRIMARY KEY, n BIGINT NOT NULL) $CLUSTERED;\n")},
	"steps/2-second.sql": {Data: []byte("ALTER TABLE things ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';\n")},
}

func open(t *testing.T, o database.Options) *database.DB {
	t.Helper()
	db, err := database.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMigrate(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		ctx := t.Context()
		db := open(t, o)
		if err := db.Migrate(ctx, "things", fstest.MapFS{"steps/1-first.sql": steps["steps/1-first.sql"]}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(db.SQL("INSERT INTO things (name, data) VALUES (?, ?)"), "a", []byte{0, 1}); err != nil {
			t.Fatal(err)
		}
		// A newer program comes, in several processes at a time.
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				other, err := database.Open(o)
				if err == nil {
					defer other.Close()
					err = other.Migrate(ctx, "things", steps)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var colour string
		var data []byte
		if err := db.QueryRow("SELECT colour, data FROM things").Scan(&colour, &data); err != nil || colour != "red" || string(data) != "\x00\x01" {
			t.Errorf("colour %q, data %q, error %v", colour, data, err)
		}
		// And the older one is started again.
		err := open(t, o).Migrate(ctx, "things", fstest.MapFS{"steps/1-first.sql": steps["steps/1-first.sql"]})
		if err == nil || !strings.Contains(err.Error(), "made by a newer program") {
			t.Errorf("the older program: %v", err)
		}
	})
}

func TestMigrateAllOrNothing(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		broken := fstest.MapFS{"steps/1.sql": {Data: []byte("CREATE TABLE a (x INTEGER);\nCREATE TABEL b (x INTEGER);\n")}}
		if err := db.Migrate(t.Context(), "room", broken); err == nil || !strings.Contains(err.Error(), "step 1.sql of room") {
			t.Fatalf("error %v", err)
		}
		if _, err := db.Exec("SELECT x FROM a"); err == nil {
			t.Error("half of a step was taken")
		}
		broken["steps/1.sql"].Data = []byte("CREATE TABLE a (x INTEGER);\n")
		if err := db.Migrate(t.Context(), "room", broken); err != nil {
			t.Error(err)
		}
	})
}

func TestWrite(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		ctx := t.Context()
		db := open(t, o)
		if err := db.Migrate(ctx, "things", steps); err != nil {
			t.Fatal(err)
		}
		add := func(db *database.DB, then error) error {
			return db.Write(ctx, func(tx *sql.Tx) error {
				_, err := tx.Exec(db.SQL("INSERT INTO sums (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = sums.n + excluded.n"), "x", 1)
				return errors.Join(err, then)
			})
		}
		if err := add(db, errors.New("no")); err == nil {
			t.Error("no error")
		}
		// Several processes, each with several writers.
		var wg sync.WaitGroup
		for range 3 {
			other := open(t, o)
			for range 3 {
				wg.Go(func() {
					for range 20 {
						if err := add(other, nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		wg.Wait()
		var n int
		if err := db.QueryRow("SELECT n FROM sums").Scan(&n); err != nil || n != 180 {
			t.Errorf("n = %d, error %v, want 180", n, err)
		}
		if size, err := db.Size(ctx); err != nil || size < 8192 {
			t.Errorf("size %d, error %v", size, err)
		}
	})
}

// What is written to a file that was removed, or that another one stands in the place of,
// would be lost without a word.
func TestFileReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "things.db")
	db := open(t, database.Options{File: file})
	if err := db.Migrate(t.Context(), "things", steps); err != nil {
		t.Fatal(err)
	}
	add := func(db *database.DB) error {
		return db.Write(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec("INSERT INTO sums (name, n) VALUES ('x', 1) ON CONFLICT (name) DO UPDATE SET n = n + 1")
			return err
		})
	}
	if err := add(db); err != nil {
		t.Fatal(err)
	}
	for old, now := range map[string]string{file: file + ".old", file + "-wal": file + ".old-wal", file + "-shm": file + ".old-shm"} {
		if err := os.Rename(old, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(db); err == nil || !strings.Contains(err.Error(), "removed while in use") {
		t.Errorf("error %v", err)
	}
	other := open(t, database.Options{File: file})
	if err := add(db); err == nil || !strings.Contains(err.Error(), "replaced while in use") {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(other.Migrate(t.Context(), "things", steps), add(other)); err != nil {
		t.Error(err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a directory?", "reports%41.db")
	db := open(t, database.Options{File: file})
	if err := db.PingContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), "things", steps); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		fi, err := os.Stat(file + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s has mode %v", fi.Name(), fi.Mode())
		}
	}
}

func TestBadURL(t *testing.T) {
	for _, u := range []string{"mysql://root:secret@x/y", "postgres://user:secret@[::1/x", "secret"} {
		if _, err := database.Open(database.Options{URL: u}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q): %v", u, err)
		}
	}
}

// Two that wait for each other both get through.
// Who ends a change in the middle hears that, and not what it did to the connection.
func TestWriteEnded(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Write(ctx, func(tx *sql.Tx) error {
			cancel()
			for {
				if _, err := tx.Exec("SELECT 1"); err != nil {
					return err
				}
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestWriteAgain(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		db := open(t, o)
		if err := db.Migrate(t.Context(), "things", steps); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO sums (name, n) VALUES ('a', 0), ('b', 0)"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
			wg.Go(func() {
				for range 10 {
					err := db.WriteAgain(t.Context(), func(tx *sql.Tx) error {
						for _, name := range order {
							if _, err := tx.Exec(db.SQL("UPDATE sums SET n = n + 1 WHERE name = ?"), name); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var a, b int
		if err := db.QueryRow("SELECT min(n), max(n) FROM sums").Scan(&a, &b); err != nil || a != 20 || b != 20 {
			t.Errorf("%d, %d, %v", a, b, err)
		}
	})
}
