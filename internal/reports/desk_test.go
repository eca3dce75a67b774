package reports_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/reports"
)

func newDesk(t testing.TB, spool *reports.Spool, store *reports.Store) *reports.Desk {
	t.Helper()
	d, err := reports.NewDesk(reports.DeskOptions{
		Spool: spool, Store: store, Now: noon, Log: slog.New(slog.DiscardHandler), Label: func(domain string) string { return domain },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// running has the desk run until the test ends, or stop is called.
func running(t testing.TB, d *reports.Desk) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wait.Wait() }
	t.Cleanup(stop)
	return stop
}

// stored waits until the spool is empty.
func stored(t testing.TB, s *reports.Spool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Bytes() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("reports are not stored")
		}
	}
}

func TestDesk(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		spool, store := openSpool(t, t.TempDir(), 1<<20), newStore(t, o, noon)
		d := newDesk(t, spool, store)
		running(t, d)
		for i := range 50 {
			if err := d.Add(t.Context(), arrival(report("example.com", fmt.Sprint(i/2), 1, 10, 2, "certificate-expired mx1.example.com 2"))); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Add(t.Context(), stranger([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		stored(t, spool)
		want := `
# HELP mtasts_report_failures_total Failed sessions that senders reported, by domain and result type.
# TYPE mtasts_report_failures_total counter
mtasts_report_failures_total{domain="example.com",result_type="certificate-expired"} 50
# HELP mtasts_report_sessions_total Sessions that senders reported on, by domain.
# TYPE mtasts_report_sessions_total counter
mtasts_report_sessions_total{domain="example.com",outcome="failed"} 50
mtasts_report_sessions_total{domain="example.com",outcome="successful"} 250
# HELP mtasts_reports_aside_total TLS reports that were set aside, by reason.
# TYPE mtasts_reports_aside_total counter
mtasts_reports_aside_total{reason="not-json"} 1
# HELP mtasts_reports_newest_timestamp_seconds When the newest TLS report came; 0 where none ever did.
# TYPE mtasts_reports_newest_timestamp_seconds gauge
mtasts_reports_newest_timestamp_seconds 1.7637264e+09
# HELP mtasts_reports_stored Whether reports can be stored; 0 while they wait for the database.
# TYPE mtasts_reports_stored gauge
mtasts_reports_stored 1
`
		want = strings.ReplaceAll(want, "1.7637264e+09", fmt.Sprintf("%g", float64(today.Unix())))
		if err := testutil.CollectAndCompare(d, strings.NewReader(want), "mtasts_report_failures_total", "mtasts_report_sessions_total",
			"mtasts_reports_aside_total", "mtasts_reports_newest_timestamp_seconds", "mtasts_reports_stored"); err != nil {
			t.Error(err)
		}
		if got := gather(t, d, "mtasts_reports_total"); got["smtp taken"] != 25 || got["smtp repeated"] != 25 || got["https aside"] != 1 {
			t.Errorf("%v", got)
		}
	})
}

// gather returns the values of a metric by its labels' values.
func gather(t *testing.T, c prometheus.Collector, name string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			if f.GetName() == name {
				values[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return values
}

// A database that is not there holds up nobody, and has everything once it is back.
func TestDeskWithoutDatabase(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "reports.db")
	o := database.Options{File: file}
	spool, store := openSpool(t, filepath.Join(dir, "spool"), 4000), newStore(t, o, noon)
	if err := store.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A stranger that locks it, for as long as he likes.
	locker, err := database.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	tx, err := locker.Begin()
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, spool, store)
	stop := running(t, d)
	n := 0
	for err == nil {
		if err = d.Add(t.Context(), arrival(report("example.com", fmt.Sprint(n), 1, 1, 0))); err == nil {
			n++
		}
	}
	if n < 3 || err.Error() != "reports: the spool is full" {
		t.Fatalf("after %d reports: %v", n, err)
	}
	if lines := d.Trouble(); len(lines) != 1 || !strings.Contains(lines[0], "the spool of reports has") {
		t.Errorf("%q", lines)
	}
	if got := gather(t, d, "mtasts_reports_refused_total"); got["smtp"] != 1 {
		t.Errorf("%v", got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	stored(t, spool)
	stop()
	list, err := store.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 1000})
	if err != nil || len(list) != n {
		t.Errorf("%d of %d are there, %v", len(list), n, err)
	}
	if lines := d.Trouble(); len(lines) != 0 {
		t.Errorf("%q", lines)
	}
}

// A disk that takes nothing is told of, until it does.
func TestDeskWithoutDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	d := newDesk(t, openSpool(t, dir, 1<<20), newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, noon))
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := d.Add(t.Context(), arrival([]byte("x"))); err == nil {
		t.Fatal("it was taken")
	}
	const want = "the last report that came, at 2026-11-20T12:00:00Z, could not be kept, and its sender was told to come again: spool: open "
	if got := d.Trouble(); len(got) != 1 || !strings.HasPrefix(got[0], strings.Replace(want, "2026-11-20", today.Format(time.DateOnly), 1)) {
		t.Errorf("%q", got)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Add(t.Context(), arrival([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if got := d.Trouble(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// What the database refuses is set aside alone, and everything else gets through. Here one
// domain's rows are refused by a rule that somebody has put there.
func TestDeskPoison(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		spool, store := openSpool(t, t.TempDir(), 1<<20), newStore(t, o, noon)
		if err := store.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		db, err := database.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec("CREATE UNIQUE INDEX poison ON reports (report_id)"); err != nil {
			t.Fatal(err)
		}
		d := newDesk(t, spool, store)
		for _, a := range []*reports.Arrival{
			arrival(report("example.com", "a", 1, 1, 0)), arrival(report("example.com", "a", 2, 1, 0)), arrival(report("example.com", "b", 1, 1, 0)),
		} {
			if err := d.Add(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		running(t, d)
		stored(t, spool)
		list, err := store.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 10})
		if err != nil || len(list) != 2 {
			t.Errorf("%v, %v", list, err)
		}
		asides, err := store.Asides(t.Context(), 10)
		if err != nil || len(asides) != 1 || asides[0].Reason != reports.NotStored {
			t.Errorf("%+v, %v", asides, err)
		}
	})
}

// A broken database file is told of; reports wait.
func TestDeskBrokenDatabase(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "reports.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	spool, store := openSpool(t, filepath.Join(dir, "spool"), 1<<20), newStore(t, database.Options{File: file}, noon)
	d := newDesk(t, spool, store)
	if err := d.Add(t.Context(), arrival(report("example.com", "a", 1, 1, 0))); err != nil {
		t.Fatal(err)
	}
	running(t, d)
	for deadline := time.Now().Add(time.Minute); len(d.Trouble()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody is told")
		}
	}
	if lines := d.Trouble(); !strings.Contains(lines[0], "reports cannot be stored since 2026-11-20T12:00:00Z, and wait: ") {
		t.Errorf("%q", lines)
	}
	if spool.Bytes() == 0 {
		t.Error("the report is gone")
	}
}
