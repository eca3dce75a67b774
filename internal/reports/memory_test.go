package reports_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"mtasts-server/internal/database"
	"mtasts-server/internal/reports"
)

// bomb is a report on domain that is small as it comes and large as it is read.
func bomb(t *testing.T, domain string, i int) []byte {
	t.Helper()
	policy := fmt.Sprintf(`{"policy":{"policy-type":"sts","policy-domain":%q,"policy-string":[%s""]},"summary":{"total-successful-session-count":1,"total-failure-session-count":0}}`,
		domain, strings.Repeat(`"`+strings.Repeat("x", 1000)+`",`, 190))
	text := fmt.Sprintf(`{"organization-name":"x","date-range":{"start-datetime":"2026-11-19T00:00:00Z","end-datetime":"2026-11-19T23:59:59Z"},"contact-info":"a@b.example","report-id":"%d","policies":[%s]}`,
		i, strings.TrimSuffix(strings.Repeat(policy+",", 45), ","))
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is small in the spool and large when it is read is in memory a few at a time:
// hundreds fit into one batch.
func TestLongBatchMemory(t *testing.T) {
	if raceDetector {
		t.Skip("it is about memory and numbers, and takes minutes then")
	}
	const most = 100 << 20
	for _, domain := range []string{"example.com", "foreign.example"} {
		var peak atomic.Uint64
		db, err := database.Open(database.Options{File: filepath.Join(t.TempDir(), "db")})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := reports.New(reports.Options{
			DB: db, Keep: reports.DefaultKeep(), Now: noon, Log: slog.New(slog.DiscardHandler), DomainOf: func(string) string { return "" },
			Known: func(domain string) bool { // asked while one is read
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
				return domain == "example.com"
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var all []*reports.Arrival
		for i := range 14 {
			all = append(all, stranger(bomb(t, domain, i)))
		}
		if _, err := s.Put(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if peak.Load() > most {
			t.Errorf("14 reports of %d KiB on %s: %d MiB in memory", len(all[0].Data)>>10, domain, peak.Load()>>20)
		}
	}
}
