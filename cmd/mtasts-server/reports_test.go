package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// The period of the golden summaries.
var (
	goldenUntil = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	goldenSince = goldenUntil.AddDate(0, 0, -30)
)

// sayings are facts in the making.
type sayings struct{ reports.Facts }

func (f *sayings) say(daysAgo int, submitter string, authenticated bool, sessions, failed int64, resultType, mx string) {
	d := goldenUntil.AddDate(0, 0, -1-daysAgo)
	f.Days = append(f.Days, reports.Day{Day: d, Submitter: submitter, Authenticated: authenticated, PolicyType: "sts", Reports: 1, Successful: sessions - failed, Failed: failed})
	if failed > 0 {
		f.Failures = append(f.Failures, reports.Failures{Day: d, Submitter: submitter, Authenticated: authenticated, PolicyType: "sts", ResultType: resultType, MX: mx, Sessions: failed})
	}
}

// summaries are one of each kind: broken, forged, quiet, silent.
func summaries() []*reports.Summary {
	var broken, forged, fine, silent sayings
	for d := 59; d >= 1; d-- {
		broken.say(d, "google.com", true, 12_000, int64(d%3), "sts-policy-fetch-error", "")
		if d < 8 {
			broken.say(d, "microsoft.com", true, 500, 400, "certificate-expired", "backup-mail-exchanger-number-2.datacenter-north.broken.example")
		} else {
			broken.say(d, "microsoft.com", true, 500, 0, "", "")
		}
		if d > 30 {
			broken.say(d, "gone.example", true, 40, 2, "tlsa-invalid", "mx1.broken.example")
			silent.say(d, "google.com", true, 10, 0, "", "")
		}
		forged.say(d, "google.com", true, 100, 0, "", "")
		fine.say(d, "google.com", true, 1, 0, "", "")
	}
	forged.say(2, "google.com", false, 1_000_000, 1_000_000, "starttls-not-supported", "mx.forged.example")
	forged.say(2, "\x1b[2J\u202eliam.ru", false, 20, 20, "starttls-not-supported", "mx.forged.example")
	var all []*reports.Summary
	for domain, f := range map[string]*sayings{"broken.example": &broken, "forged.example": &forged, "fine.example": &fine, "silent.example": &silent} {
		all = append(all, reports.Summarize(domain, &f.Facts, goldenSince, goldenUntil))
	}
	slices.SortFunc(all, func(a, b *reports.Summary) int { return strings.Compare(a.Domain, b.Domain) })
	return all
}

func summarized(t *testing.T, asJSON, full bool, all []*reports.Summary) []byte {
	t.Helper()
	var out bytes.Buffer
	p := summaryForm(asJSON, full)(&out)
	var totals summaryTotals
	for _, s := range all {
		totals.add(s)
		p.summary(s)
	}
	totals.SuccessRate = reports.SuccessRate(totals.Sessions, totals.Failed)
	if err := p.end(totals); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// golden compares with a file in testdata/reports. UPDATE_GOLDEN=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "reports", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// What people and machines read. Lines fit on any terminal, unless a name stands out.
func TestSummaryForms(t *testing.T) {
	all := summaries()
	golden(t, "summary.golden", summarized(t, false, true, all))
	golden(t, "table.golden", summarized(t, false, false, all))
	golden(t, "summary.json.golden", summarized(t, true, false, all[:1]))
	for _, full := range []bool{true, false} {
		for line := range strings.Lines(string(summarized(t, false, full, all))) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > reportWidth {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
}

// An output that takes no more is told of.
func TestSummaryOutputBreaks(t *testing.T) {
	full := errors.New("no space left")
	for _, form := range [][2]bool{{true, false}, {false, true}, {false, false}} {
		p := summaryForm(form[0], form[1])(writer(func([]byte) (int, error) { return 0, full }))
		p.summary(summaries()[0])
		if err := p.end(summaryTotals{Domains: 1}); !errors.Is(err, full) {
			t.Errorf("%v: %v", form, err)
		}
	}
	if err := (exportCSV{writer(func([]byte) (int, error) { return 0, full })}).report(hostileReport()); !errors.Is(err, full) {
		t.Errorf("csv: %v", err)
	}
}

// nasty is what a stranger may write into any text of a report: escape sequences, C1
// controls, text that runs backwards, line ends, a formula.
const nasty = "=HYPERLINK(\"http://x\")\x1b]0;owned\x07\x1b[2J\u009b31m\u202e\r\n\tx\x7f\U000e0041\x00"

// hostileReport is nasty wherever it can be.
func hostileReport() *reports.Whole {
	return &reports.Whole{
		Entry: reports.Entry{
			ID: reports.ID{Domain: "a.example", Number: 7}, Start: goldenSince, End: goldenSince, Received: goldenUntil, Submitter: nasty,
			Unauthenticated: reports.NotSigned, Channel: reports.SMTP, Source: nasty, ReportID: nasty, Organization: nasty, Contact: nasty,
			Successful: 10, Failed: 3, Notes: []tlsrpt.Note{{Code: tlsrpt.NoteUnknownKey, Path: nasty}},
		},
		Report: &tlsrpt.Report{
			OrganizationName: nasty, ContactInfo: nasty, ReportID: nasty,
			Policies: []tlsrpt.PolicyReport{{
				Type: nasty, Text: []string{nasty, strings.Repeat(nasty, 1000)}, Domain: nasty, MXHosts: []string{nasty}, Successful: 10, Failed: 3,
				FailureList: []tlsrpt.FailureDetails{
					{ResultType: nasty, SendingMTAIP: nasty, ReceivingIP: nasty, ReceivingMXHostname: nasty, ReceivingMXHelo: nasty, FailedSessions: 1, AdditionalInformation: nasty, FailureReasonCode: nasty},
					{ResultType: tlsrpt.CertificateExpired, FailedSessions: 2},
				},
			}, {Type: tlsrpt.PolicyTLSA, Successful: 5}},
		},
	}
}

func hostileAside() *reports.AsideEntry {
	return &reports.AsideEntry{Number: 3, Received: goldenUntil, Channel: reports.HTTPS, Source: nasty, Submitter: nasty, Domain: nasty, Reason: "not-json", Detail: nasty, Size: 99, Data: []byte(nasty)}
}

// No control character reaches a terminal, in whatever form, nor text that runs backwards.
func TestNothingIsObeyed(t *testing.T) {
	texts := map[string]func(io.Writer) error{
		"show":       func(w io.Writer) error { printReport(w, hostileReport()); return nil },
		"show aside": func(w io.Writer) error { printAside(w, hostileAside()); return nil },
		"show json":  func(w io.Writer) error { return printJSON(jsonWriter{w}, hostileReport()) },
		"aside json": func(w io.Writer) error { return printJSON(jsonWriter{w}, hostileAside()) },
		"csv":        func(w io.Writer) error { return exportCSV{w}.report(hostileReport()) },
		"json lines": func(w io.Writer) error { return exportJSON{jsonWriter{w}}.report(hostileReport()) },
		"list": func(w io.Writer) error {
			return printEntries(w, []reports.Entry{hostileReport().Entry}, &listed{limit: 1})
		},
		"asides": func(w io.Writer) error {
			return printAsides(w, []reports.AsideEntry{*hostileAside()}, &listed{limit: 1})
		},
		"raw": func(w io.Writer) error { _, err := w.Write(tame([]byte(nasty))); return err },
	}
	var nastySummary sayings
	nastySummary.say(1, nasty, false, 10, 10, nasty, nasty)
	nastySummary.say(40, nasty, true, 10, 10, nasty, nasty)
	for _, form := range [][2]bool{{true, false}, {false, true}, {false, false}} {
		texts[fmt.Sprint("summary ", form)] = func(w io.Writer) error {
			_, err := w.Write(summarized(t, form[0], form[1], []*reports.Summary{reports.Summarize("a.example", &nastySummary.Facts, goldenSince, goldenUntil)}))
			return err
		}
	}
	for name, text := range texts {
		var out bytes.Buffer
		if err := text(&out); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if !utf8.ValidString(got) || len(got) == 0 {
			t.Errorf("%s: %q", name, got)
		}
		for _, r := range strings.ReplaceAll(got, "\r\n", "\n") {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U in %q", name, r, got)
				break
			}
		}
		if strings.Count(got, "\n") > 200 || len(got) > 200_000 {
			t.Errorf("%s is %d bytes", name, len(got))
		}
	}
}

// JSON means the same after it was made harmless.
func TestJSONWriter(t *testing.T) {
	var out bytes.Buffer
	if err := printJSON(jsonWriter{&out}, map[string]string{"text": nasty + "äß漢😀"}); err != nil {
		t.Fatal(err)
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["text"] != nasty+"äß漢😀" {
		t.Errorf("%q, %v", back, err)
	}
	if !strings.Contains(out.String(), "äß漢😀") {
		t.Errorf("what is harmless is escaped: %s", out.String())
	}
}

// No cell begins a formula, and sums are right: each count stands once.
func TestExportCSV(t *testing.T) {
	var out bytes.Buffer
	e := exportCSV{&out}
	plain := hostileReport()
	plain.Report = nil
	for _, err := range []error{e.begin(), e.report(hostileReport()), e.report(plain)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 5 {
		t.Fatalf("%d rows, want a head, two failures, a policy without, and a report without details", len(rows))
	}
	column := func(name string) (cells []string) {
		for i, head := range rows[0] {
			if head == name {
				for _, row := range rows[1:] {
					cells = append(cells, row[i])
				}
			}
		}
		return cells
	}
	for name, want := range map[string][]string{
		"id":                {"a.example/7", "a.example/7", "a.example/7", "a.example/7"},
		"failed":            {"3", "", "", "3"},
		"successful":        {"10", "", "", "10"},
		"policy_failed":     {"3", "", "0", ""},
		"policy_successful": {"10", "", "5", ""},
		"failed_sessions":   {"1", "2", "", ""},
	} {
		if diff := cmp.Diff(want, column(name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r ") {
				t.Errorf("%s: %q", rows[0][i], cell)
			}
		}
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "Google Inc.": "Google Inc.", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "  =1": "'  =1", "＝1": "'＝1",
		"\t=1": `\t=1`, "\r=1": `\r=1`, "a=1": "a=1", "'=1": "'=1", "192.0.2.1": "192.0.2.1", "::1": "::1",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestDays(t *testing.T) {
	for in, want := range map[string]int{"1d": 1, "30d": 30, "4w": 28, "3660d": 3660, "": 0, "30": 0, "d": 0, "0d": 0, "-1d": 0, "1h": 0, "3661d": 0, "1000w": 0, "1dd": 0, "99999999999999999999d": 0, "1.5d": 0} {
		var d days
		if err := d.Set(in); int(d) != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, error %v, want %d", in, d, err, want)
		}
	}
	since, until := days(30).period(time.Date(2026, 11, 20, 23, 30, 0, 0, time.FixedZone("", -3600)))
	if want := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC); !until.Equal(want) || !since.Equal(want.AddDate(0, 0, -30)) {
		t.Errorf("from %v to %v", since, until)
	}
	if since, _ := days(0).period(goldenUntil); !since.IsZero() {
		t.Errorf("all begins at %v", since)
	}
}

func TestPrintable(t *testing.T) {
	for _, c := range [][2]string{
		{"plain", "plain"}, {`a "b" c:\d`, `a "b" c:\d`}, {"äß漢", "äß漢"}, {"a\x1bb", `a\x1bb`}, {"\u202ex", `\u202ex`}, {"\xff", `\xff`}, {"12345678901", "1234567890..."}, {"äääääääääää", "ääääääääää..."},
	} {
		if got := printable(c[0], 10); got != c[1] {
			t.Errorf("%q is %q, want %q", c[0], got, c[1])
		}
	}
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 123456: "123,456"} {
		if got := thousands(in); got != want {
			t.Errorf("%d is %s, want %s", in, got, want)
		}
	}
	for _, c := range []struct {
		sessions, failed int64
		want             string
	}{{0, 0, "-"}, {1, 0, "100.00%"}, {100_000, 1, "99.99%"}, {10_000, 2, "99.98%"}, {3, 3, "0.00%"}, {100, 71, "29.00%"}} {
		if got := ratePercent(reports.SuccessRate(c.sessions, c.failed)); got != c.want {
			t.Errorf("%d of %d: %s, want %s", c.failed, c.sessions, got, c.want)
		}
	}
}
