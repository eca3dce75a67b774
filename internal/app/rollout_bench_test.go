package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// The world of BenchmarkRollout: two submitters report on each domain each day, for 30 days
// on most, for a year on some.
const (
	rolloutFiles, rolloutPerFile = 1000, 100
	rolloutYears                 = 1000 // of the domains
	rolloutDays                  = 30
)

// BenchmarkRollout is what `mtasts-server rollout` does for 100,000 domains, and the server
// once an hour: reading the configuration and the ledger; and bringing all evidence, the
// sums of reports and the last looks, before the rules.
func BenchmarkRollout(b *testing.B) {
	b.Chdir(b.TempDir())
	now := time.Now()
	body := mtasts.Policy{Mode: mtasts.ModeTesting, MaxAge: 86400, MX: []mtasts.MXPattern{"mx.example.net"}}.Body()
	writeRollout(b, now.AddDate(0, 0, -40), body)
	fillRollout(b, now, mtasts.ID(body))
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			peak := watchMemory(b)
			openRollout(b).Close()
			peak()
		}
	})
	r := openRollout(b)
	defer r.Close()
	b.Run("judge", func(b *testing.B) {
		for b.Loop() {
			peak := watchMemory(b)
			ready, all := 0, 0
			err := r.Each(b.Context(), r.Names(), func(v *RolloutView) error {
				all++
				if v.Ready {
					ready++
				}
				return nil
			})
			peak()
			if want := rolloutFiles * rolloutPerFile; err != nil || all != want || ready != want-want/100 {
				b.Fatalf("%d of %d are ready: %v", ready, all, err)
			}
		}
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if err := r.Each(b.Context(), []string{rolloutName(1)}, func(*RolloutView) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	// An hour of the server's own: the same, and who may go on.
	b.Run("pace", func(b *testing.B) {
		d, err := New(Options{ConfigFile: "main.toml", Stdout: io.Discard, Stderr: io.Discard})
		if err != nil {
			b.Fatal(err)
		}
		d.publisher.look()
		d.steward.log = slog.New(slog.DiscardHandler)
		for b.Loop() {
			peak := watchMemory(b)
			d.steward.pace(b.Context())
			peak()
		}
		d.archive.close()
	})
}

func rolloutName(n int) string { return fmt.Sprintf("d%05d.example", n) }

func openRollout(b *testing.B) *Rollout {
	b.Helper()
	r, err := OpenRollout("main.toml", func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// writeRollout writes the configuration, and the ledger of what is served since then.
func writeRollout(b *testing.B, since time.Time, body []byte) {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	old := time.Now().Add(-24 * time.Hour)
	write := func(name, text string) {
		must(os.WriteFile(name, []byte(text), 0o600))
		must(os.Chtimes(name, old, old))
	}
	must(os.Mkdir("policies", 0o700))
	write("main.toml", "policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[log]\nlevel = \"error\"\n[reports]\nhost = \"reports.example.net\"\n[review]\n")
	var served []ledger.Publication
	for file := range rolloutFiles {
		name, text := filepath.Join("policies", fmt.Sprintf("%04d.toml", file)), ""
		for i := range rolloutPerFile {
			domain := rolloutName(file*rolloutPerFile + i)
			text += table(domain, "testing", "1d", "mx.example.net") + "tlsrpt = [\"mailto:t@example.net\"]\n"
			served = append(served, ledger.Publication{Domain: domain, ID: mtasts.ID(body), Body: body, Source: name})
		}
		write(name, text)
	}
	book, err := ledger.Open("state/ledger")
	must(err)
	must(book.Publish(since, served))
}

// fillRollout fills the database: one domain in a hundred had failures.
func fillRollout(b *testing.B, now time.Time, id string) {
	b.Helper()
	snap, _, err := loadConfig("main.toml")
	if err != nil {
		b.Fatal(err)
	}
	a, err := openArchive(snap.Settings, func(string) bool { return true }, func(string) string { return "" }, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	defer a.close()
	ctx := context.Background()
	if err := errors.Join(a.reports.Prepare(ctx), a.looks.Prepare(ctx)); err != nil {
		b.Fatal(err)
	}
	today, at := now.Unix()/86400, now.Add(-time.Hour).Unix()
	numbers := func(name string, n int) string {
		return fmt.Sprintf("%s(%s) AS (SELECT 0 UNION ALL SELECT %s + 1 FROM %s WHERE %s < %d)", name, name, name, name, name, n-1)
	}
	const domain, all = "printf('d%05d.example', n)", rolloutFiles * rolloutPerFile
	for _, statement := range []string{
		fmt.Sprintf(`WITH RECURSIVE %s, %s, who(who) AS (VALUES ('google.com'), ('microsoft.com'))
			INSERT INTO report_days SELECT %s, %d - 365 + a, who, 1, 'sts', '%s', 1, 100, 0 FROM n, a, who WHERE n < %d OR a >= %d ORDER BY n, a, who`,
			numbers("n", all), numbers("a", 365), domain, today, id, rolloutYears, 365-rolloutDays),
		fmt.Sprintf(`WITH RECURSIVE %s INSERT INTO report_failures SELECT %s, %d, 'google.com', 1, 'sts', 'certificate-expired', 'mx.example.net', 3 FROM n WHERE n %% 100 = 0`,
			numbers("n", all), domain, today-2),
		fmt.Sprintf(`WITH RECURSIVE %s INSERT INTO review_domains (domain, due, lane, looked, ok, unknown_since, changed, tlsrpt_since, mx)
			SELECT %s, %d, 1, %d, 1, 0, 0, %d, '[{"since":%d,"hosts":["mx.example.net"]}]' FROM n`, numbers("n", all), domain, at+86400, at, at-60*86400, at-60*86400),
	} {
		if _, err := a.db.ExecContext(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// watchMemory returns a function that reports the most memory in use since then: of the
// process, with SQLite's, and where that is not known of Go's heap.
func watchMemory(b *testing.B) (peak func()) {
	b.StopTimer()
	debug.FreeOSMemory()
	before := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // forgets the most until now
	b.StartTimer()
	return func() {
		b.StopTimer()
		defer b.StartTimer()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapSys-m.HeapReleased)/(1<<20), "MiB-heap")
		status, err := os.ReadFile("/proc/self/status")
		if found := highWater.FindSubmatch(status); before == nil && err == nil && found != nil {
			kib, _ := strconv.Atoi(string(found[1])) // digits
			b.ReportMetric(float64(kib)/1024, "MiB-peak")
		}
	}
}
