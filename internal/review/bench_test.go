package review_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/review"
)

// benchDomains is how many tenants a large provider has.
const benchDomains = 100_000

func benchEach(b *testing.B, f func(*testing.B, database.Options)) {
	b.Run("sqlite", func(b *testing.B) { f(b, database.Options{File: filepath.Join(b.TempDir(), "reports.db")}) })
	b.Run("postgresql", func(b *testing.B) { f(b, database.Options{URL: databasetest.Postgres(b)}) })
}

// peak returns the most memory, in bytes, that Go took from the system while f ran.
func peak(f func()) uint64 {
	runtime.GC()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var most uint64
	wg.Go(func() {
		samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			metrics.Read(samples)
			most = max(most, samples[0].Value.Uint64())
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	})
	f()
	close(stop)
	wg.Wait()
	return most
}

// benchLook is what nobody has to be asked for: one in ten domains has an error and a warning.
func benchLook(domain string) review.Look {
	l := review.Look{Known: true, MX: []string{"mx1." + domain, "mx2." + domain}, TLSRPT: true}
	if domain[len("tenant")]%10 == 0 {
		l.Problems = []review.Problem{lost("mx1." + domain), problem("policy-cert-expires-soon", "mta-sts."+domain, review.Warning)}
	}
	return l
}

// BenchmarkPass looks at 100,000 domains once, where looks take no time: what the schedule
// and the database take. The first pass is of domains that are new, the second one of
// known ones. Run it with -benchtime 1x.
func BenchmarkPass(b *testing.B) {
	benchEach(b, func(b *testing.B, o database.Options) {
		var now clock
		now.set(start)
		store := newStore(b, o, now.now)
		var domains []review.Domain
		for i := range benchDomains {
			domains = append(domains, review.Domain{Name: fmt.Sprintf("tenant%d.example.com", i), Risk: review.Enforcing})
		}
		pass := func() {
			now.set(now.now().Add(2 * day)) // all are due
			var mu sync.Mutex
			n := 0
			ctx, cancel := context.WithCancel(b.Context())
			s, err := review.New(review.Options{
				Store: store, Domains: func() []review.Domain { return domains }, Now: now.now, Parallel: 64, Rate: 1e9,
				Look: func(_ context.Context, domain string) (review.Look, error) {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == benchDomains {
						time.AfterFunc(time.Second, cancel) // of that second Run rests
					}
					return benchLook(domain), nil
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Run(ctx); err != nil {
				b.Fatal(err)
			}
			if n != benchDomains {
				b.Fatalf("%d looks", n)
			}
		}
		for b.Loop() {
			for _, name := range []string{"new", "known"} {
				began := time.Now()
				most := peak(pass)
				b.ReportMetric((time.Since(began) - time.Second).Seconds(), name+"-s")
				b.ReportMetric(float64(most)/(1<<20), name+"-MB")
			}
		}
		states, fail := store.EachState(b.Context())
		n := 0
		began := time.Now()
		for range states {
			n++
		}
		if err := fail(); err != nil || n != benchDomains {
			b.Fatal(n, err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "states-s")
	})
}

// BenchmarkPage makes the page of 100,000 domains and writes it.
func BenchmarkPage(b *testing.B) {
	b.ReportAllocs()
	in := large(benchDomains)
	for b.Loop() {
		most := peak(func() {
			p := review.MakePage(in)
			for _, f := range formats {
				if err := f.write(p, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.ReportMetric(float64(most)/(1<<20), "peak-MB")
	}
}
