package sendercheck_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mtasts-server/internal/sendercheck"
	"mtasts-server/internal/sendercheck/sendertest"
)

// broken is a world, what is found in it, and the verdict.
type broken struct {
	why     string
	change  func(*scene)
	want    string // severity and code of each finding, in any order
	verdict sendercheck.Verdict
}

const hour = time.Hour

func healthy() []broken {
	return []broken{
		{"all is well", func(*scene) {}, "", sendercheck.Protected},
		{"by aliases", func(s *scene) {
			s.absent = []string{"txt", "host", "tlsrpt"}
			s.zone = []string{
				"_mta-sts.example.com. CNAME _mta-sts.example.com.sts.example.net.",
				`_mta-sts.example.com.sts.example.net. TXT "v=STSv1" "; id=1;"`,
				"mta-sts.example.com. CNAME mta-sts.example.net.", "mta-sts.example.net. A " + s.host.String(),
				"_smtp._tls.example.com. CNAME reports.example.net.", `reports.example.net. TXT "v=TLSRPTv1;rua=mailto:tlsrpt@example.com;"`,
			}
		}, "", sendercheck.Protected},
		{"a wildcard in the policy, one in the certificate", func(s *scene) {
			s.policy = strings.ReplaceAll(good, "mx: mx1.", "mx: *.")
			s.mxLeaf.Names = []string{"*.example.com"}
			s.policyLeaf.Names = []string{"*.example.com"}
		}, "warning policy-mx", sendercheck.Protected},
		{"IPv6 too", func(s *scene) {
			s.zone = []string{"mta-sts.example.com. AAAA ::1", "mx1.example.com. AAAA ::1"}
			s.at(netip.IPv6Loopback(), sendertest.Text(good))
			check(s.t, s.MXHost(netip.IPv6Loopback(), &sendertest.MXHost{TLS: s.issue(s.mxLeaf)}))
		}, "", sendercheck.Protected},
		{"chunks, and an interim answer", func(s *scene) {
			s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(http.StatusEarlyHints)
				for _, c := range strings.SplitAfter(good, "\n") {
					_, _ = fmt.Fprint(w, c)
					w.(http.Flusher).Flush()
				}
			})
		}, "", sendercheck.Protected},
		{"MX names in upper case", func(s *scene) {
			s.absent = []string{"mx"}
			s.zone = []string{"example.com. MX 10 MX1.Example.COM."}
		}, "", sendercheck.Protected},
		{"the last step of a withdrawal", func(s *scene) {
			s.absent = []string{"txt", "tlsrpt"}
			s.policy = "version: STSv1\nmode: none\nmx: mx1.example.com\nmax_age: 60\n"
		}, "note record-missing, note mode-none", sendercheck.None},
		{"ours", func(s *scene) {
			s.want = &sendercheck.Want{
				Body: []byte(good), ID: "1", RUA: []string{"mailto:tlsrpt@example.com"},
				Target: []string{"nowhere.example.net", "127.77.0.0/16"}, Published: "announced since yesterday",
			}
		}, "note publication", sendercheck.Protected},
		{"ours, by a name", func(s *scene) {
			s.absent = []string{"host"}
			s.zone = []string{"mta-sts.example.com. CNAME web.example.net.", "web.example.net. A " + s.host.String()}
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1", Target: []string{"web.example.net"}}
		}, "", sendercheck.Protected},
	}
}

func brokenRecords() []broken {
	record := func(lines ...string) func(*scene) {
		return func(s *scene) { s.absent, s.zone = append(s.absent, "txt"), append(s.zone, lines...) }
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("_mta-sts.example.com. TXT %q", fmt.Sprintf("verification=%d", i)))
	}
	return []broken{
		{"nothing at all", func(s *scene) { s.absent = []string{"txt", "host", "tlsrpt"} }, "warning not-published", sendercheck.Unpublished},
		{"nothing but a web server for all names", func(s *scene) {
			s.absent = []string{"txt", "tlsrpt"}
			s.handler, s.policyLeaf.Names = answers(404, nil, "?"), []string{"www.example.com"}
		}, "warning not-published", sendercheck.Unpublished},
		{"no domain", func(s *scene) { s.absent = []string{"mx", "mx1", "host", "txt", "tlsrpt", "tlsa"} }, "warning not-published, error domain-missing", sendercheck.Unpublished},
		{"ours and nothing published", func(s *scene) {
			s.absent = []string{"txt", "host", "tlsrpt"}
			s.want = &sendercheck.Want{Body: []byte(good), ID: "1"}
		}, "error not-published, error policy-host-missing", sendercheck.Unpublished},
		{"SERVFAIL", record("SERVFAIL _mta-sts.example.com. TXT"), "unknown record-unknown", sendercheck.Undecided},
		{"CNAMEs in a circle", record("_mta-sts.example.com. CNAME a.example.com.", "a.example.com. CNAME _mta-sts.example.com."), "error record-alias-loop", sendercheck.Broken},
		{"CNAMEs in a circle, and a name server that gives up", record("SERVFAIL _mta-sts.example.com. TXT", "_mta-sts.example.com. CNAME _mta-sts.example.com."), "error record-alias-loop", sendercheck.Broken},
		{"a CNAME to nowhere", record("_mta-sts.example.com. CNAME gone.example.net."), "error record-dangling", sendercheck.Broken},
		{"a CNAME to nowhere, and no policy", func(s *scene) {
			record("_mta-sts.example.com. CNAME gone.example.net.")(s)
			s.absent = append(s.absent, "host")
		}, "error record-dangling, error policy-host-missing", sendercheck.Broken},
		{"none", record(), "error record-missing", sendercheck.Broken},
		{"an SPF record only", record(`_mta-sts.example.com. TXT "v=spf1 -all"`), "error record-missing", sendercheck.Broken},
		{"two", record(`_mta-sts.example.com. TXT "v=STSv1; id=1;"`, `_mta-sts.example.com. TXT "v=STSv1; id=2;"`), "error record-multiple", sendercheck.Broken},
		{"quotes in it", record(`_mta-sts.example.com. TXT "\"v=STSv1; id=1;\""`), "error record-misspelt", sendercheck.Broken},
		{"a blank before the first semicolon", record(`_mta-sts.example.com. TXT "v=STSv1 ; id=1;"`), "error record-misspelt", sendercheck.Broken},
		{"another id", record(`_mta-sts.example.com. TXT "v=STSv1; id=2024-01-01;"`), "error record-invalid", sendercheck.Broken},
		{"no id", record(`_mta-sts.example.com. TXT "v=STSv1;"`), "error record-invalid", sendercheck.Broken},
		{"many other TXT before it", record(append(many, `_mta-sts.example.com. TXT "v=STSv1; id=1;"`)...), "warning record-neighbours", sendercheck.Protected},
		{"another TXT beside it", record(`_mta-sts.example.com. TXT "v=STSv1; id=1;"`, `_mta-sts.example.com. TXT "v=spf1 -all"`), "warning record-neighbours", sendercheck.Protected},
		{"two ids in it", record(`_mta-sts.example.com. TXT "v=STSv1; id=1; id=2;"`), "warning record-two-ids", sendercheck.Protected},
		{"no tlsrpt", func(s *scene) { s.absent = []string{"tlsrpt"} }, "warning tlsrpt-missing", sendercheck.Protected},
		{"SERVFAIL for tlsrpt", func(s *scene) { s.zone = []string{"SERVFAIL _smtp._tls.example.com. TXT"} }, "unknown tlsrpt-unknown", sendercheck.Undecided},
		{"two tlsrpt", func(s *scene) {
			s.zone = []string{`_smtp._tls.example.com. TXT "v=TLSRPTv1; rua=mailto:b@example.com"`}
		}, "warning tlsrpt-multiple", sendercheck.Protected},
		{"a tlsrpt with quotes in it", func(s *scene) {
			s.absent = []string{"tlsrpt"}
			s.zone = []string{`_smtp._tls.example.com. TXT "\"v=TLSRPTv1; rua=mailto:a@example.com\""`}
		}, "warning tlsrpt-invalid", sendercheck.Protected},
		{"a tlsrpt without scheme", func(s *scene) {
			s.absent = []string{"tlsrpt"}
			s.zone = []string{`_smtp._tls.example.com. TXT "v=TLSRPTv1; rua=tlsrpt@example.com"`}
		}, "warning tlsrpt-invalid", sendercheck.Protected},
	}
}

func brokenHosts() []broken {
	serves := func(h http.Handler) func(*scene) { return func(s *scene) { s.handler = h } }
	leaf := func(f func(*sendertest.Leaf)) func(*scene) { return func(s *scene) { f(&s.policyLeaf) } }
	plain := map[string]string{"Content-Type": "text/plain"}
	return []broken{
		{"SERVFAIL", func(s *scene) { s.zone = []string{"SERVFAIL mta-sts.example.com. AAAA"} }, "unknown policy-host-unknown", sendercheck.Undecided},
		{"CNAMEs in a circle", func(s *scene) {
			s.absent, s.zone = []string{"host"}, []string{"mta-sts.example.com. CNAME mta-sts.example.com."}
		}, "error policy-host-alias-loop", sendercheck.Broken},
		{"no such name", func(s *scene) { s.absent = []string{"host"} }, "error policy-host-missing", sendercheck.Broken},
		{"no address", func(s *scene) { s.absent, s.zone = []string{"host"}, []string{`mta-sts.example.com. TXT "x"`} }, "error policy-host-missing", sendercheck.Broken},
		{"a CNAME to nowhere", func(s *scene) {
			s.absent, s.zone = []string{"host"}, []string{"mta-sts.example.com. CNAME web.example.net."}
		}, "error policy-host-missing", sendercheck.Broken},
		{"not on the internet", func(s *scene) { s.options.AllowPrivate = false }, "unknown policy-address-refused, unknown mx-address-refused", sendercheck.Undecided},
		{"no way there", func(s *scene) {
			s.absent, s.zone = []string{"host"}, []string{"mta-sts.example.com. A 255.255.255.255"}
		}, "unknown policy-no-route", sendercheck.Undecided},
		{"no way to one of two", func(s *scene) { s.zone = []string{"mta-sts.example.com. A 255.255.255.255"} }, "note policy-no-route", sendercheck.Protected},
		{"nobody listens", func(s *scene) { s.noHost = true }, "error policy-connect-failed", sendercheck.Broken},
		{"nobody listens at one of two", func(s *scene) { s.zone = []string{"mta-sts.example.com. A " + s.Address().String()} }, "warning policy-connect-failed", sendercheck.Protected},
		{"silence", func(s *scene) {
			s.options.HTTPTimeout = 100 * time.Millisecond
			s.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, "error policy-timeout", sendercheck.Broken},
		{"a body that does not end", func(s *scene) {
			s.options.HTTPTimeout = 100 * time.Millisecond
			s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprint(w, "version: STSv1\r\n")
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		}, "error policy-timeout", sendercheck.Broken},
		{"no certificate", func(s *scene) {
			s.policyTLS = s.issue(s.policyLeaf)
			s.policyTLS.GetCertificate, s.policyTLS.Certificates = nil, nil
			s.policyTLS.GetCertificate = noCertificate
		}, "error policy-tls-failed", sendercheck.Broken},
		{"TLS 1.1", func(s *scene) {
			s.policyTLS = s.issue(s.policyLeaf)
			s.policyTLS.MinVersion, s.policyTLS.MaxVersion = 0x0301, 0x0302
		}, "error policy-tls-old", sendercheck.Broken},
		{"another name", leaf(func(l *sendertest.Leaf) { l.Names = []string{"example.com", "www.example.com"} }), "error policy-cert-name", sendercheck.Broken},
		{"a wildcard of two labels", leaf(func(l *sendertest.Leaf) { l.Names = []string{"*.com"} }), "error policy-cert-name", sendercheck.Broken},
		{"common name only", leaf(func(l *sendertest.Leaf) { l.Names, l.CommonName = nil, "mta-sts.example.com" }), "error policy-cert-name", sendercheck.Broken},
		{"expired", leaf(func(l *sendertest.Leaf) { l.NotBefore, l.NotAfter = time.Now().Add(-48*hour), time.Now().Add(-hour) }), "error policy-cert-expired", sendercheck.Broken},
		{"not yet valid", leaf(func(l *sendertest.Leaf) { l.NotBefore = time.Now().Add(hour) }), "error policy-cert-expired", sendercheck.Broken},
		{"signed by itself", leaf(func(l *sendertest.Leaf) { l.SelfSigned = true }), "error policy-cert-untrusted", sendercheck.Broken},
		{"without the intermediate", leaf(func(l *sendertest.Leaf) { l.ChainAbsent = true }), "error policy-cert-untrusted", sendercheck.Broken},
		{"all at once", leaf(func(l *sendertest.Leaf) {
			*l = sendertest.Leaf{Names: []string{"x.example"}, NotBefore: time.Now().Add(-48 * hour), NotAfter: time.Now().Add(-hour), SelfSigned: true}
		}), "error policy-cert-name, error policy-cert-expired, error policy-cert-untrusted", sendercheck.Broken},
		{"expires soon", leaf(func(l *sendertest.Leaf) {
			l.NotBefore, l.NotAfter = time.Now().Add(-80*24*hour), time.Now().Add(10*24*hour)
		}), "warning policy-cert-expires-soon", sendercheck.Protected},
		{"a short life is no reason", leaf(func(l *sendertest.Leaf) { l.NotBefore, l.NotAfter = time.Now().Add(-hour), time.Now().Add(6*24*hour) }), "", sendercheck.Protected},
		{"no HTTP", serves(raw("220 mail.example.com ESMTP\r\n")), "error policy-http-failed", sendercheck.Broken},
		{"breaks off", serves(raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nversion: STSv1\r\n")), "error policy-http-failed", sendercheck.Broken},
		{"a long head", serves(answers(200, map[string]string{"X": strings.Repeat("x", 20000)}, good)), "error policy-http-failed", sendercheck.Broken},
		{"interim answers for ever", serves(raw(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 9))), "error policy-http-failed", sendercheck.Broken},
		{"a redirect", serves(http.RedirectHandler("https://www.example.com/.well-known/mta-sts.txt", http.StatusMovedPermanently)), "error policy-redirect", sendercheck.Broken},
		{"404", serves(http.NotFoundHandler()), "error policy-status", sendercheck.Broken},
		{"204", serves(answers(204, plain, "")), "error policy-status", sendercheck.Broken},
		{"503", serves(answers(503, plain, good)), "error policy-status", sendercheck.Broken},
		{"65 KiB", serves(sendertest.Text(good + strings.Repeat("x: y\r\n", 11000))), "error policy-too-large", sendercheck.Broken},
		{"a megabyte in one byte chunks", serves(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 20 {
				if _, err := fmt.Fprint(w, "x"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		})), "error policy-too-large", sendercheck.Broken},
		{"takes its time", func(s *scene) {
			var later atomic.Int64
			s.options.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
			s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				later.Add(int64(3 * time.Second))
				sendertest.Text(good)(w, r)
			})
		}, "warning policy-slow", sendercheck.Protected},
		{"HTML by its type", serves(answers(200, map[string]string{"Content-Type": "text/html"}, good)), "warning policy-media-type", sendercheck.Protected},
		{"two policies", func(s *scene) {
			other := s.Address()
			s.zone = []string{"mta-sts.example.com. A " + other.String()}
			s.at(other, sendertest.Text(strings.ReplaceAll(good, "1209600", "1209601")))
		}, "warning policy-differs", sendercheck.Protected},
		{"IPv6 broken only", func(s *scene) {
			s.zone = []string{"mta-sts.example.com. AAAA ::1"}
			s.at(netip.IPv6Loopback(), http.NotFoundHandler())
		}, "error policy-status", sendercheck.Broken},
	}
}

func brokenPolicies() []broken {
	body := func(s string) func(*scene) { return func(sc *scene) { sc.policy = s } }
	replace := func(a, b string) func(*scene) { return body(strings.ReplaceAll(good, a, b)) }
	return []broken{
		{"empty", body(""), "error policy-invalid", sendercheck.Broken},
		{"a mode that does not exist", replace("enforce", "strict"), "error policy-invalid", sendercheck.Broken},
		{"a mode in upper case", replace("enforce", "Enforce"), "error policy-invalid", sendercheck.Broken},
		{"a page", body("<!DOCTYPE html>\n<html><body>Welcome</body></html>"), "error policy-html", sendercheck.Broken},
		{"a byte order mark", body("\ufeff" + good), "error policy-bom", sendercheck.Broken},
		{"a blank line at the end", body(good + "\r\n"), "error policy-blank-line", sendercheck.Broken},
		{"a comment", body("# ours\r\n" + good), "error policy-blank-line", sendercheck.Broken},
		{"an mx with a final dot", replace("mx1.example.com", "mx1.example.com."), "error policy-mx-dot", sendercheck.Broken},
		{"mode twice", body(good + "mode: none\r\n"), "warning policy-duplicate-field", sendercheck.Protected},
		{"an extension with a colon", body(good + "x-url: https://example.com/\r\n"), "warning policy-extension", sendercheck.Protected},
		{"an extension without", body(good + "x: y\r\n"), "", sendercheck.Protected},
		{"max_age too great", replace("1209600", "359996400"), "warning policy-max-age", sendercheck.Protected},
		{"max_age short", replace("1209600", "3600"), "warning policy-max-age", sendercheck.Protected},
		{"max_age 0", replace("1209600", "0"), "error policy-max-age", sendercheck.Broken},
		{"an mx twice", replace("mx: mx1.example.com\r\n", "mx: mx1.example.com\r\nmx: mx1.example.com\r\n"), "warning policy-mx", sendercheck.Protected},
		{"everybody", replace("mx1.example.com", "*.com"), "error policy-mx, error mx-not-in-policy, note mx-pattern-unused", sendercheck.Broken},
		{"testing", replace("enforce", "testing"), "note mode-testing", sendercheck.Testing},
		{"none", replace("enforce", "none"), "note mode-none", sendercheck.None},
		{"LF and no final one", body(strings.TrimSuffix(strings.ReplaceAll(good, "\r", ""), "\n")), "", sendercheck.Protected},
	}
}

// Every finding is brought about in a real world, by name servers, web servers and mail
// servers on this machine.
func TestFindings(t *testing.T) {
	seen := map[string]bool{}
	for part, worlds := range map[string][]broken{
		"healthy": healthy(), "record": brokenRecords(), "host": brokenHosts(), "policy": brokenPolicies(), "mx": brokenMX(), "intent": brokenIntents(),
	} {
		for _, c := range worlds {
			t.Run(part+"/"+c.why, func(t *testing.T) {
				s := newScene(t)
				c.change(s)
				r := s.look()
				var got []string
				for _, f := range r.Findings {
					seen[f.Code] = true
					got = append(got, string(f.Severity)+" "+f.Code)
					checkFinding(t, f)
				}
				want := strings.Split(c.want, ", ")
				if c.want == "" {
					want = nil
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("found %q, want %q\n%+v", got, want, r.Findings)
				}
				if r.Verdict != c.verdict {
					t.Errorf("verdict %q, want %q", r.Verdict, c.verdict)
				}
			})
		}
	}
	seen[sendercheck.PolicyNotFetched] = true // TestEnded
	for _, rule := range sendercheck.Rules() {
		if !seen[rule.Code] {
			t.Errorf("no world brings about %q", rule.Code)
		}
	}
}

// checkFinding wants of every finding what a reader does.
func checkFinding(t *testing.T, f sendercheck.Finding) {
	t.Helper()
	if f.Subject == "" || f.Text == "" || f.Fix == "" || !strings.HasPrefix(f.Rule, "RFC ") {
		t.Errorf("a word is missing: %+v", f)
	}
	for _, s := range []string{f.Text, f.Evidence, f.Fix, f.Rule, f.Subject} {
		for _, r := range s {
			if r < ' ' || r == 0x7f || r > '~' && r != '§' {
				t.Errorf("%q is not printable", s)
			}
		}
	}
	if len(f.Evidence) > 1000 {
		t.Errorf("evidence of %d bytes", len(f.Evidence))
	}
}

// A look that is ended says so, and blames nobody.
func TestEnded(t *testing.T) {
	s := newScene(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	r := s.checker().Check(ctx, "example.com", nil)
	if r.Count(sendercheck.Error) > 0 || !slices.ContainsFunc(r.Findings, func(f sendercheck.Finding) bool { return f.Code == sendercheck.PolicyNotFetched }) {
		t.Errorf("%+v", r.Findings)
	}
}
