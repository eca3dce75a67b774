package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// curlHome makes a directory that has curl find the program, trust it, and speak proto.
func (p *program) curlHome(proto string) (env string) {
	p.t.Helper()
	home := p.t.TempDir()
	rc := fmt.Sprintf("cacert = %q\nconnect-to = \"%s:443:%s\"\n%s\n", p.rootFile(), reportsAt, p.https, proto)
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(rc), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return "CURL_HOME=" + home
}

// TestReportsByCurl has curl post reports to the program as sys4's tlsrpt-reporter does, to
// the addresses that the program itself prints for the domains' records.
func TestReportsByCurl(t *testing.T) {
	t.Parallel()
	s, e := newReportsSite(t, 2, fmt.Sprintf("[defaults]\ntlsrpt = [\"https://%s/{token}\"]\n", reportsAt))
	p := e.startReports(t)
	first, second := e.domain(0), e.domain(1)
	url := func(domain string) string { return "https://" + reportsAt + "/" + tlsrpt.Token(domain) }
	for _, domain := range []string{first, second} {
		if text := s.run("policy", domain); !strings.Contains(text, "rua="+url(domain)) {
			t.Errorf("the record of %s:\n%s", domain, text)
		}
	}
	nameless := func(id string) []byte {
		return bytes.Replace(reportOn("", id, 3, 1), []byte(`"policy-domain":"",`), nil, 1)
	}
	want := map[string]string{}
	for _, proto := range []string{"http1.1", "http2"} {
		env := p.curlHome(proto)
		for _, c := range []struct {
			id, url, domain string // domain is the one that it is stored for; "" for none
			body            []byte
		}{
			{"plain", url(first), first, reportOn(first, "plain"+proto, 3, 1)},
			{"no token", "https://" + reportsAt, first, reportOn(first, "no token"+proto, 3, 1)},
			// What a report says goes before what its address says.
			{"another's token", url(second), first, reportOn(first, "another's token"+proto, 3, 1)},
			{"nameless", url(second), second, nameless("nameless" + proto)},
			{"nobody's token", url("other.example"), "", nameless("nobody's token" + proto)},
			{"foreign", url(first), "", reportOn("other.example", "foreign"+proto, 3, 1)},
		} {
			for range 2 { // it is told nothing of what becomes of it, and sends some again
				if out, err := curl(c.url, env, c.body); err != nil || out != "The report was received. Thank you.\n" {
					t.Errorf("%s by %s: %v, %q", c.id, proto, err, out)
				}
			}
			if c.domain != "" {
				want[c.id+proto] = c.domain
			}
		}
	}
	s.awaitEmptySpool()
	stored := s.entries()
	for id, domain := range want {
		if e := stored[id]; e.ID.Domain != domain || e.Channel != reports.HTTPS || e.Source != "127.0.0.1" ||
			e.Unauthenticated != reports.NoAuthentication || e.Successful != 3 || e.Failed != 1 {
			t.Errorf("%s: it is stored as %+v, want one on %s", id, e, domain)
		}
	}
	if len(stored) != len(want) {
		t.Errorf("%d are stored, want %d", len(stored), len(want))
	}
	p.metric(`mtasts_reports_aside_total{reason="foreign-domain"} 4`, `mtasts_reports_aside_total{reason="no-domain"} 4`,
		`mtasts_reports_total{channel="https",fate="taken"} 8`, `mtasts_reports_total{channel="https",fate="repeated"} 8`)

	// Where a report cannot be kept, curl fails, and the reporter tries again.
	spool := s.path("state/reports/spool")
	if err := os.Rename(spool, spool+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spool, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := curl(url(first), p.curlHome("http1.1"), reportOn(first, "late", 3, 1))
	if _, failed := err.(*exec.ExitError); !failed {
		t.Errorf("a report that was not kept counts as sent: %v, %q", err, out)
	}
	p.stop()
}
