package reports_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/reports"
)

// benchDomains is how many tenants a large provider has.
const benchDomains = 100_000

func benchEach(b *testing.B, f func(*testing.B, database.Options)) {
	b.Run("sqlite", func(b *testing.B) { f(b, database.Options{File: filepath.Join(b.TempDir(), "reports.db")}) })
	b.Run("postgresql", func(b *testing.B) { f(b, database.Options{URL: databasetest.Postgres(b)}) })
}

// senders make reports of senders, packed by one writer: a new one costs more than a report.
type senders struct{ *gzip.Writer }

func newSenders() *senders { return &senders{gzip.NewWriter(io.Discard)} }

// usual is a report as most are: packed, on one domain, of a day; one in ten has a failure.
func (s *senders) usual(i int, domain string, daysAgo int) *reports.Arrival {
	var failures []string
	failed := 0
	if i%10 == 0 {
		failed = 3
		failures = []string{"certificate-expired mx1.example.com 3"}
	}
	var packed bytes.Buffer
	s.Reset(&packed)
	if _, err := s.Write(report(domain, fmt.Sprintf("%d.2026@sender", i), daysAgo, 100+i%50, failed, failures...)); err != nil {
		panic(err)
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	a := arrival(packed.Bytes())
	a.Submitter = fmt.Sprintf("sender%d.example", i%50)
	return a
}

// benchGroup is how many reports are stored at once, as a desk does; benchLap over how many
// the rate is taken at the beginning and at the end, as it may fall while tables grow.
const (
	benchGroup = 1000
	benchLap   = 100_000
)

// BenchmarkPut stores a day's reports of a large provider: 100,000 domains in a random
// order, 50 submitters. A day has 5,000,000; run it with -benchtime 5000000x for all. It
// tells the rate over all, over the first and over the last 100,000, processor time of this
// process (of PostgreSQL's there is none in it), and the size, with raw reports and without.
func BenchmarkPut(b *testing.B) {
	benchEach(b, func(b *testing.B, o database.Options) {
		store := newStore(b, o, noon)
		random := rand.New(rand.NewPCG(1, 2))
		from := newSenders()
		var walls, cpus []time.Duration
		b.ResetTimer()
		for done := 0; done < b.N; done += benchGroup {
			b.StopTimer()
			var group []*reports.Arrival
			for i := done; i < min(done+benchGroup, b.N); i++ {
				group = append(group, from.usual(i, fmt.Sprintf("tenant%d.example.com", random.IntN(benchDomains)), 1))
			}
			start, cpu := time.Now(), cpuTime(b)
			b.StartTimer()
			if _, err := store.Put(b.Context(), group); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			walls, cpus = append(walls, time.Since(start)), append(cpus, cpuTime(b)-cpu)
		}
		b.ReportMetric(float64(b.N)/total(walls).Seconds(), "reports/s")
		b.ReportMetric(float64(total(cpus).Microseconds())/float64(b.N), "cpu-µs/report")
		if laps := benchLap / benchGroup; len(walls) >= 2*laps {
			b.ReportMetric(benchLap/total(walls[:laps]).Seconds(), "first/s")
			b.ReportMetric(benchLap/total(walls[len(walls)-laps:]).Seconds(), "last/s")
			for i := 0; i+laps <= len(walls); i += laps {
				b.Logf("%d to %d: %.0f reports/s, %d µs of processor each", i*benchGroup, (i+laps)*benchGroup,
					benchLap/total(walls[i:i+laps]).Seconds(), total(cpus[i:i+laps]).Microseconds()/benchLap)
			}
		}
		reportSizes(b, o)
	})
}

func total(list []time.Duration) (sum time.Duration) {
	for _, d := range list {
		sum += d
	}
	return sum
}

// cpuTime is the processor time that this process has had.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportSizes tells what a report takes in the database, before and after the raw one is
// given up.
func reportSizes(b *testing.B, o database.Options) {
	db, err := database.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	size := func(unit string) {
		n, err := db.Size(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if !db.Postgres() { // pages that are free are used again; the file keeps them
			var free int64
			if err := db.QueryRowContext(b.Context(), "SELECT freelist_count * page_size FROM pragma_freelist_count(), pragma_page_size()").Scan(&free); err != nil {
				b.Fatal(err)
			}
			n -= free
		}
		b.ReportMetric(float64(n)/float64(b.N), unit)
	}
	size("B/report")
	drop := "DELETE FROM report_raw"
	if db.Postgres() {
		drop = "TRUNCATE report_raw"
	}
	if _, err := db.ExecContext(b.Context(), drop); err != nil {
		b.Fatal(err)
	}
	size("B/report-without-raw")
}

// BenchmarkSpool takes reports from many senders at a time: each is on disk before it
// counts.
func BenchmarkSpool(b *testing.B) {
	s := openSpool(b, b.TempDir(), 1<<40)
	data := newSenders().usual(1, "example.com", 1).Data
	b.SetParallelism(64)
	b.ResetTimer()
	cpu := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Add(b.Context(), arrival(data)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/report")
}

// BenchmarkSummary sums up a year, and the year before, of a domain with ten reporters, of
// whose days one in ten has failures, in a database of 100,000 domains.
func BenchmarkSummary(b *testing.B) {
	benchEach(b, func(b *testing.B, o database.Options) {
		store := newStore(b, o, noon)
		if err := store.Prepare(b.Context()); err != nil {
			b.Fatal(err)
		}
		db, err := database.Open(o)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		fill := func(query string) {
			if _, err := db.ExecContext(b.Context(), query); err != nil {
				b.Fatal(err)
			}
		}
		last := int(until.Unix()/86400) - 1
		numbers := func(name string, from, to int) string {
			return fmt.Sprintf("%s(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM %s WHERE n < %d)", name, from, name, to)
		}
		fill("WITH RECURSIVE " + numbers("i", 1, benchDomains) + " INSERT INTO report_days SELECT 'tenant' || n || '.example.com'," + fmt.Sprint(last) + ", 'sender.example', 1, 'sts', '', 1, 100, 0 FROM i")
		ours := "WITH RECURSIVE " + numbers("d", last-729, last) + "," + numbers("r", 1, 10)
		fill(ours + " INSERT INTO report_days SELECT 'example.com', d.n, 'sender' || r.n || '.example', 1, 'sts', '', 1, 100, 3 FROM d, r")
		fill(ours + " INSERT INTO report_failures SELECT 'example.com', d.n, 'sender' || r.n || '.example', 1, 'sts', 'certificate-expired', 'mx1.example.com', 3 FROM d, r WHERE (d.n + r.n) % 10 = 0")
		b.ResetTimer()
		cpu := cpuTime(b)
		defer func() { b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/1000/float64(b.N), "cpu-ms/op") }()
		for range b.N {
			s, err := store.Summary(b.Context(), "example.com", until.AddDate(-1, 0, 0), until)
			if err != nil || s.Sessions != 365*10*103 {
				b.Fatal(s, err)
			}
		}
	})
}
