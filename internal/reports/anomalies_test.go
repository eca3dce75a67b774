package reports_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/reports"
)

// The period that the tests look at: 30 days, today the last one.
var (
	until = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	since = until.AddDate(0, 0, -30)
)

// history is made day by day.
type history struct{ reports.Facts }

// say adds what a reporter saw, daysAgo (0 is the last day of the period).
func (h *history) say(daysAgo int, submitter string, sessions, failed int64, resultType, mx string) {
	h.sayAs(true, "sts", daysAgo, submitter, sessions, failed, resultType, mx)
}

func (h *history) sayAs(authenticated bool, policyType string, daysAgo int, submitter string, sessions, failed int64, resultType, mx string) {
	day := until.AddDate(0, 0, -1-daysAgo)
	h.Days = append(h.Days, reports.Day{
		Day: day, Submitter: submitter, Authenticated: authenticated, PolicyType: policyType, Reports: 1, Successful: sessions - failed, Failed: failed,
	})
	if failed > 0 {
		h.Failures = append(h.Failures, reports.Failures{
			Day: day, Submitter: submitter, Authenticated: authenticated, PolicyType: policyType, ResultType: resultType, MX: mx, Sessions: failed,
		})
	}
}

// daily says the same of many days, from the older one to the younger one.
func (h *history) daily(from, to int, submitter string, sessions, failed int64, resultType string) {
	for d := from; d >= to; d-- {
		h.say(d, submitter, sessions, failed, resultType, "mx1.example.com")
	}
}

func (h *history) summary() *reports.Summary {
	return reports.Summarize("example.com", &h.Facts, since, until)
}

// told is each anomaly as "severity code subject since".
func told(s *reports.Summary) []string {
	list := []string{}
	for _, a := range s.Anomalies {
		list = append(list, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", a.Severity, a.Code, a.Subject, a.Since.Format(time.DateOnly))), " "))
	}
	return list
}

// Each rule, on both sides of its boundary.
func TestAnomalies(t *testing.T) {
	const (
		expired  = "certificate-expired"
		starttls = "starttls-not-supported"
	)
	newAt := func(h *history, daysAgo int, sessions, failed int64) {
		h.daily(59, daysAgo+1, "a.example", sessions, 0, "")
		h.say(daysAgo, "a.example", sessions, failed, expired, "")
		h.daily(daysAgo-1, 0, "a.example", sessions, 0, "")
	}
	for _, c := range []struct {
		why  string
		make func(*history)
		want []string
	}{
		{"nothing at all", func(*history) {}, nil},
		{"all is well", func(h *history) { h.daily(59, 1, "a.example", 100, 0, "") }, nil},
		{"the same failures as ever", func(h *history) { h.daily(59, 1, "a.example", 100, 5, expired) }, nil},

		{"a new type, 10 sessions of 1000", func(h *history) { newAt(h, 0, 1000, 10) }, []string{"error new-failure-type certificate-expired 2026-11-20"}},
		{"9 sessions of 900", func(h *history) { newAt(h, 0, 900, 9) }, nil},
		{"10 sessions of 1001", func(h *history) { newAt(h, 0, 1001, 10) }, nil},
		{"3 sessions of 30", func(h *history) { newAt(h, 2, 10, 3) }, []string{"error new-failure-type certificate-expired 2026-11-18"}},
		{"3 sessions of 33", func(h *history) { newAt(h, 2, 11, 3) }, nil},
		{"2 sessions of 2", func(h *history) { newAt(h, 0, 2, 2) }, nil},
		{"new, seen 7 days ago", func(h *history) { newAt(h, 6, 9, 9) }, []string{"error new-failure-type certificate-expired 2026-11-14"}},
		{"new, and over", func(h *history) { newAt(h, 7, 9, 9) }, []string{"warning new-failure-type certificate-expired 2026-11-13"}},
		{"failures where nobody reported before are not new", func(h *history) { h.daily(29, 0, "a.example", 9, 9, expired) }, nil},
		{"a type that was there before, in small numbers", func(h *history) {
			newAt(h, 0, 1000, 10)
			h.Failures = append(h.Failures, reports.Failures{Day: until.AddDate(0, 0, -60), Submitter: "a.example", Authenticated: true, PolicyType: "sts", ResultType: expired, Sessions: 1})
		}, nil},
		{"what a big sender sees hides not what a small one does", func(h *history) {
			newAt(h, 1, 20, 10)
			h.daily(59, 0, "big.example", 1_000_000, 0, "")
		}, []string{"error new-failure-type certificate-expired 2026-11-19"}},
		{"a stranger's word is a warning, and hides nothing", func(h *history) {
			h.daily(59, 0, "a.example", 100, 0, "")
			h.sayAs(false, "sts", 3, "b.example", 50, 50, expired, "mx9.example.com")
			h.sayAs(false, "sts", 45, "b.example", 50, 0, "", "")
		}, []string{"warning failure-rate 2026-11-17", "warning new-failure-type certificate-expired 2026-11-17", "warning new-failing-mx mx9.example.com 2026-11-17"}},
		{"a forged copy adds nothing", func(h *history) {
			h.daily(59, 0, "a.example", 100, 0, "")
			h.sayAs(false, "sts", 3, "a.example", 50, 50, expired, "mx9.example.com")
			h.sayAs(false, "sts", 45, "a.example", 50, 50, starttls, "mx9.example.com")
		}, nil},

		{"a new host that fails", func(h *history) {
			h.daily(59, 0, "a.example", 500, 1, expired)
			h.say(1, "b.example", 500, 10, expired, "mx2.example.com")
			h.say(40, "b.example", 500, 0, "", "")
		}, []string{"error new-failing-mx mx2.example.com 2026-11-19"}},
		{"a new host where 9 of 500 fail", func(h *history) {
			h.daily(59, 0, "a.example", 500, 1, expired)
			h.say(1, "b.example", 500, 9, expired, "mx2.example.com")
		}, nil},

		{"twice the worst day, and a session more", func(h *history) {
			h.daily(59, 1, "a.example", 100, 5, expired)
			h.say(0, "a.example", 100, 11, expired, "mx1.example.com")
		}, []string{"error failure-rate 2026-11-20"}},
		{"twice the worst day", func(h *history) {
			h.daily(59, 1, "a.example", 100, 5, expired)
			h.say(0, "a.example", 100, 10, expired, "mx1.example.com")
		}, nil},
		{"a percentage point above a good rate", func(h *history) {
			h.daily(59, 1, "a.example", 1000, 1, expired)
			h.say(0, "a.example", 1000, 12, expired, "mx1.example.com")
		}, []string{"error failure-rate 2026-11-20"}},
		{"less than a percentage point above", func(h *history) {
			h.daily(59, 1, "a.example", 1000, 1, expired)
			h.say(0, "a.example", 1000, 11, expired, "mx1.example.com")
		}, nil},
		{"a bad day, and good ones after it", func(h *history) {
			h.daily(59, 3, "a.example", 100, 5, expired)
			h.say(2, "a.example", 100, 90, expired, "mx1.example.com")
			h.daily(1, 0, "a.example", 100, 0, "")
		}, []string{"warning failure-rate 2026-11-18"}},
		{"a bad day, and after it days that say nothing", func(h *history) {
			h.daily(59, 3, "a.example", 100, 5, expired)
			h.say(2, "a.example", 100, 90, expired, "mx1.example.com")
			h.daily(1, 0, "a.example", 9, 0, "")
		}, []string{"error failure-rate 2026-11-18"}},
		{"all fail, and nothing to compare with", func(h *history) { h.daily(5, 0, "a.example", 10, 10, expired) }, []string{"error failure-rate 2026-11-15"}},
		{"one in ten fails, and nothing to compare with", func(h *history) { h.daily(5, 0, "a.example", 100, 10, expired) }, nil},
		{"all of few fail", func(h *history) { h.daily(5, 0, "a.example", 9, 9, expired) }, nil},

		{"nobody reports for 8 days", func(h *history) { h.daily(59, 8, "a.example", 9, 0, "") }, []string{"error silence 2026-11-12"}},
		{"nobody reports for 7 days", func(h *history) { h.daily(59, 7, "a.example", 9, 0, "") }, nil},
		{"a new domain, silent after 7 days", func(h *history) { h.daily(26, 20, "a.example", 9, 0, "") }, []string{"error silence 2026-10-31"}},
		{"6 days make no rhythm", func(h *history) { h.daily(25, 20, "a.example", 9, 0, "") }, nil},
		{"three times the longest gap, and a day", func(h *history) {
			h.daily(59, 40, "a.example", 9, 0, "")
			h.daily(34, 16, "a.example", 9, 0, "") // 5 days without
		}, []string{"error silence 2026-11-04"}},
		{"not as long", func(h *history) {
			h.daily(59, 40, "a.example", 9, 0, "")
			h.daily(34, 15, "a.example", 9, 0, "")
		}, nil},
		{"strangers do not hide that nobody known reports", func(h *history) {
			h.daily(59, 20, "a.example", 9, 0, "")
			for d := range 60 {
				h.sayAs(false, "sts", d, "b.example", 9, 0, "", "")
			}
		}, []string{"error silence 2026-10-31"}},
		{"where only strangers report, their silence is a warning", func(h *history) {
			for d := 59; d >= 20; d-- {
				h.sayAs(false, "sts", d, "b.example", 9, 0, "", "")
			}
		}, []string{"warning silence 2026-10-31"}},

		{"one of two is silent for 25 days", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 25, "b.example", 9, 0, "")
		}, []string{"warning reporter-silent b.example 2026-10-26"}},
		{"and by its own pauses for 27", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 40, "b.example", 9, 0, "")
			h.daily(37, 27, "b.example", 9, 0, "") // 2 days without
		}, []string{"warning reporter-silent b.example 2026-10-24"}},
		{"and for 26", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 40, "b.example", 9, 0, "")
			h.daily(37, 26, "b.example", 9, 0, "")
		}, nil},
		{"as late as Microsoft", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 24, "b.example", 9, 0, "")
		}, nil},
		{"10 days make a rhythm", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 50, "b.example", 9, 0, "")
		}, []string{"warning reporter-silent b.example 2026-10-01"}},
		{"9 days do not", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			h.daily(59, 51, "b.example", 9, 0, "")
		}, nil},
		{"a name that anybody may claim", func(h *history) {
			h.daily(59, 0, "a.example", 9, 0, "")
			for d := 59; d >= 30; d-- {
				h.sayAs(false, "sts", d, "b.example", 9, 0, "", "")
			}
		}, nil},
	} {
		h := &history{}
		c.make(h)
		s := h.summary()
		if c.want == nil {
			c.want = []string{}
		}
		if diff := cmp.Diff(c.want, told(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.why, diff)
		}
		for _, a := range s.Anomalies {
			if a.Text == "" || len(a.Text) > 300 {
				t.Errorf("%s: %q", c.why, a.Text)
			}
		}
	}
}

// What is ordinary raises no alarm: reporters of any size and rhythm, some failures by
// chance, reports that lag behind, or come as late as Microsoft's did.
func TestHealthyHistories(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 8460)) //nolint:gosec // the same each time
	pick := func(of ...float64) float64 { return of[rnd.IntN(len(of))] }
	for i := range 200 {
		h := &history{}
		days := 60
		if rnd.IntN(4) == 0 {
			days = 1 + rnd.IntN(60) // a young domain
		}
		bad := pick(0, 0.0001, 0.001, 0.005)
		for r := range 1 + rnd.IntN(6) {
			name := fmt.Sprintf("reporter%d.example", r)
			volume, each := pick(2, 10, 100, 10_000, 1_000_000), pick(1, 1, 0.7, 0.3, 0.1)
			work := rnd.IntN(4) == 0
			lag := rnd.IntN(4)
			if r > 0 && rnd.IntN(10) == 0 {
				lag = rnd.IntN(25)
			}
			for d := days - 1; d >= lag; d-- {
				if weekday := until.AddDate(0, 0, -1-d).Weekday(); rnd.Float64() >= each || work && (weekday == time.Saturday || weekday == time.Sunday) {
					continue
				}
				sessions := 1 + int64(volume*(0.5+rnd.Float64()))
				failed := binomial(rnd, sessions, bad)
				h.say(d, name, sessions, failed, pickText(rnd, "starttls-not-supported", "sts-policy-fetch-error", "validation-failure"), pickText(rnd, "", "mx1.example.com", "mx2.example.com"))
			}
		}
		if s := h.summary(); len(s.Anomalies) > 0 {
			t.Errorf("history %d: %v: %s", i, told(s), s.Anomalies[0].Text)
		}
	}
}

// A quiet domain, three reports a month at any time, raises no alarm on any day of years.
func TestQuietDomain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 30)) //nolint:gosec // the same each time
	h := &history{}
	alarms := 0
	for d := 1000; d >= 0; d-- {
		if rnd.IntN(10) == 0 {
			h.say(d, "a.example", 1+rnd.Int64N(3), 0, "", "")
		}
	}
	for d := 940; d >= 0; d-- {
		end := until.AddDate(0, 0, -d)
		alarms += len(reports.Summarize("example.com", &h.Facts, end.AddDate(0, 0, -30), end).Anomalies)
	}
	if alarms > 0 {
		t.Errorf("an alarm on %d days", alarms)
	}
}

func pickText(rnd *rand.Rand, of ...string) string { return of[rnd.IntN(len(of))] }

// binomial counts how many of n fail, each with a chance.
func binomial(rnd *rand.Rand, n int64, chance float64) (failed int64) {
	if n > 10_000 { // the mean, give or take
		mean := float64(n) * chance
		return int64(mean * (0.8 + 0.4*rnd.Float64()))
	}
	for range n {
		if rnd.Float64() < chance {
			failed++
		}
	}
	return failed
}

// docs/reports.md has the rule of each code.
func TestAnomaliesAreExplained(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range reports.AnomalyCodes() {
		if !strings.Contains(string(doc), "| `"+string(code)+"` | ") {
			t.Errorf("docs/reports.md does not explain %s", code)
		}
	}
}
