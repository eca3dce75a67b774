package review_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"mtasts-server/internal/review"
)

var update = flag.Bool("update", false, "write what is there to testdata")

var (
	from  = time.Date(2026, 8, 27, 0, 0, 0, 0, time.UTC)
	until = time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	steps = []string{"announced-not-served", "testing", "enforce-short", "enforce-long", "withdrawing", "gone"}
)

func daysAgo(n int) time.Time { return until.AddDate(0, 0, -n) }

// small is a quarter of three domains.
func small() review.Input {
	silence := review.Silence{Domain: "example.org", Code: "policy-cert-expires-soon", Reason: "renewed by hand on Monday", Author: "postmaster@example.org", Until: until.AddDate(0, 0, 5)}
	expired, soon := problem("mx-cert-expired", "mx2.example.net", review.Error), problem("policy-cert-expires-soon", "mta-sts.example.org", review.Warning)
	expired.Text, expired.Evidence, expired.Fix = "the MX host's certificate is not valid at this time", "expired on 2026-10-31", "renew the certificate, and find out why it was not renewed by itself"
	soon.Text, soon.Evidence, soon.Fix, soon.Owner = "the policy host's certificate expires soon", "expires on 2026-12-06", "renew the certificate of mta-sts.example.org", review.PolicyOwner
	return review.Input{
		Name: "Example Hosting", From: from, Until: until, Steps: steps, Testing: "testing", Drift: []string{"mx-not-in-policy", "policy-differs"},
		Domains: slices.Values([]review.DomainLine{
			{Domain: "example.com", Step: "enforce-long", Was: "enforce-short", Since: daysAgo(40)},
			{Domain: "example.net", Step: "testing", Was: "testing", Since: daysAgo(75), Waits: []string{"failures: 40 certificate-expired since 2026-11-01", "reporters: 1 of 2"}, Next: "enforce, max_age 86400", NextAt: until.AddDate(0, 0, 18)},
			{Domain: "example.org", Step: "testing", Since: daysAgo(10), Waits: []string{"windows: 7 of 14"}, Next: "enforce, max_age 86400", NextAt: until.AddDate(0, 0, 7)},
		}),
		Findings: slices.Values([]review.Finding{
			{Domain: "example.com", Problem: problem("mx-not-in-policy", "old.example.com", review.Error), FirstSeen: daysAgo(60), LastSeen: daysAgo(58), Closed: daysAgo(57), Looks: 3},
			{Domain: "example.net", Problem: expired, FirstSeen: daysAgo(27), LastSeen: until, Times: 2, Looks: 9},
			{Domain: "example.org", Problem: soon, FirstSeen: daysAgo(3), LastSeen: until, Looks: 9},
		}),
		States: slices.Values([]review.State{{Domain: "example.com", MX: []review.MXSet{
			{Since: daysAgo(400), Hosts: []string{"old.example.com"}}, {Since: daysAgo(60), Hosts: []string{"mx1.example.com", "mx2.example.com"}},
		}}}),
		Reports: slices.Values([]review.ReportLine{
			{Domain: "example.com", Successful: 120_400},
			{Domain: "example.net", Successful: 900, Failed: 40, Failures: []review.ReportedFailure{{Result: "certificate-expired", MX: "mx2.example.net", Sessions: 40, SeenBy: []string{"google.com", "microsoft.com"}}}},
		}),
		Changes:      slices.Values([]review.PolicyChange{{Domain: "example.com", At: daysAgo(40), From: "enforce, max_age 86400", To: "enforce, max_age 2592000"}, {Domain: "example.org", At: daysAgo(10), To: "testing, max_age 86400"}}),
		Overrides:    slices.Values([]review.Override{{Domain: "example.com", What: "enforce with 1 of 2 reporters", Reason: "only one large sender writes to us", Author: "ada", Until: until.AddDate(0, 1, 0)}}),
		Ownerless:    slices.Values([]review.Ownerless{{Domain: "example.net", Missing: []review.Owner{review.DNSOwner, review.MXOwner}}}),
		Certificates: slices.Values([]review.Certificate{{Domain: "example.net", Host: "mx2.example.net", Whose: review.MXOwner, NotAfter: daysAgo(27)}, {Domain: "example.com", Host: "mta-sts.example.com", Whose: review.PolicyOwner, NotAfter: until.AddDate(0, 0, 60)}}),
		Silences:     []review.Silence{silence, {Domain: "example.com", Code: "mx-tls-old", Reason: "until the move", Author: "ada", Until: daysAgo(20)}},
	}
}

// quiet is a quarter in which nothing happened.
func quiet() review.Input {
	return review.Input{From: from, Until: until, Steps: steps, Testing: "testing", Domains: slices.Values([]review.DomainLine{
		{Domain: "example.com", Step: "enforce-long", Was: "enforce-long", Since: daysAgo(300)},
	})}
}

// large is a quarter of n domains.
func large(n int) review.Input {
	in := small()
	name := func(i int) string { return fmt.Sprintf("tenant%06d.example", i) }
	in.Silences = nil
	in.Domains = func(yield func(review.DomainLine) bool) {
		for i := range n {
			d := review.DomainLine{Domain: name(i), Step: steps[i%4], Was: steps[max(0, i%4-i%3)], Since: daysAgo(i % 200)}
			if d.Step == "testing" {
				d.Waits = []string{[]string{"reporters: 1 of 2", "windows: 7 of 14", "checker: red"}[i%3]}
				d.Next, d.NextAt = "enforce, max_age 86400", until.AddDate(0, 0, i%120)
			}
			if !yield(d) {
				return
			}
		}
	}
	in.Findings = func(yield func(review.Finding) bool) {
		for i := range n {
			p := problem([]string{"mx-not-in-policy", "mx-cert-expired", "policy-differs"}[i%3], "mx."+name(i), review.Error)
			if i%5 > 0 {
				p.Severity = review.Warning
			}
			f := review.Finding{Domain: name(i), Problem: p, FirstSeen: daysAgo(i % 100), LastSeen: until, Looks: 5}
			if i%2 == 0 {
				f.Closed = f.FirstSeen.AddDate(0, 0, 1)
			}
			if !yield(f) {
				return
			}
		}
	}
	in.Reports = func(yield func(review.ReportLine) bool) {
		for i := range n {
			r := review.ReportLine{Domain: name(i), Successful: int64(i)}
			if i%10 == 0 {
				r.Failed = int64(i % 977)
				r.Failures = []review.ReportedFailure{{Result: "certificate-expired", MX: "mx." + name(i), Sessions: r.Failed, SeenBy: []string{"google.com", "yahoo.com", "microsoft.com", "web.de", "gmx.net", "mail.ru", "comcast.net"}}}
			}
			if !yield(r) {
				return
			}
		}
	}
	in.Certificates = func(yield func(review.Certificate) bool) {
		for i := range n {
			if !yield(review.Certificate{Domain: name(i), Host: "mta-sts." + name(i), Whose: review.PolicyOwner, NotAfter: until.AddDate(0, 0, i%90-1)}) {
				return
			}
		}
	}
	return in
}

var formats = []struct {
	ext   string
	write func(*review.Page, io.Writer) error
}{{"md", (*review.Page).WriteMarkdown}, {"html", (*review.Page).WriteHTML}, {"json", (*review.Page).WriteJSON}}

func render(t testing.TB, in review.Input, ext string) string {
	t.Helper()
	var b bytes.Buffer
	for _, f := range formats {
		if f.ext == ext {
			if err := f.write(review.MakePage(in), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.String()
}

func TestPage(t *testing.T) {
	for _, c := range []struct {
		name string
		in   review.Input
	}{{"small", small()}, {"quiet", quiet()}, {"large", large(2000)}} {
		for _, f := range formats {
			t.Run(c.name+"."+f.ext, func(t *testing.T) {
				file := filepath.Join("testdata", c.name+"."+f.ext)
				got := render(t, c.in, f.ext)
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("it is not as in %s; if it should be so, run with -update: %s", file, diff)
				}
			})
		}
	}
}

// Who names a host, writes a report or a reason, writes nothing into the page but text.
func TestInjection(t *testing.T) {
	const (
		tag  = `<script>alert(1)</script><img src=x onerror=alert(1)>`
		link = "[click](https://evil.example/) www.evil.example https://evil.example/ @root ![x](//evil.example/x.png) **bold** `code` a|b"
		line = "one\n# two\n| three | \x00\u202e\xff"
	)
	evil := tag + link + line
	f := review.Finding{Domain: evil, Problem: review.Problem{Code: evil, Subject: evil, Severity: review.Error, Owner: review.Owner(evil), Text: evil, Evidence: evil, Fix: evil, Rule: evil}, FirstSeen: daysAgo(1)}
	in := review.Input{
		Name: evil, From: from, Until: until, Steps: []string{evil}, Testing: evil, Drift: []string{evil},
		Domains:      slices.Values([]review.DomainLine{{Domain: evil, Step: evil, Was: "x" + evil, Since: daysAgo(99), Waits: []string{evil}, Next: evil, NextAt: until}}),
		Findings:     slices.Values([]review.Finding{f}),
		States:       slices.Values([]review.State{{Domain: evil, MX: []review.MXSet{{Since: from, Hosts: []string{evil}}, {Since: daysAgo(3), Hosts: []string{evil, evil}}}}}),
		Reports:      slices.Values([]review.ReportLine{{Domain: evil, Failed: 1, Failures: []review.ReportedFailure{{Result: evil, MX: evil, Sessions: 1, SeenBy: []string{evil}}}}}),
		Changes:      slices.Values([]review.PolicyChange{{Domain: evil, At: until, From: evil, To: evil}}),
		Overrides:    slices.Values([]review.Override{{Domain: evil, What: evil, Reason: evil, Author: evil}}),
		Ownerless:    slices.Values([]review.Ownerless{{Domain: evil, Missing: []review.Owner{review.Owner(evil)}}}),
		Certificates: slices.Values([]review.Certificate{{Domain: evil, Host: evil, Whose: review.Owner(evil), NotAfter: until, Trouble: evil}}),
		Silences:     []review.Silence{{Domain: evil, Reason: evil, Author: evil, Until: until}},
	}
	t.Run("html", func(t *testing.T) {
		allowed := map[string]bool{}
		for _, tag := range strings.Fields("html head meta title style body h1 h2 p div figure figcaption svg rect line ul li i section table thead tbody tr th td") {
			allowed[tag] = true
		}
		tags := 0
		for z := html.NewTokenizer(strings.NewReader(render(t, in, "html"))); ; {
			switch z.Next() {
			case html.ErrorToken:
				if tags < 100 {
					t.Errorf("%d tags", tags)
				}
				return
			case html.StartTagToken, html.SelfClosingTagToken:
				tags++
				tag := z.Token()
				if !allowed[tag.Data] {
					t.Errorf("tag %s", tag)
				}
				for _, a := range tag.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" {
						t.Errorf("attribute %q of %s", a.Key, tag.Data)
					}
				}
			}
		}
	})
	t.Run("markdown", func(t *testing.T) {
		for _, line := range strings.Split(render(t, in, "md"), "\n") {
			plain := withoutCode(line)
			for _, bad := range []string{"<", "](", "@", "www.", "://", "**bold", "![x", "\x00", "\u202e"} {
				for rest := plain; ; {
					i := strings.Index(rest, bad)
					if i < 0 {
						break
					}
					if i == 0 || rest[i-1] != '\\' {
						t.Errorf("%q stands in %q", bad, plain)
					}
					rest = rest[i+len(bad):]
				}
			}
			if strings.HasPrefix(line, "# two") || strings.HasPrefix(line, "| three") {
				t.Errorf("a line of a stranger: %q", line)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		text := render(t, in, "json")
		if !json.Valid([]byte(text)) || strings.Contains(text, "<script") || strings.Contains(text, `\u0000`) {
			t.Errorf("%s", text)
		}
	})
}

// withoutCode is a line of Markdown without its spans of code.
func withoutCode(line string) string {
	var b strings.Builder
	code := false
	for i := range len(line) {
		switch {
		case line[i] == '`' && (code || i == 0 || line[i-1] != '\\'): // in code a backslash is none
			code = !code
		case !code:
			b.WriteByte(line[i])
		}
	}
	return b.String()
}

// Each table of the page has an end, and says how much is left out.
func TestPageIsBounded(t *testing.T) {
	little, much := render(t, large(3000), "html"), render(t, large(30_000), "html")
	if len(much) > len(little)*11/10 || len(much) > 300_000 {
		t.Errorf("%d bytes for 3,000 domains, %d for 30,000", len(little), len(much))
	}
	p := review.MakePage(large(30_000))
	if len(p.Open.Rows) != 50 || p.Open.Len() != 15_000 || p.Findings.Errors != 3000 || p.Domains != 30_000 {
		t.Errorf("%d rows of %d open, %+v of %d", len(p.Open.Rows), p.Open.Len(), p.Findings, p.Domains)
	}
	for i, f := range p.Open.Rows {
		if f.Severity != review.Error || i > 0 && f.FirstSeen.Before(p.Open.Rows[i-1].FirstSeen) {
			t.Errorf("row %d is %+v", i, f)
		}
	}
	if !strings.Contains(much, "And 14,950 more.") {
		t.Error("it does not say how many are left out")
	}
}
