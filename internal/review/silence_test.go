package review_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/review"
)

func TestMark(t *testing.T) {
	now := start
	f := func(domain, code, subject string) review.Finding {
		return review.Finding{Domain: domain, Problem: problem(code, subject, review.Error)}
	}
	closed := f("closed.example", "c", "s")
	closed.Closed = now
	silences := []review.Silence{
		{Domain: "a.example", Code: "mx-tls-old", Reason: "one", Until: now.Add(time.Hour)},
		{Domain: "a.example", Subject: "mx1", Reason: "two", Until: now.Add(2 * time.Hour)},
		{Domain: "b.example", Reason: "over", Until: now},
		{Domain: "b.example", Code: "mx-tls-old", Subject: "mx2", Reason: "fits nothing", Until: now.Add(time.Hour)},
		{Domain: "closed.example", Reason: "done", Until: now.Add(time.Hour)},
	}
	marked, notes := review.Mark([]review.Finding{
		f("a.example", "mx-tls-old", "mx2"), f("a.example", "mx-tls-old", "mx1"), f("a.example", "other", "mx3"),
		f("b.example", "mx-tls-old", "mx1"), f("sub.a.example", "mx-tls-old", "mx1"), closed,
	}, silences, now)
	var got []string
	for _, m := range marked {
		reason := ""
		if m.Silence != nil {
			reason = m.Silence.Reason
		}
		got = append(got, reason)
	}
	if diff := cmp.Diff([]string{"one", "two", "", "", "", "done"}, got); diff != "" {
		t.Error(diff)
	}
	want := []review.SilenceNote{{Silence: silences[2], Expired: true}, {Silence: silences[3]}, {Silence: silences[4]}}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Error(diff)
	}
}
