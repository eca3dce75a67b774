package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/sendercheck"
	"mtasts-server/tlsrpt"
)

// reports are one of each kind: all well, broken, unknown.
func verdicts() []verified {
	report := func(domain string, v sendercheck.Verdict, fs ...sendercheck.Finding) *sendercheck.Report {
		return &sendercheck.Report{Domain: domain, Verdict: v, Host: &sendercheck.PolicyHost{Host: "mta-sts." + domain}, Findings: fs, Took: 1234567 * time.Microsecond}
	}
	return []verified{
		{report("good.example", sendercheck.Protected, sendercheck.Finding{
			Code: sendercheck.MXPatternUnused, Severity: sendercheck.Note, Subject: "mta-sts.good.example", Text: "the policy allows hosts that no MX record names",
			Evidence: "*.example.net", Rule: "RFC 8461 §4.1", Fix: "remove the mx",
		}), ""},
		{report("broken.example", sendercheck.Broken, sendercheck.Finding{
			Code: sendercheck.PolicyRedirect, Severity: sendercheck.Error, Result: tlsrpt.STSPolicyFetchError, Subject: "mta-sts.broken.example",
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, Text: "the policy host redirects",
			Evidence: `status 301 to "https://x.example/?a=<b>&c='d'"`, Rule: "RFC 8461 §3.3", Fix: "serve the policy itself",
		}, sendercheck.Finding{
			Code: sendercheck.TLSRPTMissing, Severity: sendercheck.Warning, Subject: "_smtp._tls.broken.example", Text: "nobody reports",
			Rule: "RFC 8460 §3", Fix: "publish a record",
		}), absolute("policies/a b.toml")},
		{report("silent.example", sendercheck.Undecided, sendercheck.Finding{
			Code: sendercheck.MXNotProbed, Severity: sendercheck.Unknown, Subject: "mx.silent.example", Text: "not probed",
			Rule: "RFC 8461 §4.2", Fix: "try elsewhere",
		}), "/elsewhere/policies.toml"},
		{report("skipped.example", sendercheck.Unprobed, sendercheck.Finding{
			Code: sendercheck.MXSkipped, Severity: sendercheck.Note, Subject: "mx.skipped.example", Text: "not probed: not to be connected to",
			Rule: "RFC 8461 §4.2", Fix: "try elsewhere",
		}), ""},
	}
}

func absolute(file string) string {
	path, err := filepath.Abs(file)
	if err != nil {
		panic(err)
	}
	return path
}

// printed is what a format makes of some reports.
func printed(t *testing.T, format string, vs []verified) []byte {
	t.Helper()
	var out bytes.Buffer
	var domains []string
	for _, v := range vs {
		domains = append(domains, v.Domain)
	}
	p, err := newVerifyPrinter(format, &out, domains, false)
	if err != nil {
		t.Fatal(err)
	}
	sum := verifySummary{Verdicts: map[sendercheck.Verdict]int{}, Port25Closed: len(vs) > 0}
	for _, v := range vs {
		sum.add(v.Report)
		p.report(v)
	}
	if err := p.end(sum); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What people and machines read is as in testdata/verify. UPDATE_GOLDEN=1 writes it.
func TestVerifyFormats(t *testing.T) {
	for _, format := range []string{"text", "json", "junit", "sarif"} {
		got := printed(t, format, verdicts())
		got = regexp.MustCompile(`"version": "[^"]*"\n        }`).ReplaceAll(got, []byte("\"version\": \"VERSION\"\n        }"))
		if format == "sarif" { // all rules would make it long, and change with each
			got = regexp.MustCompile(`(?s)"rules": \[.*?\n          \]`).ReplaceAll(got, []byte(`"rules": []`))
		}
		file := filepath.Join("testdata", "verify", format+".golden")
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
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

// Counts add up and each element is where the JUnit schema has it, with and without
// reports.
func TestVerifyJUnit(t *testing.T) {
	for _, vs := range [][]verified{nil, verdicts()} {
		var doc struct {
			XMLName xml.Name     `xml:"testsuites"`
			Suites  []junitSuite `xml:"testsuite"`
		}
		if err := xml.Unmarshal(printed(t, "junit", vs), &doc); err != nil {
			t.Fatal(err)
		}
		if len(doc.Suites) != len(vs) {
			t.Fatalf("%d suites of %d domains", len(doc.Suites), len(vs))
		}
		for i, s := range doc.Suites {
			failures, errs, skipped := 0, 0, 0
			for _, c := range s.Cases {
				failures, errs = failures+len(c.Failures), errs+len(c.Errors)
				if c.Skipped != nil {
					skipped++
				}
			}
			if s.Tests != len(s.Cases) || s.Failures != failures || s.Errors != errs || s.Skipped != skipped {
				t.Errorf("%s: %+v", s.Name, s)
			}
			if failures != vs[i].Count(sendercheck.Error) || errs != vs[i].Count(sendercheck.Unknown) {
				t.Errorf("%s: %d failures, %d errors", s.Name, failures, errs)
			}
		}
	}
}

// Every result has a rule that is told of, a level that SARIF knows, a message and a
// place; all codes are rules.
func TestVerifySARIF(t *testing.T) {
	for _, vs := range [][]verified{nil, verdicts()} {
		var log struct {
			Version string
			Runs    []struct {
				Tool struct {
					Driver struct {
						Name  string
						Rules []sarifRule
					}
				}
				Results []sarifResult
			}
		}
		if err := json.Unmarshal(printed(t, "sarif", vs), &log); err != nil {
			t.Fatal(err)
		}
		if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" || log.Runs[0].Results == nil {
			t.Fatalf("%+v", log)
		}
		run := log.Runs[0]
		if len(run.Tool.Driver.Rules) != len(sendercheck.Rules()) {
			t.Errorf("%d rules", len(run.Tool.Driver.Rules))
		}
		n := 0
		for _, v := range vs {
			n += len(v.Findings)
		}
		if len(run.Results) != n {
			t.Errorf("%d results of %d findings", len(run.Results), n)
		}
		for _, r := range run.Results {
			known := slices.ContainsFunc(run.Tool.Driver.Rules, func(rule sarifRule) bool { return rule.ID == r.RuleID && rule.Short.Text != "" })
			if !known || !slices.Contains([]string{"error", "warning", "note"}, r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
				t.Errorf("%+v", r)
			}
		}
	}
}

// Every finding belongs to a step that is shown.
func TestVerifySteps(t *testing.T) {
	for _, r := range sendercheck.Rules() {
		if step := stepOf(r.Code); !slices.Contains(verifySteps, step) || step == stepDomain && r.Code != sendercheck.DomainMissing && r.Code != sendercheck.NotPublished {
			t.Errorf("%s belongs to step %q", r.Code, step)
		}
	}
}

// An output that takes no more is told of.
func TestVerifyOutputBreaks(t *testing.T) {
	full := errors.New("no space left")
	for _, format := range []string{"text", "json", "junit", "sarif"} {
		p, err := newVerifyPrinter(format, writer(func([]byte) (int, error) { return 0, full }), []string{"a.example", "b.example"}, false)
		if err != nil {
			t.Fatal(err)
		}
		p.report(verdicts()[0])
		if err := p.end(verifySummary{}); !errors.Is(err, full) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 400, false)
	p.begun = p.begun.Add(-time.Minute)
	p.n = 100
	if got, want := p.line(p.begun.Add(time.Minute)), "[#######.......................] 100 of 400, 2/s, 3m0s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.step()
	if out.Len() > 0 {
		t.Errorf("told at once: %q", out.String())
	}
	p.told = p.told.Add(-progressEvery)
	p.step()
	if got := out.String(); !strings.Contains(got, "102 of 400") || strings.ContainsAny(got, "\r\x1b") {
		t.Errorf("into a log: %q", got)
	}
	out.Reset()
	p.terminal = true
	p.step()
	p.clear()
	if got := out.String(); !strings.HasPrefix(got, "\r\x1b[K[") || !strings.HasSuffix(got, "left\r\x1b[K") {
		t.Errorf("on a terminal: %q", got)
	}
	out.Reset()
	quiet := newProgress(&out, 400, true)
	quiet.told = quiet.told.Add(-progressEvery)
	quiet.step()
	quiet.clear()
	if out.Len() > 0 {
		t.Errorf("quiet: %q", out.String())
	}
}
