package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"mtasts-server/internal/database/databasetest"
)

// TestReportsBackup makes backups of the reports of a running server and restores them, as
// docs/reports.md says.
func TestReportsBackup(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{"VACUUM INTO": "VACUUM INTO '%s'", "backup": ".backup %s"} {
		t.Run("SQLite by "+name, func(t *testing.T) {
			t.Parallel()
			s, e := newReportsSite(t, 5, "")
			db := s.path("state/reports/reports.db")
			testBackup(t, s, e, func() {
				command(t, "sqlite3", db, fmt.Sprintf(statement, s.path("backup.db")))
				// The file alone is no backup: what came last is in the other one.
				if err := os.WriteFile(s.path("copy.db"), []byte(s.read(db)), 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("sqlite3", s.path("copy.db"), "SELECT count(*) FROM reports").CombinedOutput(); err == nil && string(out) != "0\n" {
					t.Errorf("docs/reports.md warns of a copy of the file alone, which has %s", out)
				}
			}, func() {
				if err := errors.Join(os.RemoveAll(db+"-wal"), os.RemoveAll(db+"-shm"), os.Rename(s.path("backup.db"), db)); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		cluster := databasetest.NewCluster(t)
		config := fmt.Sprintf("database = %q", cluster.URL("postgres"))
		s, e := newReportsSite(t, 5, config)
		testBackup(t, s, e, func() {
			command(t, "pg_dump", "--format=custom", "--file="+s.path("backup.dump"), cluster.URL("postgres"))
		}, func() {
			db, err := sql.Open("pgx", cluster.URL("postgres"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("CREATE DATABASE restored"); err != nil {
				t.Fatal(err)
			}
			command(t, "pg_restore", "--exit-on-error", "--no-owner", "--dbname="+cluster.URL("restored"), s.path("backup.dump"))
			s.write("mtasts-server.toml", strings.Replace(s.read(s.path("mtasts-server.toml")), config, fmt.Sprintf("database = %q", cluster.URL("restored")), 1))
		})
	})
}

// testBackup has a server lose what it has after a backup, and take it again.
func testBackup(t *testing.T, s *site, e *editor, backup, restore func()) {
	p := e.startReports(t)
	client := p.client(true)
	report := func(i int) []byte { return reportOn(e.domain(i), fmt.Sprint("r", i), 2, 1) }
	for i := range 30 {
		p.mustPost(client, report(i))
	}
	s.awaitStored(30)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { // reports come in all the while
		defer close(stopped)
		for i := 0; ctx.Err() == nil; i++ {
			status, err := post(ctx, client, "/", packed(reportOn(e.domain(i), fmt.Sprint("meanwhile", i), 2, 1)))
			if ctx.Err() == nil && (err != nil || status != http.StatusOK) {
				t.Errorf("while the backup is made: %d, %v", status, err)
			}
		}
	}()
	backup()
	cancel()
	<-stopped
	p.stop()
	restore()

	p = e.startReports(t)
	p.saysNothing()
	s.awaitEmptySpool() // of what came last before the stop
	stored := s.entries()
	for i := range 30 {
		if _, ok := stored[fmt.Sprint("r", i)]; !ok {
			t.Errorf("r%d is not in the backup", i)
		}
	}
	n := int64(len(stored))
	if got := s.sums(e.files[0].domains...); got != (sums{n, 2 * n, n}) {
		t.Errorf("the sums of %d reports are %+v", n, got)
	}
	client = p.client(true)
	const repeated = `mtasts_reports_total{channel="https",fate="repeated"}`
	before := int(p.series(repeated))
	for i := range 31 { // repeats, and a new one
		p.mustPost(client, report(i))
	}
	s.awaitStored(int(n) + 1)
	s.awaitEmptySpool()
	p.metric(fmt.Sprint(repeated, " ", before+30))
	if got := s.sums(e.files[0].domains...); got != (sums{n + 1, 2*n + 2, n + 1}) {
		t.Errorf("after repeats the sums of %d reports are %+v", n+1, got)
	}
	p.stop()
}

// command runs a program, and returns what it prints.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}
