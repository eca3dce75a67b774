package reports_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

var today = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const policyLines = `"version: STSv1","mode: testing","mx: mx1.example.com","max_age: 86400"`

// report is one on domain, of a day, with failures of "type mx sessions".
func report(domain, id string, daysAgo, ok, failed int, failures ...string) []byte {
	var details []string
	for _, f := range failures {
		var result, mx string
		var n int
		if _, err := fmt.Sscan(f, &result, &mx, &n); err != nil {
			panic(err)
		}
		details = append(details, fmt.Sprintf(`{"result-type":%q,"receiving-mx-hostname":%q,"sending-mta-ip":"192.0.2.7","failed-session-count":%d}`, result, mx, n))
	}
	day := today.AddDate(0, 0, -daysAgo).Format("2006-01-02")
	return fmt.Appendf(nil, `{"organization-name":"Sender Inc.","date-range":{"start-datetime":"%[1]sT00:00:00Z","end-datetime":"%[1]sT23:59:59Z"},
		"contact-info":"tls@sender.example","report-id":%[2]q,"policies":[{"policy":{"policy-type":"sts","policy-string":[%[7]s],"policy-domain":%[3]q,"mx-host":["mx1.example.com"]},
		"summary":{"total-successful-session-count":%[4]d,"total-failure-session-count":%[5]d},"failure-details":[%[6]s]}]}`,
		day, id, domain, ok, failed, strings.Join(details, ","), policyLines)
}

func arrival(data []byte) *reports.Arrival {
	return &reports.Arrival{Channel: reports.SMTP, Received: today, Source: "192.0.2.1", Data: data, Submitter: "sender.example"}
}

func stranger(data []byte) *reports.Arrival {
	return &reports.Arrival{Channel: reports.HTTPS, Received: today, Source: "192.0.2.1", Data: data, Unauthenticated: reports.NoAuthentication}
}

func newStore(t testing.TB, o database.Options, now func() time.Time) *reports.Store {
	t.Helper()
	db, err := database.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := reports.New(reports.Options{
		DB: db, Keep: reports.DefaultKeep(), Now: now, Log: slog.New(slog.DiscardHandler),
		Known: func(domain string) bool {
			return strings.HasSuffix(domain, "example.com") || strings.HasSuffix(domain, "example.org")
		},
		DomainOf: func(token string) string {
			if token == "abc" {
				return "example.com"
			}
			return ""
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noon() time.Time { return today }

// fates are what became of arrivals: "taken", or "aside: too-old".
func fates(t *testing.T, s *reports.Store, arrivals ...*reports.Arrival) []string {
	t.Helper()
	outcomes, err := s.Put(t.Context(), arrivals)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, o := range outcomes {
		f := string(o.Fate)
		if o.Reason != "" {
			f += ": " + string(o.Reason)
		}
		list = append(list, f)
	}
	return list
}

func each(t *testing.T, test func(*testing.T, *reports.Store)) {
	databasetest.Each(t, func(t *testing.T, o database.Options) { test(t, newStore(t, o, noon)) })
}

func TestPut(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		one := report("example.com", "id-1", 1, 10, 2, "certificate-expired mx1.example.com 2")
		for _, c := range []struct {
			why  string
			what *reports.Arrival
			want string
		}{
			{"the first", arrival(one), "taken"},
			{"the same", arrival(one), "repeated"},
			{"the same, packed", arrival(gz(one)), "repeated"},
			{"the same by a stranger, who takes nobody's place", stranger(one), "taken"},
			{"the same by another submitter", &reports.Arrival{Channel: reports.SMTP, Data: one, Submitter: "other.example"}, "taken"},
			{"another id", arrival(report("example.com", "id-2", 1, 10, 0)), "taken"},
			{"the id with another window", arrival(report("example.com", "id-1", 2, 10, 0)), "taken"},
			{"late, as Microsoft's may be", arrival(report("example.com", "id-1", 24, 10, 0)), "taken"},
			{"too late", arrival(report("example.com", "id-1", 102, 10, 0)), "aside: too-old"},
			{"tomorrow's", arrival(report("example.com", "id-1", -1, 10, 0)), "taken"},
			{"of next week", arrival(report("example.com", "id-1", -6, 10, 0)), "aside: in-the-future"},
			{"nobody's domain", arrival(report("example.net", "id-1", 1, 10, 0)), "aside: foreign-domain"},
			{"no domain", arrival(report("", "id-1", 1, 10, 0)), "aside: no-domain"},
			{"no report", arrival([]byte("hello")), "aside: not-json"},
			{"nothing", arrival(nil), "aside: not-json"},
			{"a mail without one", &reports.Arrival{Channel: reports.LMTP, Mail: true, Data: []byte("Subject: hi\r\n\r\nhi\r\n")}, "aside: no-report"},
		} {
			if got := fates(t, s, c.what); !cmp.Equal(got, []string{c.want}) {
				t.Errorf("%s: %q, want %q", c.why, got, c.want)
			}
		}
		list, err := s.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 100})
		if err != nil || len(list) != 7 {
			t.Fatalf("%d reports, error %v, want 7", len(list), err)
		}
		asides, err := s.Asides(t.Context(), 100)
		if err != nil || len(asides) != 7 {
			t.Fatalf("%d asides, error %v, want 7", len(asides), err)
		}
		x, err := s.ShowAside(t.Context(), asides[2].Number)
		if err != nil || string(x.Data) != "hello" || x.Size != 5 || x.Submitter != "sender.example" || !strings.Contains(x.Detail, "invalid character") {
			t.Errorf("%+v, %v", x, err)
		}
	})
}

// One batch may have the same report twice, and one that is known.
// Since is when the first report came, and not of which day it is.
func TestSince(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		if at, err := s.Since(t.Context()); err != nil || !at.IsZero() {
			t.Errorf("of none: %s, %v", at, err)
		}
		fates(t, s, arrival(report("example.com", "id-1", 5, 10, 0)))
		later := arrival(report("example.com", "id-2", 6, 10, 0))
		later.Received = today.Add(time.Hour)
		fates(t, s, later)
		if at, err := s.Since(t.Context()); err != nil || !at.Equal(today.Truncate(time.Second)) {
			t.Errorf("%s, %v; want %s", at, err, today)
		}
	})
}

func TestPutInOneBatch(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		a, b := report("example.com", "a", 1, 1, 0), report("example.com", "b", 1, 1, 0)
		fates(t, s, arrival(a))
		got := fates(t, s, arrival(b), arrival(a), arrival(b), arrival([]byte("x")), arrival([]byte("x")))
		want := []string{"taken", "repeated", "repeated", "aside: not-json", "aside: not-json"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if asides, err := s.Asides(t.Context(), 9); err != nil || len(asides) != 1 {
			t.Errorf("%d asides, %v", len(asides), err)
		}
	})
}

func gz(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// A report on several domains is kept apart: nothing of one can be read by another's name.
func TestSplit(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		var a, b struct {
			Policies []json.RawMessage `json:"policies"`
		}
		whole := map[string]any{}
		one := report("example.com", "id", 1, 1, 0)
		for _, err := range []error{json.Unmarshal(one, &a), json.Unmarshal(report("example.org", "id", 1, 5, 1, "starttls-not-supported secret.example.org 1"), &b), json.Unmarshal(one, &whole)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		whole["policies"] = append(a.Policies, b.Policies...)
		text, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if got := fates(t, s, arrival(text)); got[0] != "taken" {
			t.Fatal(got)
		}
		for domain, other := range map[string]string{"example.com": "example.org", "example.org": "mx1.example.com\",\"policy-domain\":\"example.com"} {
			list, err := s.List(t.Context(), reports.Filter{Domain: domain, Limit: 10})
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			w, err := s.Show(t.Context(), list[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(w.Raw), other) || !strings.Contains(string(w.Raw), domain) || len(w.Report.Policies) != 1 {
				t.Errorf("%s sees %s", domain, w.Raw)
			}
			if _, err := s.Show(t.Context(), reports.ID{Domain: other, Number: list[0].ID.Number}); !errors.Is(err, reports.ErrNotFound) {
				t.Errorf("the report of %s by another name: %v", domain, err)
			}
		}
	})
}

func TestShow(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		text := report("example.com", "id", 1, 10, 2, "certificate-expired mx1.example.com 2")
		fates(t, s, arrival(gz(text)))
		list, err := s.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 10})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		w, err := s.Show(t.Context(), list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlsrpt.ParseReport(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.Report); diff != "" {
			t.Errorf("the report (-want +got):\n%s", diff)
		}
		if !bytes.Equal(w.Raw, text) {
			t.Errorf("raw: %s", w.Raw)
		}
		if w.Successful != 10 || w.Failed != 2 || w.Submitter != "sender.example" || w.Unauthenticated != "" || !w.Received.Equal(today) {
			t.Errorf("%+v", w.Entry)
		}
		id, err := reports.ParseID(w.ID.String())
		if err != nil || id != w.ID {
			t.Errorf("ParseID(%q) = %v, %v", w.ID, id, err)
		}
	})
}

// What a mail says of its report, in its subject, its fields and the file's name, does not
// count where the report says otherwise (RFC 8460 §5.6).
func TestReportGoesBeforeItsMail(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		mail := "From: tls@sender.example\r\nSubject: Report Domain: example.org Submitter: other.example Report-ID: <wrong@other.example>\r\n" +
			"TLS-Report-Domain: example.org\r\nTLS-Report-Submitter: other.example\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: application/tlsrpt+json\r\n" +
			"Content-Disposition: attachment; filename=\"other.example!example.org!1!2!wrong.json\"\r\n\r\n" + string(report("example.com", "right", 1, 10, 2)) + "\r\n--b--\r\n"
		a := arrival([]byte(mail))
		a.Mail = true
		if got := fates(t, s, a, arrival(report("example.com", "right", 1, 10, 2))); !cmp.Equal(got, []string{"taken", "repeated"}) {
			t.Error(got)
		}
		list, err := s.List(t.Context(), reports.Filter{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID.Domain != "example.com" || list[0].ReportID != "right" ||
			list[0].Submitter != "sender.example" || !list[0].Start.Equal(today.AddDate(0, 0, -1).Truncate(24*time.Hour)) {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// A window of several days counts for the day in which it begins, wherever that is said to be.
func TestWindowIsOfItsFirstDay(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		for i, window := range [][2]string{
			{"2026-11-10T00:00:00Z", "2026-11-16T23:59:59Z"},
			{"2026-11-10T22:00:00-04:00", "2026-11-11T21:59:59-04:00"}, // the 11th in UTC
		} {
			text := string(report("example.com", fmt.Sprint(i), 1, 10, 0))
			text = strings.Replace(strings.Replace(text, "2026-11-19T00:00:00Z", window[0], 1), "2026-11-19T23:59:59Z", window[1], 1)
			fates(t, s, arrival([]byte(text)))
		}
		facts, err := s.Facts(t.Context(), "example.com", today.AddDate(0, 0, -30), today)
		if err != nil || len(facts.Days) != 2 || facts.Days[0].Day.Day() != 10 || facts.Days[1].Day.Day() != 11 {
			t.Errorf("%+v, %v", facts, err)
		}
	})
}

// A report without a domain is known by the address that it came to, which nobody signed.
func TestToken(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		a := arrival(report("", "id", 1, 4, 0))
		a.Token = "abc"
		b := arrival(report("", "id", 1, 4, 0))
		b.Token = "unknown"
		if got := fates(t, s, a, b); !cmp.Equal(got, []string{"taken", "aside: no-domain"}) {
			t.Error(got)
		}
		list, err := s.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 10})
		if err != nil || len(list) != 1 || list[0].Unauthenticated != reports.DomainNotSigned {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// Who signs a bounce, or what is passed on, does not say what stands in the mail within it:
// anybody can have a mail bounce that looks like a report.
func TestMailWithinMail(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		inner := "From: mallory@evil.example\r\nContent-Type: application/tlsrpt+json\r\n\r\n" + string(report("example.com", "id", 1, 4, 0))
		a := arrival([]byte("From: mailer-daemon@sender.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n" +
			"--b\r\nContent-Type: text/plain\r\n\r\nIt bounced.\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + "\r\n--b--\r\n"))
		a.Mail = true
		if got := fates(t, s, a); !cmp.Equal(got, []string{"taken"}) {
			t.Error(got)
		}
		list, err := s.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 10})
		if err != nil || len(list) != 1 || list[0].Unauthenticated != reports.WithinMail {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func TestFlood(t *testing.T) {
	now := today
	s := newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, func() time.Time { return now })
	send := func(make func([]byte) *reports.Arrival, domain string, from, n int) (taken, flood int) {
		var all []*reports.Arrival
		for i := range n {
			all = append(all, make(report(domain, fmt.Sprint(from+i), 1, 1, 0)))
		}
		for _, f := range fates(t, s, all...) {
			switch f {
			case "taken":
				taken++
			case "aside: flood":
				flood++
			}
		}
		return taken, flood
	}
	if taken, flood := send(stranger, "example.com", 0, 600); taken != 500 || flood != 100 {
		t.Errorf("%d taken, %d flood", taken, flood)
	}
	// Neither another domain nor who is authenticated is hurt by that.
	if taken, _ := send(stranger, "example.org", 0, 1); taken != 1 {
		t.Error("another domain's is not taken")
	}
	if taken, _ := send(arrival, "example.com", 0, 1); taken != 1 {
		t.Error("an authenticated one is not taken")
	}
	if taken, flood := send(arrival, "example.com", 1, 600); taken != 499 || flood != 101 {
		t.Errorf("of one submitter: %d taken, %d flood", taken, flood)
	}
	now = now.AddDate(0, 0, 1)
	if taken, _ := send(stranger, "example.com", 1000, 1); taken != 1 {
		t.Error("the next day's is not taken")
	}
}

// What waits for its database is tried again and again, and counts once; repeats count
// for nothing.
func TestFloodCountsWhatIsTaken(t *testing.T) {
	s := newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, noon)
	if got := fates(t, s, stranger(report("example.com", "0", 1, 1, 0))); got[0] != "taken" {
		t.Fatal(got)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	waiting := stranger(report("example.com", "1", 1, 1, 0))
	for range 600 {
		if _, err := s.Put(gone, []*reports.Arrival{waiting}); err == nil {
			t.Fatal("it was stored")
		}
	}
	for range 600 {
		fates(t, s, stranger(report("example.com", "0", 1, 1, 0)))
	}
	if got := fates(t, s, waiting); got[0] != "taken" {
		t.Errorf("what waited is %s", got[0])
	}
}

// Numbers and names of strangers neither overflow sums nor fill the database.
func TestHostileSums(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		var all []*reports.Arrival
		for i := range 1200 { // times 2^53 is more than an int64 has
			a := arrival(report("example.com", fmt.Sprint(i), 1, tlsrpt.MaxSessions, tlsrpt.MaxSessions, fmt.Sprintf("certificate-expired mx1.example.com %d", tlsrpt.MaxSessions)))
			a.Channel = reports.File
			all = append(all, a)
		}
		for _, f := range fates(t, s, all...) {
			if f != "taken" {
				t.Fatal(f)
			}
		}
		var failures []string
		for i := range 900 {
			failures = append(failures, fmt.Sprintf("made-up-%d host%d.example.com 1", i, i))
		}
		if got := fates(t, s, stranger(report("example.org", "id", 1, 0, 900, failures...))); got[0] != "taken" {
			t.Fatal(got)
		}
		facts, err := s.Facts(context.Background(), "example.org", today.AddDate(0, 0, -2), today)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, f := range facts.Failures {
			sum += f.Sessions
		}
		if len(facts.Failures) > 21 || sum != 900 {
			t.Errorf("%d sums of %d sessions", len(facts.Failures), sum)
		}
	})
}

func TestTidy(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		now := today
		s := newStore(t, o, func() time.Time { return now })
		put := func(id string) {
			t.Helper()
			day := int(today.Sub(now).Hours()/24) + 1
			a, x := arrival(report("example.com", id, day, 3, 1, "certificate-expired mx1.example.com 1")), arrival([]byte(id))
			a.Received, x.Received = now, now
			fates(t, s, a, x)
		}
		left := func() string {
			t.Helper()
			if err := s.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			list, err := s.List(t.Context(), reports.Filter{Domain: "example.com", Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			out := ""
			for _, e := range list {
				w, err := s.Show(t.Context(), e.ID)
				if err != nil {
					t.Fatal(err)
				}
				out += fmt.Sprintf("%s raw=%v details=%v ", e.ReportID, w.Raw != nil, w.Report != nil)
			}
			asides, err := s.Asides(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			facts, err := s.Facts(t.Context(), "example.com", today.AddDate(-3, 0, 0), now)
			if err != nil {
				t.Fatal(err)
			}
			return out + fmt.Sprintf("asides=%d days=%d", len(asides), len(facts.Days))
		}
		put("a")
		now = now.AddDate(0, 0, 20)
		put("b")
		for _, c := range []struct {
			days int // from the start
			want string
		}{
			{20, "b raw=true details=true a raw=true details=true asides=2 days=2"},
			{31, "b raw=true details=true a raw=false details=true asides=1 days=2"},
			{51, "b raw=false details=true a raw=false details=true asides=0 days=2"},
			{105, "b raw=false details=true asides=0 days=2"},
			{125, "asides=0 days=2"},
			{740, "asides=0 days=1"},
			{800, "asides=0 days=0"},
		} {
			now = today.AddDate(0, 0, c.days)
			if got := left(); got != c.want {
				t.Errorf("after %d days: %s, want %s", c.days, got, c.want)
			}
		}
	})
}

// What comes again after it was given up must not be counted once more.
func TestNeverTwice(t *testing.T) {
	now := today
	s := newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, func() time.Time { return now })
	text := report("example.com", "a", 1, 3, 0)
	taken := 0
	for range 130 {
		for _, f := range fates(t, s, arrival(text)) {
			if f == "taken" {
				taken++
			}
		}
		if err := s.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.AddDate(0, 0, 1)
	}
	if taken != 1 {
		t.Errorf("taken %d times", taken)
	}
}

// The sums of all domains come one domain after the other, also where the database sorts
// names as a dictionary does.
func TestEachFacts(t *testing.T) {
	each(t, func(t *testing.T, s *reports.Store) {
		domains := []string{"a-b.example.com", "ab.example.com", "a.example.com", "a--z.example.com", "z.example.org", "aa.example.com"}
		for _, domain := range domains {
			failed := 0
			var failures []string
			if domain != "ab.example.com" {
				failed, failures = 2, []string{"certificate-expired mx1.example.com 2"}
			}
			fates(t, s, arrival(report(domain, "a", 1, 3, failed, failures...)), arrival(report(domain, "b", 2, 3, failed, failures...)))
		}
		seen := map[string]int{}
		err := s.EachFacts(t.Context(), today.AddDate(0, 0, -5), today, func(domain string, f *reports.Facts) error {
			one, err := s.Facts(t.Context(), domain, today.AddDate(0, 0, -5), today)
			if diff := cmp.Diff(one, f); diff != "" {
				t.Errorf("%s: %s", domain, diff)
			}
			seen[domain]++
			return err
		})
		if err != nil || len(seen) != len(domains) {
			t.Errorf("%v, %v", seen, err)
		}
	})
}

// Who makes up names of submitters fills nothing with them.
func TestMadeUpSubmitters(t *testing.T) {
	s := newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, noon)
	var all []*reports.Arrival
	for i := range 500 {
		text := strings.Replace(string(report("example.com", "id", 1, 2, 0)), "tls@sender.example", fmt.Sprintf("tls@made-up-%d.example", i), 1)
		all = append(all, stranger([]byte(strings.Replace(text, `"id"`, fmt.Sprintf(`"id-%d"`, i), 1))))
	}
	fates(t, s, all...)
	facts, err := s.Facts(t.Context(), "example.com", today.AddDate(0, 0, -2), today)
	if err != nil || len(facts.Days) != 51 {
		t.Fatalf("%d sums, %v", len(facts.Days), err)
	}
	var sessions int64
	for _, d := range facts.Days {
		sessions += d.Successful
	}
	if sessions != 1000 {
		t.Errorf("%d sessions", sessions)
	}
}

// A report on thousands of domains that are not ours does not push out what others sent.
func TestManyForeignDomains(t *testing.T) {
	s := newStore(t, database.Options{File: t.TempDir() + "/reports.db"}, noon)
	var policies []string
	for i := range 500 {
		policies = append(policies, fmt.Sprintf(`{"policy":{"policy-type":"sts","policy-domain":"d%d.example.net"},"summary":{"total-successful-session-count":1,"total-failure-session-count":0}}`, i))
	}
	text := fmt.Sprintf(`{"organization-name":"x","date-range":{"start-datetime":"2026-11-19T00:00:00Z","end-datetime":"2026-11-19T23:59:59Z"},"contact-info":"x@sender.example","report-id":"id","policies":[%s]}`, strings.Join(policies, ","))
	if got := fates(t, s, stranger([]byte(text))); got[0] != "aside: foreign-domain" {
		t.Fatal(got)
	}
	asides, err := s.Asides(t.Context(), 1000)
	if err != nil || len(asides) != 20 {
		t.Fatalf("%d asides, %v", len(asides), err)
	}
	for _, a := range asides {
		if strings.HasPrefix(a.Detail, "and 480 more of the same report") {
			return
		}
	}
	t.Error("nothing says how many there were")
}
