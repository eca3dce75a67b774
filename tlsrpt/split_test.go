package tlsrpt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

// A part keeps the notes on the whole and on its own policies, by their new places, and
// none that carry others' texts.
func TestReportPartNotes(t *testing.T) {
	text := strings.Replace(plain, `"policies": [{`, `"policies": [7,
		{"policy": {"policy-type": "odd", "policy-domain": "Other.example"}, "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0}},
		{"other.example": 1, "other.example": 2, "policy": {"policy-type": "sts", "policy-domain": "third.example"}, "summary": {"total-successful-session-count": 0, "total-failure-session-count": 0}}, {`, 1)
	text = strings.Replace(text, `["mx1.example.com"]`, `"mx1.example.com"`, 1)
	text = strings.Replace(text, "\"tls@sender.example\"", "null", 1)
	r, err := tlsrpt.ParseReport([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	contact := tlsrpt.Note{Code: tlsrpt.NoteNull, Path: "contact-info"}
	for domain, want := range map[string][]tlsrpt.Note{
		"other.example": {contact, {Code: tlsrpt.NoteUnknownPolicy, Path: "policies[0].policy.policy-type"}, {Code: tlsrpt.NoteDomainForm, Path: "policies[0].policy.policy-domain"}},
		"example.com":   {contact, {Code: tlsrpt.NoteTextForList, Path: "policies[0].policy.mx-host"}},
		"third.example": {contact, {Code: tlsrpt.NoteUnknownKey, Path: "policies[0]"}},
	} {
		if got := r.For(domain).Notes; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", domain, got, want)
		}
	}
}

// Splitting takes one pass, also where a provider has ten thousand domains in one report.
func TestReportSplit(t *testing.T) {
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf(`{"policy":{"policy-type":"sts","policy-domain":"d%d.example"},"summary":{"total-successful-session-count":%d,"total-failure-session-count":0}}`, i, i))
	}
	r, err := tlsrpt.ParseReport([]byte("{" + window + `,"policies":[` + strings.Join(list, ",") + "]}"))
	if err != nil {
		t.Fatal(err)
	}
	parts := r.Split()
	for i := range 10_000 {
		domain := fmt.Sprintf("d%d.example", i)
		part := parts[domain]
		if part == nil || len(part.Policies) != 1 || !part.Start.Equal(r.Start) {
			t.Fatalf("%s: %+v", domain, part)
		}
		if ok, bad := part.Sessions(domain); ok != int64(i) || bad != 0 {
			t.Fatalf("%s: %d and %d", domain, ok, bad)
		}
	}
	if len(parts) != 10_000 || r.For("nobody.example") != nil {
		t.Errorf("%d parts", len(parts))
	}
}

// The key tells apart what is not the same report, and nothing else.
func TestReportKey(t *testing.T) {
	parse := func(change ...string) *tlsrpt.Report {
		t.Helper()
		r, err := tlsrpt.ParseReport([]byte(strings.NewReplacer(change...).Replace(plain)))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	key := parse().Key("example.com", "sender.example")
	if parse("Sender Inc.", "Sender Ltd.", ": 90,", `: "90",`, "00:00:00Z\", \"end", "01:00:00+01:00\", \"end").Key("example.com", "sender.example") != key {
		t.Error("a repeat in other words is another report")
	}
	for why, other := range map[string][32]byte{
		"another domain":    parse().Key("other.example", "sender.example"),
		"nobody":            parse().Key("example.com", ""),
		"another submitter": parse().Key("example.com", "evil.example"),
		"another id":        parse("00:00:00Z_example.com", "2").Key("example.com", "sender.example"),
		"another day":       parse("2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z").Key("example.com", "sender.example"),
		"moved borders":     parse().Key("example.comsender", ".example"),
	} {
		if other == key {
			t.Errorf("%s: the same key", why)
		}
	}
}
