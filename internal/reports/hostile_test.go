package reports_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/database"
	"mtasts-server/internal/reports"
)

// A stranger's report that grows when it is written down in full is set aside: nobody could
// read it again, and it would end every export that comes to it.
func TestReportThatGrows(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		lines := strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("<", 1000)+`",`, 100), ",")
		policy := `{"policy":{"policy-type":"sts","policy-domain":"example.com","policy-string":[` + lines + `]},"summary":{"total-successful-session-count":1,"total-failure-session-count":0}}`
		text := string(report("example.com", "id", 1, 4, 0))
		text = strings.Replace(text, `"policies":[`, `"policies":[`+strings.Repeat(policy+",", 30), 1)
		got := fates(t, s, stranger([]byte(text)), arrival(report("example.com", "other", 1, 1, 0)))
		if got[0] != "aside: too-big" || got[1] != "taken" {
			t.Error(got)
		}
		n := 0
		if err := s.Walk(t.Context(), "example.com", today.AddDate(0, 0, -30), func(*reports.Whole) error { n++; return nil }); err != nil || n == 0 {
			t.Errorf("%d reports, %v", n, err)
		}
	})
}

// Whoever has a domain has any number of domains below it, and a signature for each.
func TestFloodOfSubdomains(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		var all []*reports.Arrival
		for i := range 520 {
			a := arrival(report("example.com", fmt.Sprint(i), 1, 1, 0))
			a.Submitter = fmt.Sprintf("n%d.evil.com", i)
			all = append(all, a)
		}
		other := arrival(report("example.com", "other", 1, 1, 0))
		other.Submitter = "good.com"
		got := fates(t, s, append(all, other)...)
		flood := 0
		for _, f := range got {
			if f == "aside: flood" {
				flood++
			}
		}
		if flood != 20 || got[520] != "taken" {
			t.Errorf("%d are too many, and another's is %s", flood, got[520])
		}
	})
}

// A mistake of ours in reading a report costs that report, and not the server.
func TestMistake(t *testing.T) {
	db, err := database.Open(database.Options{File: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := reports.New(reports.Options{
		DB: db, Keep: reports.DefaultKeep(), Now: noon, DomainOf: func(string) string { return "" },
		Known: func(domain string) bool {
			if domain == "example.org" {
				panic("a mistake")
			}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := fates(t, s, stranger(report("example.org", "id", 1, 1, 0)), stranger(report("example.com", "id", 1, 1, 0)))
	if !cmp.Equal(got, []string{"aside: unreadable", "taken"}) {
		t.Error(got)
	}
}

// Large reports take the places of many, or a stranger would fill the disk.
func TestLongFloodOfLargeOnes(t *testing.T) {
	if raceDetector {
		t.Skip("it is about memory and numbers, and takes minutes then")
	}
	s := newStore(t, database.Options{File: filepath.Join(t.TempDir(), "db")}, noon)
	lines := strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 1000)+`",`, 190), ",")
	policy := `{"policy":{"policy-type":"sts","policy-domain":"example.com","policy-string":[` + lines + `]},"summary":{"total-successful-session-count":1,"total-failure-session-count":0}},`
	taken := 0
	for i := range 16 {
		text := strings.Replace(string(report("example.com", fmt.Sprint(i), 1, 4, 0)), `"policies":[`, `"policies":[`+strings.Repeat(policy, 45), 1)
		if got := fates(t, s, stranger([]byte(text))); got[0] == "taken" {
			taken++
		}
	}
	if taken < 10 || taken > 15 { // of 8 MiB each
		t.Errorf("%d were taken", taken)
	}
	if got := fates(t, s, stranger(report("example.com", "small", 1, 4, 0))); got[0] != "taken" {
		t.Errorf("a small one: %s", got[0])
	}
}

// Everybody's reports since a time are those of its windows, also where they came late.
func TestListSince(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		for i, came := range []int{30, 20, 10, 1} {
			a := arrival(report("example.com", fmt.Sprint(came), max(came, 15), 1, 0)) // the last two are of the same day, and late
			a.Received = today.AddDate(0, 0, -came)
			if got := fates(t, s, a); got[0] != "taken" {
				t.Fatal(i, got)
			}
		}
		list, err := s.List(t.Context(), reports.Filter{Since: today.AddDate(0, 0, -16), Limit: 9})
		if err != nil || len(list) != 2 || list[0].ReportID != "1" || list[1].ReportID != "10" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
