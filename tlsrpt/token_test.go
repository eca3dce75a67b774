package tlsrpt_test

import (
	"regexp"
	"testing"

	"mtasts-server/tlsrpt"
)

func TestToken(t *testing.T) {
	// It stands in DNS of many domains: it must never change.
	if got := tlsrpt.Token("example.com"); got != "m4geobm6cj17c" {
		t.Errorf("Token: %q", got)
	}
	seen := map[string]bool{}
	for _, domain := range []string{"example.com", "example.org", "a.example.com", ""} {
		token := tlsrpt.Token(domain)
		if !regexp.MustCompile(`^[a-z0-9]{13}$`).MatchString(token) || seen[token] {
			t.Errorf("Token(%q) = %q", domain, token)
		}
		seen[token] = true
		uri := tlsrpt.ExpandURI("mailto:tlsrpt+{token}@reports.example.net", domain)
		if _, err := tlsrpt.ParseURI(uri); err != nil || uri != "mailto:tlsrpt+"+token+"@reports.example.net" {
			t.Errorf("ExpandURI: %q, %v", uri, err)
		}
	}
	if got := tlsrpt.ExpandURI("https://example.net/x", "example.com"); got != "https://example.net/x" {
		t.Error(got)
	}
}
