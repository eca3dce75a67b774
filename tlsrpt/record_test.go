package tlsrpt_test

import (
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
