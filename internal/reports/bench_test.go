package reports_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

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

// usual is a report as most are: packed, on one domain, of a day; one in ten has a failure.
func usual(i int, domain string, daysAgo int) *reports.Arrival {
	var failures []string
	failed := 0
	if i%10 == 0 {
		failed = 3
		failures = []string{"certificate-expired mx1.example.com 3"}
	}
	a := arrival(gz(report(domain, fmt.Sprintf("%d.2026@sender", i), daysAgo, 100+i%50, failed, failures...)))
	a.Submitter = fmt.Sprintf("sender%d.example", i%50)
	return a
}

// BenchmarkPut stores a day's reports of a large provider: 100,000 domains in a random
// order, 50 submitters. A day has 5,000,000; run it with -benchtime 5000000x for all.
func BenchmarkPut(b *testing.B) {
	benchEach(b, func(b *testing.B, o database.Options) {
		store := newStore(b, o, noon)
		db, err := database.Open(o)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		random := rand.New(rand.NewPCG(1, 2))
		var group []*reports.Arrival
		put := func() {
			if _, err := store.Put(b.Context(), group); err != nil {
				b.Fatal(err)
			}
			group = group[:0]
		}
		for i := range b.N {
			b.StopTimer()
			group = append(group, usual(i, fmt.Sprintf("tenant%d.example.com", random.IntN(benchDomains)), 1))
			b.StartTimer()
			if len(group) == 1000 {
				put()
			}
		}
		put()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
		if size, err := db.Size(b.Context()); err == nil {
			b.ReportMetric(float64(size)/float64(b.N), "B/report")
		}
	})
}

// BenchmarkSpool takes reports from many senders at a time: each is on disk before it
// counts.
func BenchmarkSpool(b *testing.B) {
	s := openSpool(b, b.TempDir(), 1<<40)
	data := usual(1, "example.com", 1).Data
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := s.Add(b.Context(), arrival(data)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
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
		for range b.N {
			s, err := store.Summary(b.Context(), "example.com", until.AddDate(-1, 0, 0), until)
			if err != nil || s.Sessions != 365*10*103 {
				b.Fatal(s, err)
			}
		}
	})
}
