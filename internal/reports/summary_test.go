package reports_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

func dayAgo(n int) time.Time { return until.AddDate(0, 0, -1-n) }

// A session under two policy types is one, and copies of authenticated reports that
// nobody known sent are none.
func TestSummarizeCountsOnce(t *testing.T) {
	h := &history{}
	h.sayAs(true, "sts", 3, "a.example", 100, 4, "certificate-expired", "mx1.example.com")
	h.sayAs(true, "tlsa", 3, "a.example", 100, 6, "certificate-expired", "mx1.example.com")
	h.sayAs(false, "sts", 3, "a.example", 1000, 1000, "certificate-expired", "mx1.example.com")
	h.sayAs(false, "sts", 2, "a.example", 10, 5, "starttls-not-supported", "mx2.example.com") // no authenticated one of that day
	h.sayAs(false, "no-policy-found", 40, "b.example", 7, 0, "", "")
	s := h.summary()
	rate := 0.9
	want := reports.Totals{
		Days: 2, Reporters: 2, Reports: 2, Sessions: 110, Failed: 11, SuccessRate: &rate,
		UnauthenticatedSessions: 10, UnauthenticatedFailed: 5, AlsoClaimed: 1, STSSessions: 110, STSFailed: 9,
	}
	if diff := cmp.Diff(want, s.Totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
	types := []reports.FailureRow{
		{Name: "certificate-expired", Sessions: 6, Reporters: 1, FirstSeen: dayAgo(3), LastSeen: dayAgo(3)},
		{Name: "starttls-not-supported", Sessions: 5, Reporters: 1, Unauthenticated: true, FirstSeen: dayAgo(2), LastSeen: dayAgo(2)},
	}
	if diff := cmp.Diff(types, s.ByResultType); diff != "" {
		t.Errorf("by type (-want +got):\n%s", diff)
	}
	reporters := []reports.ReporterRow{
		{Name: "a.example", Authenticated: true, Reports: 1, Sessions: 100, Failed: 6, FirstSeen: dayAgo(3), LastSeen: dayAgo(3)},
		{Name: "a.example", Reports: 1, Sessions: 10, Failed: 5, FirstSeen: dayAgo(2), LastSeen: dayAgo(2)},
	}
	if diff := cmp.Diff(reporters, s.ByReporter); diff != "" {
		t.Errorf("by reporter (-want +got):\n%s", diff)
	}
	if s.Before.Sessions != 7 || s.Before.Days != 1 || !s.FirstSeen.Equal(dayAgo(3)) || !s.LastSeen.Equal(dayAgo(2)) {
		t.Errorf("before %+v, from %v to %v", s.Before, s.FirstSeen, s.LastSeen)
	}
}

// In whatever order facts come, as databases sort names in their own ways, they come to the
// same; failures of those of whom nothing else is known change nothing.
func TestSummarizeInAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var facts reports.Facts
	names := []string{"a.example", "B-b.example", "b.example", "\u00fc"}
	for range 400 {
		d := reports.Day{
			Day: dayAgo(random.IntN(20)), Submitter: names[random.IntN(4)], Authenticated: random.IntN(2) == 0,
			PolicyType: []string{"sts", "tlsa", "no-policy-found", "other"}[random.IntN(4)], Policy: fmt.Sprint(random.IntN(3)),
			Reports: 1, Successful: random.Int64N(50), Failed: random.Int64N(5),
		}
		facts.Days = append(facts.Days, d)
		if d.Failed > 0 {
			facts.Failures = append(facts.Failures, reports.Failures{
				Day: d.Day, Submitter: d.Submitter, Authenticated: d.Authenticated, PolicyType: d.PolicyType, ResultType: "tlsa-invalid", MX: "mx.example.com", Sessions: d.Failed,
			})
		}
	}
	summary := func() *reports.Summary { return reports.Summarize("example.com", &facts, dayAgo(9), until) }
	want := summary()
	for _, name := range []string{"0.example", "z.example"} {
		facts.Failures = append(facts.Failures, reports.Failures{Day: dayAgo(1), Submitter: name, PolicyType: "sts", ResultType: "tlsa-invalid", Sessions: 9})
	}
	for range 20 {
		random.Shuffle(len(facts.Days), func(i, j int) { facts.Days[i], facts.Days[j] = facts.Days[j], facts.Days[i] })
		random.Shuffle(len(facts.Failures), func(i, j int) { facts.Failures[i], facts.Failures[j] = facts.Failures[j], facts.Failures[i] })
		first := facts.Days[0]
		if diff := cmp.Diff(want, summary()); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		if facts.Days[0] != first {
			t.Fatal("the facts were sorted in place")
		}
	}
}

// A copy over HTTPS is known by its contact, which may be another name of who signs.
func TestSummarizeCopyByAnotherName(t *testing.T) {
	h := &history{}
	h.sayAs(true, "sts", 3, "sender.example", 100, 0, "", "")
	h.sayAs(false, "sts", 3, "mail.sender.example", 100, 0, "", "")
	h.sayAs(false, "sts", 3, "other.example", 10, 0, "", "")
	if s := h.summary(); s.Sessions != 110 || s.AlsoClaimed != 1 {
		t.Errorf("%d sessions, %d reports also claimed", s.Sessions, s.AlsoClaimed)
	}
}

// Policies of one type, as on the day of an edit, add up; failures under several hosts do.
func TestSummarizeAdds(t *testing.T) {
	h := &history{}
	for range 2 {
		h.say(1, "a.example", 50, 5, "certificate-expired", "mx1.example.com")
		h.say(1, "a.example", 50, 5, "certificate-expired", "mx2.example.com")
		h.say(31, "a.example", 10, 1, "certificate-expired", "mx1.example.com")
	}
	h.say(0, "b.example", 50, 2, "validation-failure", "mx1.example.com")
	h.say(60, "old.example", 50, 50, "tlsa-invalid", "mx9.example.com") // neither period
	h.say(-1, "new.example", 50, 50, "tlsa-invalid", "mx9.example.com")
	s := h.summary()
	if s.Sessions != 250 || s.Failed != 22 || s.Before.Sessions != 20 || s.Before.Failed != 2 {
		t.Errorf("%+v before %+v", s.Totals, s.Before)
	}
	hosts := []reports.FailureRow{
		{Name: "mx1.example.com", Sessions: 12, Before: 2, Reporters: 2, FirstSeen: dayAgo(31), LastSeen: dayAgo(0)},
		{Name: "mx2.example.com", Sessions: 10, Reporters: 1, FirstSeen: dayAgo(1), LastSeen: dayAgo(1)},
	}
	if diff := cmp.Diff(hosts, s.ByMX); diff != "" {
		t.Errorf("by host (-want +got):\n%s", diff)
	}
	worst := []reports.CrossRow{
		{"certificate-expired", "mx1.example.com", "a.example", true, 10, dayAgo(31), dayAgo(1)},
		{"certificate-expired", "mx2.example.com", "a.example", true, 10, dayAgo(1), dayAgo(1)},
		{"validation-failure", "mx1.example.com", "b.example", true, 2, dayAgo(0), dayAgo(0)},
	}
	if diff := cmp.Diff(worst, s.Worst); diff != "" {
		t.Errorf("worst (-want +got):\n%s", diff)
	}
}

func TestChanges(t *testing.T) {
	h := &history{}
	h.say(40, "a.example", 100, 10, "certificate-expired", "mx1.example.com")
	h.say(40, "gone.example", 100, 20, "validation-failure", "mx2.example.com")
	h.say(40, "same.example", 10, 0, "", "")
	h.say(10, "a.example", 100, 20, "certificate-expired", "mx1.example.com")
	h.say(10, "new.example", 40, 1, "starttls-not-supported", "")
	h.say(10, "same.example", 19, 0, "", "") // not ten more
	h.sayAs(false, "sts", 10, "madeup.example", 100, 0, "", "")
	want := []reports.Change{
		{reports.ChangedResultType, "validation-failure", reports.Gone, 20, 0},
		{reports.ChangedResultType, "certificate-expired", reports.More, 10, 20},
		{reports.ChangedResultType, "starttls-not-supported", reports.Newly, 0, 1},
		{reports.ChangedMX, "mx2.example.com", reports.Gone, 20, 0},
		{reports.ChangedMX, "mx1.example.com", reports.More, 10, 20},
		{reports.ChangedReporter, "gone.example", reports.Gone, 100, 0},
		{reports.ChangedReporter, "new.example", reports.Newly, 0, 40},
	}
	if diff := cmp.Diff(want, h.summary().Changes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	h = &history{}
	h.say(10, "new.example", 40, 1, "starttls-not-supported", "")
	if s := h.summary(); len(s.Changes) != 0 {
		t.Errorf("with nothing to compare with: %+v", s.Changes)
	}
}

// Numbers and names of strangers neither overflow a summary nor make it endless.
func TestSummarizeHostile(t *testing.T) {
	h := &history{}
	for i := range 5000 {
		h.sayAs(false, "sts", i%60, fmt.Sprintf("name%d.example", i), tlsrpt.MaxSessions, tlsrpt.MaxSessions, "other", fmt.Sprintf("mx%d.example", i))
	}
	s := h.summary()
	if s.Sessions != tlsrpt.MaxSessions || s.Failed != tlsrpt.MaxSessions || s.Before.Sessions != tlsrpt.MaxSessions || *s.SuccessRate != 0 {
		t.Errorf("%+v", s.Totals)
	}
	if !s.Truncated || len(s.ByMX) != 1000 || len(s.ByReporter) != 1000 || len(s.Worst) != 1000 || len(s.Anomalies) > 1000 || len(s.Changes) > 1000 {
		t.Errorf("%d hosts, %d reporters, %d anomalies, %d changes", len(s.ByMX), len(s.ByReporter), len(s.Anomalies), len(s.Changes))
	}
}

// All succeed only if none failed, and without sessions nothing is known.
func TestSuccessRate(t *testing.T) {
	for _, c := range []struct {
		sessions, failed int64
		want             string
	}{
		{0, 0, "null"},
		{1, 0, "1"},
		{3, 1, "0.666666"},
		{100_000_000, 1, "0.999999"},
		{tlsrpt.MaxSessions, 1, "0.999999"},
		{5, 5, "0"},
		{10, 9, "0.1"},
		{100, 42, "0.58"},
		{1, 5, "0"},
	} {
		if got, _ := json.Marshal(reports.SuccessRate(c.sessions, c.failed)); string(got) != c.want {
			t.Errorf("%d of %d failed: %s, want %s", c.failed, c.sessions, got, c.want)
		}
	}
}

// The summary of what was stored, and the JSON that it is for machines.
func TestStoreSummary(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		fates(t, s,
			arrival(report("example.com", "a", 0, 10, 0)),
			arrival(report("example.com", "b", 29, 10, 2, "certificate-expired mx1.example.com 2")),
			arrival(report("example.com", "c", 30, 40, 0)),
			arrival(report("example.com", "d", 59, 40, 1, "certificate-expired mx1.example.com 1")),
			arrival(report("example.com", "e", 60, 1000, 0)),
			arrival(report("example.org", "f", 1, 1000, 0)),
			stranger(report("example.com", "b", 29, 10, 9, "certificate-expired mx1.example.com 9")))
		sum, err := s.Summary(t.Context(), "example.com", since, until)
		if err != nil {
			t.Fatal(err)
		}
		if sum.Sessions != 22 || sum.Failed != 2 || sum.Before.Sessions != 81 || sum.Before.Failed != 1 || sum.AlsoClaimed != 1 || sum.STSSessions != 22 {
			t.Errorf("%+v before %+v", sum.Totals, sum.Before)
		}
		text, err := json.Marshal(sum)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"since":"2026-10-22T00:00:00Z","until":"2026-11-21T00:00:00Z"`, `"success_rate":0.90909,`, `"last_seen":"2026-11-20T00:00:00Z"`,
			`"by_mx":[{"name":"mx1.example.com","sessions":2,"before":1,`, `"anomalies":[]`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
		empty, err := s.Summary(t.Context(), "www.example.com", since, until)
		if err != nil || empty.SuccessRate != nil || empty.LastSeen != nil || empty.Reports != 0 {
			t.Errorf("of a domain without reports: %+v, %v", empty, err)
		}
	})
}

// A walk meets each report once, in the order of windows, over pages and gaps.
func TestWalk(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		s := newStore(t, o, noon)
		var all []*reports.Arrival
		for i := range 1203 {
			a := arrival(report("example.com", fmt.Sprint(i), 90-i%90, 1, 0))
			a.Submitter = fmt.Sprintf("s%d.example", i%10)
			all = append(all, a)
		}
		fates(t, s, append(all, arrival(report("example.org", "other", 1, 1, 0)))...)
		walk := func(from time.Time) (n int) {
			seen, last := map[string]bool{}, time.Time{}
			err := s.Walk(t.Context(), "example.com", from, func(w *reports.Whole) error {
				if w.Start.Before(last) || seen[w.ReportID] || w.Report == nil {
					t.Fatalf("%s after %v, seen %v", w.ReportID, last, seen[w.ReportID])
				}
				seen[w.ReportID], last = true, w.Start
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return len(seen)
		}
		if n := walk(time.Time{}); n != 1203 {
			t.Errorf("%d of 1203", n)
		}
		if n := walk(today.AddDate(0, 0, -10).Truncate(24 * time.Hour)); n != 130 {
			t.Errorf("%d of the 130 of ten days", n)
		}
		full := fmt.Errorf("no space left")
		if err := s.Walk(t.Context(), "example.com", time.Time{}, func(*reports.Whole) error { return full }); err != full {
			t.Errorf("what stops the walk: %v", err)
		}
	})
}
