package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
)

// What happens to where reports are kept, done to a running server: policies are served on,
// reports are taken while there is room, /readyz says what is amiss, and in the end all
// that was taken is there, once.

// reportFault is a server that takes reports, and what it took.
type reportFault struct {
	*faulty
	poster *http.Client
	taken  []string // ids
	n      int
}

// startReportFault starts a server that has taken some reports.
func startReportFault(t *testing.T, s *site, e *editor) *reportFault {
	t.Helper()
	f := &reportFault{faulty: startFaulty(t, s, e)}
	f.takesReports()
	f.poster = f.program.client(true)
	f.posts(3)
	f.stores()
	return f
}

// post posts a new report, with some more text that cannot be packed.
func (f *reportFault) post(more int) (status int) {
	f.t.Helper()
	f.n++
	id := fmt.Sprintf("r%d", f.n)
	body := reportOn(f.e.domain(f.n), id, 2, 1)
	if more > 0 {
		body = bytes.Replace(body, []byte(`"result-type"`), fmt.Appendf(nil, `"additional-information":"%x","result-type"`, noise(more/2)), 1)
	}
	status, err := post(f.test.Context(), f.poster, "/", body)
	if err != nil {
		f.t.Fatal(err)
	}
	if status == http.StatusOK {
		f.taken = append(f.taken, id)
	}
	return status
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // it never fails
	return b
}

// posts posts reports that must be taken.
func (f *reportFault) posts(n int) {
	f.t.Helper()
	for range n {
		if status := f.post(0); status != http.StatusOK {
			f.t.Fatalf("a report is answered %d", status)
		}
	}
}

// stores waits until all that was taken is stored, and nothing else is.
func (f *reportFault) stores() {
	f.t.Helper()
	f.awaitEmptySpool()
	stored := f.entries()
	for _, id := range f.taken {
		if _, ok := stored[id]; !ok {
			f.t.Errorf("%s was taken, and is not stored", id)
		}
	}
	if len(stored) != len(f.taken) {
		f.t.Errorf("%d reports are stored, want %d", len(stored), len(f.taken))
	}
	if got, n := f.sums(f.e.files[0].domains...), int64(len(f.taken)); got != (sums{n, 2 * n, n}) {
		f.t.Errorf("the sums of %d reports are %+v", n, got)
	}
}

const notStored = "reports cannot be stored since "

// waits wants reports to be taken, and policies to be served, while nothing can be stored.
func (f *reportFault) waits() {
	f.t.Helper()
	f.posts(1)
	f.says(notStored)
	f.posts(3)
	f.metric("mtasts_reports_stored 0")
	f.edit()
	f.fetched()
}

// recovers wants all to be well.
func (f *reportFault) recovers() {
	f.t.Helper()
	f.saysNothing()
	f.metric("mtasts_reports_stored 1")
	f.posts(1)
	f.stores()
}

func (f *reportFault) ends() {
	f.t.Helper()
	f.load.wait()
	f.program.stop()
}

// again kills the server and starts it anew.
func (f *reportFault) again(between func()) {
	f.t.Helper()
	f.load.expectEnd()
	f.kill()
	f.load.wait()
	between()
	f.program = f.e.startReports(f.test)
	f.client, f.poster = f.program.client(true), f.program.client(true)
	f.load = f.e.senders(f.test, f.program, 1)
}

func TestReportsFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T){
		"locked": testReportsLocked, "garbage": testReportsGarbage, "removed": testReportsRemoved,
		"full disk": testReportsFullDisk, "storage hangs": testReportsHang, "PostgreSQL": testReportsPostgres, "replicas": testReportsReplicas,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// Somebody has the database for himself, until the spool is full and longer.
func testReportsLocked(t *testing.T) {
	s, e := newReportsSite(t, 5, "spool_mib = 32")
	f := startReportFault(t, s, e)
	unlock := s.lock()
	f.waits()
	status := 0
	for range 20 {
		if status = f.post(4 << 20); status != http.StatusOK {
			break
		}
	}
	if status != http.StatusServiceUnavailable || len(f.taken) < 10 {
		t.Fatalf("after %d reports the next is answered %d, want 503 when the spool is full", len(f.taken), status)
	}
	f.says(notStored, "the spool of reports has ")
	f.edit()
	f.fetched()
	unlock()
	f.recovers()
	f.ends()
}

// lock takes the database for itself.
func (s *site) lock() (unlock func()) {
	s.t.Helper()
	db, err := database.Open(database.Options{File: s.path("state/reports/reports.db")})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { db.Close() })
	release, released := make(chan struct{}), make(chan error)
	locked := make(chan struct{})
	go func() {
		released <- db.Write(context.Background(), func(*sql.Tx) error { close(locked); <-release; return nil })
	}()
	select {
	case <-locked:
	case err := <-released:
		s.t.Fatal(err)
	}
	return func() {
		close(release)
		if err := <-released; err != nil {
			s.t.Error(err)
		}
	}
}

// The file of the database is overwritten, and put back from a backup at a restart.
func testReportsGarbage(t *testing.T) {
	s, e := newReportsSite(t, 5, "")
	f := startReportFault(t, s, e)
	db := s.path("state/reports/reports.db")
	f.again(func() { // so that all of it is in the one file
		if out, err := exec.Command("sqlite3", db, "PRAGMA wal_checkpoint(TRUNCATE); VACUUM INTO '"+db+".backup'").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.write("state/reports/reports.db", strings.Repeat("garbage ", 10_000))
	})
	f.waits()
	f.again(func() {
		if err := errors.Join(os.RemoveAll(db+"-wal"), os.RemoveAll(db+"-shm"), os.Rename(db+".backup", db)); err != nil {
			t.Fatal(err)
		}
	})
	f.recovers()
	f.ends()
}

// Files of the database, and all of the directory, are removed from under the server.
func testReportsRemoved(t *testing.T) {
	s, e := newReportsSite(t, 5, "")
	f := startReportFault(t, s, e)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.path("state/reports/reports.db" + suffix)); err != nil {
			t.Fatal(err)
		}
	}
	f.taken = nil // these are gone
	f.waits()
	f.again(func() {})
	f.recovers()

	if err := os.RemoveAll(s.path("state/reports")); err != nil {
		t.Fatal(err)
	}
	f.taken = nil
	if status := f.post(0); status != http.StatusServiceUnavailable {
		t.Errorf("with nowhere to keep it a report is answered %d", status)
	}
	f.says("the last report that came, at ")
	f.edit()
	f.fetched()
	f.again(func() {})
	f.recovers()
	f.ends()
}

// The disk is full: nothing can be taken.
func testReportsFullDisk(t *testing.T) {
	s, e := newReportsSite(t, 5, "")
	disk := mountSmall(t, s)
	if err := syscall.Mount("", s.path("state"), "", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	f := startReportFault(t, s, e)
	disk.fill(f.program)
	eventually(t, "a report is not taken", func() error {
		if status := f.post(20_000); status != http.StatusServiceUnavailable {
			return fmt.Errorf("it is answered %d", status)
		}
		return nil
	})
	f.says("the last report that came, at ")
	f.edit()
	f.fetched()
	disk.free(f.program)
	f.posts(1)
	f.recovers()
	f.ends()
}

// The disk stops to answer: who posts waits in vain, and nobody else does.
func testReportsHang(t *testing.T) {
	s, e := newReportsSite(t, 5, "")
	disk := mountStalling(t, s.path("state"))
	f := startReportFault(t, s, e)
	disk.stall()
	answered := make(chan string, 10)
	for i := range 10 {
		go func() {
			status, err := post(t.Context(), f.poster, "/", reportOn(e.domain(0), fmt.Sprint("hung", i), 2, 1))
			answered <- fmt.Sprint(status, err)
		}()
	}
	f.says("the last report that came, at ") // quickly, each time that it is asked
	f.edit()
	f.fetched()
	for range 10 {
		if got := <-answered; got != "503<nil>" && got != "503 <nil>" {
			t.Errorf("a report is answered %s", got)
		}
	}
	disk.answer()
	for i := range 10 { // they come again, and may be there already
		f.mustPost(f.poster, reportOn(e.domain(0), fmt.Sprint("hung", i), 2, 1))
		f.taken = append(f.taken, fmt.Sprint("hung", i))
	}
	f.recovers()
	f.ends()
}

// PostgreSQL ends, and comes again; also while the server starts.
func testReportsPostgres(t *testing.T) {
	cluster := databasetest.NewCluster(t)
	s, e := newReportsSite(t, 5, fmt.Sprintf("database = %q", cluster.URL("postgres")))
	f := startReportFault(t, s, e)
	cluster.Stop()
	f.waits()
	cluster.Start()
	f.recovers()

	cluster.Stop()
	f.again(func() {})
	f.waits()
	f.again(func() {})
	f.waits()
	cluster.Start()
	f.recovers()

	// In the middle of it.
	ctx, cancel := context.WithCancel(t.Context())
	posters := &posters{e: e, sent: map[string]*sentReport{}}
	posting := posters.run(ctx, f.program, 2)
	for range 3 {
		cluster.Stop()
		time.Sleep(rand.N(300 * time.Millisecond))
		cluster.Start()
		time.Sleep(rand.N(300 * time.Millisecond))
	}
	cancel()
	posting.Wait()
	f.ends()
	p := s.start()
	s.awaitEmptySpool()
	p.stop()
	all := s.entries()
	for id, r := range posters.sent {
		if _, ok := all[id]; r.taken && !ok {
			t.Errorf("%s was taken, and is not stored", id)
		}
	}
}

// Two servers on one database take the same reports.
func testReportsReplicas(t *testing.T) {
	cluster := databasetest.NewCluster(t)
	var replicas []*reportFault
	for range 2 {
		s, e := newReportsSite(t, 5, fmt.Sprintf("database = %q", cluster.URL("postgres")))
		f := &reportFault{faulty: startFaulty(t, s, e)}
		f.takesReports()
		f.poster = f.program.client(true)
		replicas = append(replicas, f)
	}
	for range 2 {
		done := make(chan error, 2)
		for _, f := range replicas {
			go func() {
				for i := range 50 {
					status, err := post(t.Context(), f.poster, "/", packed(reportOn(f.e.domain(i), fmt.Sprint("r", i), 2, 1)))
					if err != nil || status != http.StatusOK {
						done <- fmt.Errorf("%d, %v", status, err)
						return
					}
				}
				done <- nil
			}()
		}
		for range replicas {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 50 {
		replicas[0].taken = append(replicas[0].taken, fmt.Sprint("r", i))
	}
	replicas[1].awaitEmptySpool()
	replicas[0].stores()
	taken := replicas[0].series(`mtasts_reports_total{channel="https",fate="taken"}`) + replicas[1].series(`mtasts_reports_total{channel="https",fate="taken"}`)
	if taken != 50 {
		t.Errorf("the two have taken %v", taken)
	}
	for _, f := range replicas {
		f.ends()
	}
}
