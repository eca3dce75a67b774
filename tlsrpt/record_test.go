package tlsrpt_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

func TestParseURI(t *testing.T) {
	for _, s := range []string{
		"mailto:tlsrpt@example.com",
		"mailto:tlsrpt%2Bmta@example.com",
		"mailto:tls%21rpt@example.com", // "!" encoded
		"https://reports.example.com/v1/tlsrpt",
		"https://reports.example.com:8443/?token=x",
	} {
		if got, err := tlsrpt.ParseURI(s); err != nil || got != s {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"tlsrpt@example.com":          `tlsrpt "tlsrpt@example.com": has no scheme: write "mailto:tlsrpt@example.com"`,
		"reports.example.com":         `tlsrpt "reports.example.com": has no scheme: write a mailto: or https: URI`,
		"":                            `tlsrpt "": has no scheme: write a mailto: or https: URI`,
		"http://reports.example.com/": `tlsrpt "http://reports.example.com/": only mailto: and https: are possible`,
		"https:///x":                  `tlsrpt "https:///x": names no host`,
		"mailto:tlsrpt":               `tlsrpt "mailto:tlsrpt": is not one mail address`,
		"mailto:a@example.com,mailto:b@example.com": `tlsrpt "mailto:a@example.com,mailto:b@example.com": ",", "!", ";" and blanks must be percent-encoded, as in %2C`,
		"mailto:a@example.com!10m":                  `tlsrpt "mailto:a@example.com!10m": ",", "!", ";" and blanks must be percent-encoded, as in %2C`,
		"mailto:a%@example.com":                     `tlsrpt "mailto:a%@example.com": has a bad percent-encoding`,
		"mailto:\x00a@example.com":                  `tlsrpt "mailto:\x00a@example.com": a URI is ASCII: write other characters percent-encoded`,
		"mailto:müller@example.com":                 `tlsrpt "mailto:müller@example.com": a URI is ASCII: write other characters percent-encoded`,
		"https://[::1/":                             `tlsrpt "https://[::1/": is not a URI`,
	} {
		if _, err := tlsrpt.ParseURI(s); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func TestReportRecord(t *testing.T) {
	if got := tlsrpt.RecordName("example.com"); got != "_smtp._tls.example.com" {
		t.Error(got)
	}
	r := tlsrpt.Record{RUA: []string{"mailto:a@example.com", "https://example.com/r"}}
	if got := r.String(); got != "v=TLSRPTv1; rua=mailto:a@example.com,https://example.com/r" {
		t.Error(got)
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("mailto:a@example.com")
	f.Add("https://example.com/")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := tlsrpt.ParseURI(s); err != nil {
			return
		}
		for _, r := range s {
			if r <= ' ' || r > '~' || r == ',' || r == ';' || r == '!' {
				t.Errorf("%q has %q", s, r)
			}
		}
	})
}

func TestParseRecord(t *testing.T) { // RFC 8460 §3
	const a, b = "mailto:a@example.com", "https://example.com/r"
	for _, c := range []struct {
		why, txt string
		rua      []string
	}{
		{"as in the RFC", "v=TLSRPTv1;rua=mailto:reports@example.com", []string{"mailto:reports@example.com"}},
		{"a final delimiter", "v=TLSRPTv1; rua=" + a + ";", []string{a}},
		{"blanks around delimiters", "v=TLSRPTv1 ;\trua=" + a + " ,\t" + b + " ; ", []string{a, b}},
		{"unknown fields", "v=TLSRPTv1; x-y.z_1=1:2,3; rua=" + a + "; w=!", []string{a}},
		{"the first rua counts", "v=TLSRPTv1; rua=" + a + "; rua=" + b, []string{a}},
		{"= in a URI", "v=TLSRPTv1; rua=https://example.com/?a=b", []string{"https://example.com/?a=b"}},
	} {
		if r, err := tlsrpt.ParseRecord(c.txt); err != nil || !slices.Equal(r.RUA, c.rua) {
			t.Errorf("%s: %q: %q, %v", c.why, c.txt, r.RUA, err)
		}
	}
	for _, c := range [][2]string{
		{"empty", ""},
		{"no field", "v=TLSRPTv1"},
		{"no field, delimited", "v=TLSRPTv1;"},
		{"no rua", "v=TLSRPTv1; a=b"},
		{"another version", "v=TLSRPTv2; rua=" + a},
		{"a longer version", "v=TLSRPTv12; rua=" + a},
		{"version in lower case", "v=tlsrptv1; rua=" + a},
		{"blanks before", " v=TLSRPTv1; rua=" + a},
		{"version last", "rua=" + a + "; v=TLSRPTv1"},
		{"an empty rua", "v=TLSRPTv1; rua="},
		{"an empty URI", "v=TLSRPTv1; rua=" + a + ","},
		{"name in upper case", "v=TLSRPTv1; RUA=" + a},
		{"no scheme", "v=TLSRPTv1; rua=a@example.com"},
		{"http", "v=TLSRPTv1; rua=http://example.com/"},
		{"! in a URI", "v=TLSRPTv1; rua=" + a + "!10m"},
		{"two delimiters", "v=TLSRPTv1;; rua=" + a},
		{"a field without value", "v=TLSRPTv1; rua=" + a + "; x="},
		{"a field without =", "v=TLSRPTv1; rua=" + a + "; x"},
		{"= in the value of an extension", "v=TLSRPTv1; rua=" + a + "; x=y=z"},
		{"a name of 33 characters", "v=TLSRPTv1; rua=" + a + "; " + strings.Repeat("x", 33) + "=y"},
		{"a name that begins with a hyphen", "v=TLSRPTv1; rua=" + a + "; -x=y"},
	} {
		if r, err := tlsrpt.ParseRecord(c[1]); err == nil {
			t.Errorf("%s: %q was taken as %q", c[0], c[1], r.RUA)
		}
	}
}

func TestSelectReportRecord(t *testing.T) {
	const ours, spf = "v=TLSRPTv1; rua=mailto:a@example.com", "v=spf1 -all"
	if r, err := tlsrpt.SelectRecord([]string{spf, ours, "v=TLSRPTv2; rua=x"}); err != nil || len(r.RUA) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := tlsrpt.SelectRecord([]string{spf, "v=TLSRPTv1 ; rua=mailto:a@example.com"}); !errors.Is(err, tlsrpt.ErrNoRecord) {
		t.Errorf("a record that does not begin with \"v=TLSRPTv1;\" is discarded: %v", err)
	}
	if _, err := tlsrpt.SelectRecord([]string{ours, ours}); !errors.Is(err, tlsrpt.ErrMultipleRecords) {
		t.Errorf("two records: %v", err)
	}
	if _, err := tlsrpt.SelectRecord([]string{"v=TLSRPTv1; rua="}); err == nil {
		t.Error("a broken record was taken")
	}
}

func FuzzParseReportRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@example.com,https://example.com/;")
	f.Add("v=TLSRPTv1 ;\tx=y; rua=mailto:a@example.com , https://example.com/?a=b")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := tlsrpt.ParseRecord(txt)
		if err != nil {
			return
		}
		if again, err := tlsrpt.ParseRecord(r.String()); err != nil || !slices.Equal(again.RUA, r.RUA) {
			t.Fatalf("%q is printed as %q: %v", txt, r, err)
		}
	})
}
