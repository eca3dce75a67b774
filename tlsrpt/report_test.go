package tlsrpt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/tlsrpt"
)

// plain is a report that has nothing odd. The corpus changes one thing of it each.
const plain = `{
  "organization-name": "Sender Inc.",
  "date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"},
  "contact-info": "tls@sender.example",
  "report-id": "2026-11-24T00:00:00Z_example.com",
  "policies": [{
    "policy": {
      "policy-type": "sts",
      "policy-string": ["version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"],
      "policy-domain": "example.com",
      "mx-host": ["mx1.example.com"]
    },
    "summary": {"total-successful-session-count": 90, "total-failure-session-count": 10},
    "failure-details": [{
      "result-type": "certificate-expired",
      "sending-mta-ip": "192.0.2.1",
      "receiving-mx-hostname": "mx1.example.com",
      "receiving-mx-helo": "mx1.example.com",
      "receiving-ip": "2001:db8::25",
      "failed-session-count": 10,
      "additional-information": "https://sender.example/why",
      "failure-reason-code": "X509_V_ERR_CERT_HAS_EXPIRED"
    }]
  }]
}`

// specimen is one thing that a reporter does. Those with a C are in the wild, by the
// number in which they were noted.
type specimen struct {
	name    string
	change  []string // old, new, old, new...; of plain
	report  string   // instead
	notes   []tlsrpt.NoteCode
	aside   string // the reason to set it aside
	ok, bad int64  // sessions of example.com; 0 and 0 for 90 and 10
}

func notes(codes ...tlsrpt.NoteCode) []tlsrpt.NoteCode { return codes }

var corpus = []specimen{
	{name: "plain"},
	{name: "C1 dates without a zone", change: []string{"00:00:00Z\", \"end", "00:00:00\", \"end", "23:59:59Z", "23:59:59"}, notes: notes(tlsrpt.NoteNoZone, tlsrpt.NoteNoZone)},
	{name: "C2 no mx-host", change: []string{`,
      "mx-host": ["mx1.example.com"]`, ""}, notes: notes(tlsrpt.NoteMissing)},
	{
		name: "C3 TLSA records as JSON in a string",
		change: []string{
			`"sts"`, `"tlsa"`, `["version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"]`,
			`["[\"3 1 1 0123456789ABCDEF\",\"3 1 1 FEDCBA9876543210\"]"]`,
		},
		notes: notes(tlsrpt.NoteListInText),
	},
	{
		name: "C4 the same sessions under two policies",
		change: []string{`"policies": [{`, `"policies": [{"policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 00"], "policy-domain": "example.com"},
			"summary": {"total-successful-session-count": 100, "total-failure-session-count": 0}, "failure-details": []}, {`},
		ok: 90, bad: 10,
	},
	{
		name: "C4 more sessions, and no failures, under the other policy",
		change: []string{`"policies": [{`, `"policies": [{"policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 00"], "policy-domain": "example.com"},
			"summary": {"total-successful-session-count": 101, "total-failure-session-count": 0}}, {`},
		ok: 91, bad: 10,
	},
	{name: "C5 a report id whose domain is empty", change: []string{"2026-11-24T00:00:00Z_example.com", "133944884956529435+"}},
	{
		name: "C7 a failure with a type and a count only",
		change: []string{
			`"certificate-expired",
      "sending-mta-ip": "192.0.2.1",
      "receiving-mx-hostname": "mx1.example.com",
      "receiving-mx-helo": "mx1.example.com",
      "receiving-ip": "2001:db8::25",`, `"sts-policy-fetch-error",`,
			`"policy-string": ["version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"],`, "",
			`,
      "additional-information": "https://sender.example/why",
      "failure-reason-code": "X509_V_ERR_CERT_HAS_EXPIRED"`, "",
		},
	},
	{name: "C9 details above the total", change: []string{`"failed-session-count": 10`, `"failed-session-count": 20`}, notes: notes(tlsrpt.NoteSumAboveTotal)},
	{name: "C9 the end is the next day", change: []string{"2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z"}},
	{name: "C9 a sentence as reason", change: []string{"X509_V_ERR_CERT_HAS_EXPIRED", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-24T01:02:03Z is after 2026-11-01T00:00:00Z"}},
	{name: "C12 no details where nothing failed", change: []string{`"total-failure-session-count": 10},`, `"total-failure-session-count": 0}}]}`, plain[strings.Index(plain, "\n    \"failure-details\""):], ""}, ok: 90, bad: 0},
	{name: "C12 an empty address", change: []string{`"192.0.2.1"`, `""`}},
	{name: "C13 no contact", change: []string{`"tls@sender.example"`, "null"}, notes: notes(tlsrpt.NoteNull)},
	{name: "C14 no policy-domain", change: []string{`"policy-type": "sts"`, `"policy-type": "no-policy-found"`, `"policy-domain": "example.com",`, ""}, notes: notes(tlsrpt.NoteNoDomain), ok: -1},
	{name: "C18 mx-host as a string", change: []string{`["mx1.example.com"]`, `"mx1.example.com"`}, notes: notes(tlsrpt.NoteTextForList)},
	{name: "C19 no count of failures", change: []string{`, "total-failure-session-count": 10`, ""}, notes: notes(tlsrpt.NoteMissing, tlsrpt.NoteSumAboveTotal)},
	{name: "C19 an unknown policy type", change: []string{`"sts"`, `"dane-strict"`}, notes: notes(tlsrpt.NoteUnknownPolicy)},
	{name: "C19 seven days", change: []string{"2026-11-24T23:59:59Z", "2026-11-30T23:59:59Z"}, notes: notes(tlsrpt.NoteWindow)},
	{name: "C20 policy-string as one string", change: []string{`["version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"]`, `"version: STSv1"`}, notes: notes(tlsrpt.NoteTextForList)},

	{name: "a byte order mark", change: []string{"{\n  \"org", "\ufeff{\n  \"org"}, notes: notes(tlsrpt.NoteBOM)},
	{name: "dates in lower case", change: []string{"23:59:59Z", "23:59:59z", "2026-11-24T23", "2026-11-24t23"}},
	{name: "U+0000 in a text", change: []string{"Sender Inc.", `S\u0000x`}, notes: notes(tlsrpt.NoteNUL)},
	{name: "bytes that are no UTF-8", change: []string{"Sender Inc.", "S\xe9nder"}, notes: notes(tlsrpt.NoteNotUTF8)},
	{name: "a key twice", change: []string{`"report-id"`, `"report-id": "first", "report-id"`}, notes: notes(tlsrpt.NoteDuplicateKey)},
	{name: "keys that nobody knows", change: []string{`"report-id"`, `"x": [{"y": 1}], "z": 2, "report-id"`}, notes: notes(tlsrpt.NoteUnknownKey)},
	{name: "24:00:00", change: []string{"2026-11-24T23:59:59Z", "2026-11-24T24:00:00Z"}, notes: notes(tlsrpt.NoteDay24)},
	{name: "counts as strings", change: []string{`: 90,`, `: "90",`}, notes: notes(tlsrpt.NoteNumberForm)},
	{name: "counts with a point", change: []string{`: 90,`, `: 90.0,`}, notes: notes(tlsrpt.NoteNumberForm)},
	{name: "null in place of details", change: []string{plain[strings.Index(plain, "[{\n      \"result"):strings.LastIndex(plain, "\n  }]")], "null"}, notes: notes(tlsrpt.NoteNull, tlsrpt.NoteTotalWithoutSum)},
	{name: "null in place of mx-host", change: []string{`["mx1.example.com"]`, "null"}, notes: notes(tlsrpt.NoteNull)},
	{name: "an object in place of a URI", change: []string{`"https://sender.example/why"`, `{"uri": "https://sender.example/why"}`}, notes: notes(tlsrpt.NoteObjectForURI)},
	{name: "a U-label in capitals", change: []string{`"policy-domain": "example.com"`, `"policy-domain": "Example.COM."`}, notes: notes(tlsrpt.NoteDomainForm)},
	{name: "a policy domain that is none", change: []string{`"policy-domain": "example.com"`, `"policy-domain": "<script>"`}, notes: notes(tlsrpt.NoteNoDomain), ok: -1},
	{name: "an unknown result type", change: []string{"certificate-expired", "weather-bad"}, notes: notes(tlsrpt.NoteUnknownResult)},
	{name: "an address that is none", change: []string{`"192.0.2.1"`, `"unknown"`}, notes: notes(tlsrpt.NoteBadAddress)},
	{name: "a number as a name", change: []string{`"Sender Inc."`, "7"}, notes: notes(tlsrpt.NoteWrongType)},
	{name: "no organization", change: []string{`"organization-name": "Sender Inc.",`, ""}, notes: notes(tlsrpt.NoteMissing)},
	{name: "a long text", change: []string{"X509_V_ERR_CERT_HAS_EXPIRED", strings.Repeat("\u00fc", 2000)}, notes: notes(tlsrpt.NoteTooLong)},
	{name: "half an hour", change: []string{"2026-11-24T23:59:59Z", "2026-11-24T00:30:00Z"}, notes: notes(tlsrpt.NoteWindow)},

	{name: "nothing", report: " ", aside: "not-json"},
	{name: "cut off", report: plain[:len(plain)-2], aside: "not-json"},
	{name: "an array", report: "[" + plain + "]", aside: "not-json"},
	{name: "two reports", report: plain + plain, aside: "not-json"},
	{name: "HTML", report: "<html>", aside: "not-json"},
	{name: "a negative count", change: []string{": 90,", ": -90,"}, aside: "bad-count"},
	{name: "a count beyond bounds", change: []string{": 90,", ": 9007199254740992,"}, aside: "bad-count"},
	{name: "a count beyond 64 bits", change: []string{": 90,", ": 1e300,"}, aside: "bad-count"},
	{name: "half a session", change: []string{": 90,", ": 90.5,"}, aside: "bad-count"},
	{name: "a count that is none", change: []string{": 90,", `: "many",`}, aside: "bad-count"},
	{name: "a negative count of details", change: []string{`"failed-session-count": 10`, `"failed-session-count": -1`}, aside: "bad-count"},
	{name: "no date range", change: []string{`"date-range"`, `"dates"`}, aside: "no-window"},
	{name: "a date that is none", change: []string{"2026-11-24T00:00:00Z\", \"end", "yesterday\", \"end"}, aside: "no-window"},
	{name: "the end before the start", change: []string{"2026-11-24T23:59:59Z", "2026-11-23T23:59:59Z"}, aside: "bad-window"},
	{name: "the year 9999", change: []string{"2026-11-24T23:59:59Z", "9999-11-24T23:59:59Z"}, aside: "bad-window"},
	{name: "no policies", change: []string{`"policies"`, `"rules"`}, aside: "no-policies"},
	{name: "an empty list of policies", report: `{"date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"}, "policies": []}`, aside: "no-policies"},
	{name: "policies that are none", report: `{"date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"}, "policies": [1, null]}`, aside: "no-policies"},
	{name: "deep nesting", report: strings.Repeat(`{"a":[`, 5000), aside: "too-deep"},
	{name: "too much", report: strings.Repeat(" ", tlsrpt.MaxReportSize+1), aside: "too-big"},
}

func (s *specimen) text() string {
	if s.report != "" {
		return s.report
	}
	text := plain
	for i := 0; i < len(s.change); i += 2 {
		text = strings.Replace(text, s.change[i], s.change[i+1], 1)
	}
	return text
}

// TestCorpus reads what reporters send, and prints what becomes of it.
func TestCorpus(t *testing.T) {
	var table strings.Builder
	seen := map[tlsrpt.NoteCode]bool{}
	for _, s := range corpus {
		if s.report == "" && len(s.change) > 0 && s.text() == plain {
			t.Errorf("%s: nothing is changed", s.name)
		}
		r, err := tlsrpt.ParseReport([]byte(s.text()))
		if s.aside != "" {
			bad, ok := errors.AsType[*tlsrpt.ErrReport](err)
			if !ok || bad.Reason != s.aside {
				t.Errorf("%s: %v, want it set aside as %s", s.name, err, s.aside)
			}
			fmt.Fprintf(&table, "%-45s set aside: %v\n", s.name, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		var got []tlsrpt.NoteCode
		for _, n := range r.Notes {
			got = append(got, n.Code)
			seen[n.Code] = true
		}
		if !slices.Equal(got, s.notes) {
			t.Errorf("%s: notes %v, want %v", s.name, r.Notes, s.notes)
		}
		wantOK, wantBad := s.ok, s.bad
		if wantOK == 0 && wantBad == 0 {
			wantOK, wantBad = 90, 10
		}
		if ok, bad := r.Sessions("example.com"); wantOK >= 0 && (ok != wantOK || bad != wantBad) {
			t.Errorf("%s: %d and %d sessions, want %d and %d", s.name, ok, bad, wantOK, wantBad)
		}
		word := "taken"
		if len(got) > 0 {
			word = fmt.Sprint("noted: ", got)
		}
		fmt.Fprintf(&table, "%-45s %s\n", s.name, word)
	}
	t.Logf("\n%s", &table)
	if seen[tlsrpt.NoteTooMany] {
		t.Error("a specimen has too many of something: TestReportLimits is for that")
	}
}

// What a plain report says arrives, field by field.
func TestParseReport(t *testing.T) {
	got, err := tlsrpt.ParseReport([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	want := &tlsrpt.Report{
		OrganizationName: "Sender Inc.", ContactInfo: "tls@sender.example", ReportID: "2026-11-24T00:00:00Z_example.com",
		Start: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC),
		Policies: []tlsrpt.PolicyReport{{
			Type: tlsrpt.PolicySTS, Text: []string{"version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"},
			Domain: "example.com", MXHosts: []string{"mx1.example.com"}, Successful: 90, Failed: 10,
			FailureList: []tlsrpt.FailureDetails{{
				ResultType: tlsrpt.CertificateExpired, SendingMTAIP: "192.0.2.1", ReceivingIP: "2001:db8::25",
				ReceivingMXHostname: "mx1.example.com", ReceivingMXHelo: "mx1.example.com", FailedSessions: 10,
				AdditionalInformation: "https://sender.example/why", FailureReasonCode: "X509_V_ERR_CERT_HAS_EXPIRED",
			}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Each result type of RFC 8460 is known.
func TestReportResultTypes(t *testing.T) {
	for _, kind := range tlsrpt.ResultTypes() {
		r, err := tlsrpt.ParseReport([]byte(strings.Replace(plain, "certificate-expired", string(kind), 1)))
		if err != nil || len(r.Notes) > 0 || r.Policies[0].FailureList[0].ResultType != kind {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
	}
	if len(tlsrpt.ResultTypes()) != 11 {
		t.Error("RFC 8460 §4.3 names eleven")
	}
}

// The policy domain is A-labels in lower case, or there is none (RFC 8460 §4.4).
func TestReportDomainForms(t *testing.T) {
	for domain, want := range map[string]string{
		"example.com": "example.com", "Example.COM": "example.com", "example.com.": "example.com", " example.com": "example.com",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "XN--BCHER-KVA.example": "xn--bcher-kva.example",
		"bücher.example": "", "example..com": "", "-example.com": "", "exa mple.com": "", "a_b.example": "", ".": "", strings.Repeat("a", 64) + ".example": "",
	} {
		r, err := tlsrpt.ParseReport([]byte(strings.Replace(plain, `"policy-domain": "example.com"`, `"policy-domain": "`+domain+`"`, 1)))
		if err != nil || r.Policies[0].Domain != want || (len(r.Notes) > 0) != (want != domain) {
			t.Errorf("%q: %q, %v, %v", domain, r.Policies[0].Domain, r.Notes, err)
		}
	}
}

// A report about several domains is taken apart: no part says anything of another.
func TestReportOfSeveralDomains(t *testing.T) {
	text := strings.Replace(plain, `"policies": [{`, `"policies": [{"policy": {"policy-type": "sts", "policy-domain": "other.example"},
		"summary": {"total-successful-session-count": 1, "total-failure-session-count": 2}}, {`, 1)
	r, err := tlsrpt.ParseReport([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Domains(); !slices.Equal(got, []string{"other.example", "example.com"}) {
		t.Error(got)
	}
	for _, domain := range r.Domains() {
		part := r.For(domain)
		whole, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range r.Domains() {
			if other != domain && strings.Contains(strings.ReplaceAll(string(whole), part.ReportID, ""), other) {
				t.Errorf("the part of %s names %s: %s", domain, other, whole)
			}
		}
	}
	if ok, bad := r.For("other.example").Sessions("other.example"); ok != 1 || bad != 2 {
		t.Error(ok, bad)
	}
}

// What has no end is read up to its limit, in bounded memory.
func TestReportLimits(t *testing.T) {
	policy := plain[strings.Index(plain, "[{\n    \"policy\"")+1 : strings.LastIndex(plain, "]")]
	detail := plain[strings.Index(plain, "[{\n      \"result")+1 : strings.LastIndex(plain, "]\n  }]")]
	many := func(old string, n int) string {
		return strings.Replace(plain, old, strings.TrimSuffix(strings.Repeat(old+",", n), ","), 1)
	}
	for _, c := range []struct {
		name, text string
	}{
		{"policies", many(policy, 10_001)},
		{"details", many(detail, 1_001)},
		{"lines", many(`"mode: testing"`, 201)},
		{"keys", strings.Replace(plain, `"report-id"`, strings.Repeat(`"x":1,`, 500_000)+`"report-id"`, 1)},
		{"small policies", strings.Replace(plain, policy, strings.Repeat("{},", 1_000_000)+policy, 1)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := tlsrpt.ParseReport([]byte(c.text))
		runtime.ReadMemStats(&after)
		if err != nil || len(r.Notes) == 0 || len(r.Notes) > 100 {
			t.Errorf("%s: %d notes, %v", c.name, len(r.Notes), err)
			continue
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 400 {
			t.Errorf("%s: %d MiB allocated for %d KiB", c.name, took, len(c.text)>>10)
		}
	}
}

// Whatever is sent is a report within the limits, or an error that can be told.
func FuzzParseReport(f *testing.F) {
	seed(f, ".json", func(data []byte) { f.Add(data) })
	for _, s := range corpus {
		if text := s.text(); len(text) < 10_000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := tlsrpt.ParseReport(data)
		if err != nil {
			if len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%q", err)
			}
			return
		}
		parts := r.Split()
		if len(parts) != len(r.Domains()) {
			t.Errorf("%d parts, %d domains", len(parts), len(r.Domains()))
		}
		for _, domain := range r.Domains() {
			ok, bad := r.Sessions(domain)
			if part := parts[domain]; part.Key(domain, "") != r.Key(domain, "") {
				t.Errorf("%q: its part has another key", domain)
			} else if pok, pbad := part.Sessions(domain); pok != ok || pbad != bad || len(part.Domains()) != 1 {
				t.Errorf("%q: %d and %d sessions, in its part %d and %d", domain, ok, bad, pok, pbad)
			}
			if ok < 0 || bad < 0 || ok > tlsrpt.MaxSessions || bad > tlsrpt.MaxSessions {
				t.Error(ok, bad)
			}
		}
		texts := []string{r.OrganizationName, r.ContactInfo, r.ReportID}
		for _, p := range r.Policies {
			texts = append(append(texts, p.Text...), p.MXHosts...)
			texts = append(texts, string(p.Type), p.Domain)
			for _, d := range p.FailureList {
				texts = append(texts, string(d.ResultType), d.SendingMTAIP, d.ReceivingIP, d.ReceivingMXHostname, d.ReceivingMXHelo, d.AdditionalInformation, d.FailureReasonCode)
			}
		}
		for _, s := range texts {
			if len(s) > 1024 || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
				t.Errorf("%d bytes: %.100q", len(s), s)
			}
		}
		if r.End.Before(r.Start) || len(r.Policies) == 0 || len(r.Notes) > 100 {
			t.Errorf("%+v", r)
		}
	})
}

func BenchmarkParseReport(b *testing.B) {
	policy := plain[strings.Index(plain, "[{\n    \"policy\"")+1 : strings.LastIndex(plain, "]")]
	large := strings.Replace(plain, policy, strings.TrimSuffix(strings.Repeat(policy+",", 1000), ","), 1)
	mib := strings.Replace(plain, policy, strings.TrimSuffix(strings.Repeat(policy+",", 1<<20/len(policy)), ","), 1)
	for _, c := range []struct{ name, text string }{{"usual", plain}, {"of 1,000 domains", large}, {"of 1 MiB", mib}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tlsrpt.ParseReport([]byte(c.text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// No text is longer than its limit, also if it was longer in lower case, or without U+0000.
func TestReportTextLimit(t *testing.T) {
	for _, c := range []string{"\u023a", `\u0000`, "\U0001f4e7", "x"} {
		text := plain
		for _, old := range []string{"certificate-expired", "Sender Inc.", "X509_V_ERR_CERT_HAS_EXPIRED", `"receiving-mx-hostname": "mx1.example.com`} {
			text = strings.Replace(text, old, strings.TrimSuffix(old, "mx1.example.com")+strings.Repeat(c, 2000), 1)
		}
		r, err := tlsrpt.ParseReport([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d := r.Policies[0].FailureList[0]
		for _, s := range []string{r.OrganizationName, string(d.ResultType), d.FailureReasonCode, d.ReceivingMXHostname} {
			if len(s) > 1024 || !utf8.ValidString(s) {
				t.Errorf("%.6q: %d bytes: %.40q", c, len(s), s)
			}
		}
	}
}

// However a policy's text is written, it is the same lines.
func TestReportPolicyText(t *testing.T) {
	const list = `["version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"]`
	want := []string{"version: STSv1", "mode: testing", "mx: mx1.example.com", "max_age: 86400"}
	for _, form := range []string{
		list,
		`"version: STSv1\nmode: testing\nmx: mx1.example.com\nmax_age: 86400\n"`,
		`"version: STSv1\r\nmode: testing\r\nmx: mx1.example.com\r\nmax_age: 86400"`,
		`"version: STSv1; mode: testing; mx: mx1.example.com; max_age: 86400;"`,
		`"[\"version: STSv1\",\"mode: testing\",\"mx: mx1.example.com\",\"max_age: 86400\"]"`,
	} {
		r, err := tlsrpt.ParseReport([]byte(strings.Replace(plain, list, form, 1)))
		if err != nil || !slices.Equal(r.Policies[0].Text, want) {
			t.Errorf("%s: %+v, %v", form, r, err)
		}
	}
}
