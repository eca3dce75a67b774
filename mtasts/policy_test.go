package mtasts_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/mtasts"
)

// What a tolerant sender reads (RFC 8461 §3.2), and why it may.
func TestParseGood(t *testing.T) {
	const want = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
	for why, body := range map[string]string{
		"the form that we print":                  want,
		"LF line ends":                            strings.ReplaceAll(want, "\r\n", "\n"),
		"mixed line ends":                         strings.Replace(want, "\r\n", "\n", 2),
		"no end of the last line":                 strings.TrimSuffix(want, "\r\n"),
		"any order of fields":                     "max_age: 604800\nmx: mail.example.com\nmode: enforce\nmx: *.example.net\nversion: STSv1\n",
		"no blank after the colon":                strings.ReplaceAll(want, ": ", ":"),
		"several blanks after the colon":          strings.ReplaceAll(want, ": ", ": \t "),
		"blanks at the end of lines":              strings.ReplaceAll(want, "\r\n", " \t\r\n"),
		"unknown fields are ignored":              want + "extension: a value: with a colon\r\n",
		"UTF-8 in the value of an unknown field":  want + "comment: grüße\r\n",
		"of two modes the first counts":           want + "mode: none\r\n",
		"of two max_ages the first counts":        want + "max_age: 1\r\n",
		"a later duplicate is not even looked at": want + "max_age: soon\r\nmode: Bogus\r\nversion: 2\r\n",
		"upper case in mx":                        strings.ReplaceAll(want, "mail.example.com", "MAIL.Example.COM"),
		"leading zeros in max_age":                strings.ReplaceAll(want, "604800", "0000604800"),
	} {
		p, err := mtasts.Parse([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", why, err)
			continue
		}
		if got := string(p.Body()); got != want {
			t.Errorf("%s: read as %q", why, got)
		}
	}
	p, err := mtasts.Parse([]byte("version: STSv1\nmode: none\nmax_age: 86400\n"))
	if err != nil || p.Mode != mtasts.ModeNone || len(p.MX) != 0 {
		t.Errorf("mode none needs no mx: %v %+v", err, p)
	}
	p, err = mtasts.Parse([]byte(want + "a.b-c_d: x y\r\nmx: third.example\r\n"))
	if diff := cmp.Diff([]mtasts.Field{{Name: "a.b-c_d", Value: "x y"}}, p.Extensions); err != nil || diff != "" || len(p.MX) != 3 {
		t.Errorf("extensions: %v %s", err, diff)
	}
}

// What no sender may take for a policy, and why not.
func TestParseBad(t *testing.T) {
	const good = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmax_age: 604800\r\n"
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, c := range []struct {
		why, body string
		line      int
	}{
		{"empty", "", 1},
		{"HTML", "<!DOCTYPE html>\n<html>", 1},
		{"a byte order mark", "\ufeff" + good, 1},
		{"a blank line first", "\r\n" + good, 1},
		{"a blank line between", replace("mode", "\r\nmode"), 2},
		{"a blank line last", good + "\r\n", 5},
		{"a comment", "# ours\n" + good, 1},
		{"blanks before a name", replace("mode", " mode"), 2},
		{"a blank before the colon", replace("mode:", "mode :"), 2},
		{"a line without colon", good + "enforce\r\n", 5},
		{"no version", replace("version: STSv1\r\n", ""), 0},
		{"no mode", replace("mode: enforce\r\n", ""), 0},
		{"no max_age", replace("max_age: 604800\r\n", ""), 0},
		{"no mx in mode enforce", replace("mx: mail.example.com\r\n", ""), 0},
		{"another version", replace("STSv1", "STSv2"), 1},
		{"version in lower case", replace("STSv1", "stsv1"), 1},
		{"mode in upper case", replace("enforce", "Enforce"), 2},
		{"an unknown mode", replace("enforce", "bogus"), 2},
		{"name in upper case", replace("mode", "Mode"), 0},
		{"max_age with a sign", replace("604800", "+604800"), 4},
		{"max_age with a unit", replace("604800", "1w"), 4},
		{"max_age with a point", replace("604800", "1.5"), 4},
		{"max_age of eleven digits", replace("604800", "00000604800"), 4},
		{"empty max_age", replace("604800", ""), 4},
		{"empty mx", replace("mail.example.com", ""), 3},
		{"mx with a final dot", replace("mail.example.com", "mail.example.com."), 3},
		{"mx in U-labels", replace("mail.example.com", "müller.example"), 3},
		{"mx with an underscore", replace("mail.example.com", "a_b.example.com"), 3},
		{"mx with a port", replace("mail.example.com", "mail.example.com:25"), 3},
		{"a wildcard within a label", replace("mail.example.com", "mx*.example.com"), 3},
		{"a wildcard deeper", replace("mail.example.com", "mail.*.example.com"), 3},
		{"two hosts in one mx", replace("mail.example.com", "a.example.com, b.example.com"), 3},
		{"only a wildcard", replace("mail.example.com", "*."), 3},
		{"a label of 64 characters", replace("mail", strings.Repeat("a", 64)), 3},
		{"a control character in an extension", good + "x: a\x01b\r\n", 5},
		{"an extension without a value", good + "x:\r\n", 5},
		{"a bare CR as line end", strings.ReplaceAll(good, "\r\n", "\r"), 1},
		{"more than 64 KiB", good + strings.Repeat("x: y\r\n", 11000), 0},
	} {
		p, err := mtasts.Parse([]byte(c.body))
		pe, ok := errors.AsType[*mtasts.ParseError](err)
		if !ok {
			t.Errorf("%s: read as %+v", c.why, p)
			continue
		}
		if pe.Line != c.line {
			t.Errorf("%s: line %d, want %d: %v", c.why, pe.Line, c.line, err)
		}
	}
}

func TestMatchMX(t *testing.T) { // RFC 8461 §4.1
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"mail.example.com", "mail.example.com", true},
		{"mail.example.com", "MAIL.EXAMPLE.COM.", true},
		{"mail.example.com", "mail2.example.com", false},
		{"mail.example.com", "a.mail.example.com", false},
		{"*.example.com", "mail.example.com", true},
		{"*.example.com", "mail.example.com.", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "foo.bar.example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "mailexample.com", false},
		{"*.example.com", "", false},
		{"example.com", "", false},
	} {
		p := mtasts.Policy{MX: []mtasts.MXPattern{"other.example", mtasts.MXPattern(c.pattern)}}
		if got := p.MatchMX(c.host); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.host, got)
		}
	}
}

func TestParseMXPattern(t *testing.T) {
	for in, want := range map[string]string{
		"MX1.Example.COM":        "mx1.example.com",
		"mx1.example.com.":       "mx1.example.com",
		"*.Mail.Example.COM.":    "*.mail.example.com",
		"mx.müller.example":      "mx.xn--mller-kva.example",
		"*.bücher.example":       "*.xn--bcher-kva.example",
		"xn--mller-kva.example":  "xn--mller-kva.example",
		"a-b.c2.example":         "a-b.c2.example",
		"mx.例え.テスト":              "mx.xn--r8jz45g.xn--zckzah",
		"1.2.example":            "1.2.example",
		"mx。example。com":         "mx.example.com", // RFC 3490 §3.1: these dots are dots
		"MÜLLER.example":         "xn--mller-kva.example",
		"aspmx.l.google.com":     "aspmx.l.google.com",
		"alt1.aspmx.l.google.co": "alt1.aspmx.l.google.co",
	} {
		got, err := mtasts.ParseMXPattern(in)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "*", "*.", "*.*.example.com", "mx*.example.com", "a.*.example.com", "localhost", "192.0.2.1", "2001:db8::1",
		"[192.0.2.1]", "mx.example.com:25", "mx example.com", "mx_1.example.com", "-mx.example.com", "mx-.example.com",
		"mx..example.com", "mx.example.com..", "xn--a.example", "\x88.example", "mx.example.com,mx2.example.com", strings.Repeat("a", 64) + ".example",
		strings.Repeat("a.", 127) + "example",
	} {
		if got, err := mtasts.ParseMXPattern(in); err == nil {
			t.Errorf("%q was taken as %q", in, got)
		}
	}
}

func TestValidate(t *testing.T) {
	good := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []mtasts.MXPattern{"mx1.example.com", "*.mail.example.com"}, MaxAge: 2419200}
	for _, c := range []struct {
		why    string
		change func(*mtasts.Policy)
		want   string // severity, field and a part of the text of each problem
	}{
		{"good", func(*mtasts.Policy) {}, ""},
		{"no mode", func(p *mtasts.Policy) { p.Mode = "" }, "error mode is none of"},
		{"negative", func(p *mtasts.Policy) { p.MaxAge = -1 }, "error max_age negative"},
		{"zero", func(p *mtasts.Policy) { p.MaxAge = 0 }, "error max_age forget the policy at once"},
		{"a year and a second", func(p *mtasts.Policy) { p.MaxAge = 31557601 }, "error max_age above the greatest"},
		{"a year", func(p *mtasts.Policy) { p.MaxAge = 31557600 }, ""},
		{"short enforce", func(p *mtasts.Policy) { p.MaxAge = 1209599 }, "warning max_age short for mode enforce"},
		{"two weeks enforce", func(p *mtasts.Policy) { p.MaxAge = 1209600 }, ""},
		{"short testing", func(p *mtasts.Policy) { p.Mode = mtasts.ModeTesting; p.MaxAge = 86399 }, "warning max_age less than a day"},
		{"a day testing", func(p *mtasts.Policy) { p.Mode = mtasts.ModeTesting; p.MaxAge = 86400 }, ""},
		{"short none is right", func(p *mtasts.Policy) { p.Mode = mtasts.ModeNone; p.MaxAge = 60 }, ""},
		{"no mx", func(p *mtasts.Policy) { p.MX = nil }, "error mx there is no mx"},
		{"no mx in none", func(p *mtasts.Policy) { p.Mode = mtasts.ModeNone; p.MX = nil }, "warning mx legal for mode none"},
		{"twice", func(p *mtasts.Policy) { p.MX = append(p.MX, "mx1.example.com") }, "warning mx stands twice"},
		{"not normal", func(p *mtasts.Policy) { p.MX = []mtasts.MXPattern{"MX1.example.com"} }, "error mx not in lower-case A-labels"},
		{"an address", func(p *mtasts.Policy) { p.MX = []mtasts.MXPattern{"192.0.2.1"} }, "error mx is an IP address"},
		{"a public suffix", func(p *mtasts.Policy) { p.MX = []mtasts.MXPattern{"*.co.uk"} }, "error mx lets in everybody"},
		{"own apex", func(p *mtasts.Policy) { p.MX = []mtasts.MXPattern{"*.example.com"} }, "warning mx every host of the domain itself"},
		{"too long", func(p *mtasts.Policy) {
			for i := range 3000 {
				p.MX = append(p.MX, mtasts.MXPattern(fmt.Sprintf("mx%d.mail.example.com", i)))
			}
		}, "error  bytes long"},
	} {
		p := good
		p.MX = append([]mtasts.MXPattern(nil), good.MX...)
		c.change(&p)
		problems := p.Validate("example.com")
		if c.want == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %+v", c.why, problems)
			}
			continue
		}
		severity, rest, _ := strings.Cut(c.want, " ")
		field, text, _ := strings.Cut(rest, " ")
		if len(problems) != 1 || string(problems[0].Severity) != severity || problems[0].Field != field || !strings.Contains(problems[0].Text, text) ||
			problems[0].Fix == "" || !strings.HasPrefix(problems[0].Rule, "RFC 84") {
			t.Errorf("%s: want %q, have %+v", c.why, c.want, problems)
		}
	}
}

// An id of ours is known by its form.
func TestIsHashID(t *testing.T) {
	if id := mtasts.ID([]byte("x")); !mtasts.IsHashID(id) {
		t.Error(id)
	}
	for _, id := range []string{"", "20261125", "1", "bbmslqqp2aonmdqdva4ozjr5q", "bbmslqqp2aonmdqdva4ozjr5qmm", "BBMSLQQP2AONMDQDVA4OZJR5QM", "1bmslqqp2aonmdqdva4ozjr5qm"} {
		if mtasts.IsHashID(id) {
			t.Errorf("%q", id)
		}
	}
}

// The id is a function of the bytes, is stable for ever, and fits the grammar.
func TestID(t *testing.T) {
	p := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []mtasts.MXPattern{"mx1.example.com"}, MaxAge: 86400}
	id := mtasts.ID(p.Body())
	if want := "scnxqbzzlrbszkbsrbdet3d2pu"; id != want {
		t.Errorf("id %q, want %q: an upgrade must not change ids", id, want)
	}
	if _, err := mtasts.ParseRecord(mtasts.Record{ID: id}.String()); err != nil {
		t.Error(err)
	}
	p.MaxAge++
	if mtasts.ID(p.Body()) == id {
		t.Error("another policy has the same id")
	}
}

func TestRecord(t *testing.T) { // RFC 8461 §3.1
	for txt, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;":           "20160831085700Z",
		"v=STSv1;id=1":                           "1",
		"v=STSv1 ; id=abc ;":                     "abc",
		"v=STSv1;\tid=ABC123 ; ":                 "ABC123",
		"v=STSv1; ext=x:y,z; id=abc;":            "abc",
		"v=STSv1; id=first; id=second;":          "first",
		"v=STSv1; id=first; id=not-an-id;":       "first",
		"v=STSv1; id=" + strings.Repeat("a", 32): strings.Repeat("a", 32),
	} {
		if r, err := mtasts.ParseRecord(txt); err != nil || r.ID != want {
			t.Errorf("%q: %q, %v", txt, r.ID, err)
		}
	}
	for _, txt := range []string{
		"", "v=STSv1", "v=STSv1;", "v=STSv2; id=1;", "V=STSv1; id=1;", "v=STSv1x; id=1;", "v=STSv1; id=;", "v=STSv1; id=a-b;", "v=STSv1; ID=1;",
		"v=STSv1; id=" + strings.Repeat("a", 33) + ";", "v=STSv1; id=a b;", "v=STSv1;; id=1;", "v=STSv1; id=1;;", "id=1; v=STSv1;", " v=STSv1; id=1;",
		"v=STSv1; id=1; ext;", "v=STSv1; id=1; ext=a=b;", "v=STSv1; id=ü;",
	} {
		if r, err := mtasts.ParseRecord(txt); err == nil {
			t.Errorf("%q was taken as %+v", txt, r)
		}
	}
}

func TestSelectRecord(t *testing.T) {
	const ours, spf = "v=STSv1; id=1;", "v=spf1 -all"
	if r, err := mtasts.SelectRecord([]string{spf, ours, "v=STSv2; id=2;"}); err != nil || r.ID != "1" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := mtasts.SelectRecord([]string{spf, "v=STSv1 ; id=1;"}); !errors.Is(err, mtasts.ErrNoRecord) {
		t.Errorf("a record that does not begin with \"v=STSv1;\" is discarded: %v", err)
	}
	if _, err := mtasts.SelectRecord([]string{ours, ours}); !errors.Is(err, mtasts.ErrMultipleRecords) {
		t.Errorf("two records: %v", err)
	}
	if _, err := mtasts.SelectRecord([]string{"v=STSv1; id=;"}); err == nil {
		t.Error("a broken record was taken")
	}
}

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM.":   "example.com",
		"müller.example": "xn--mller-kva.example",
		"a.b.c.example":  "a.b.c.example",
	} {
		if got, err := mtasts.ParseDomain(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "com", "*.example.com", "_mta-sts.example.com", "user@example.com", "https://example.com", "example.com:443", "192.0.2.1", strings.Repeat("a.", 123) + "com"} {
		if got, err := mtasts.ParseDomain(in); err == nil {
			t.Errorf("%q was taken as %q", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("../examples/policies/*.toml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version: STSv1\r\nmode: enforce\r\nmx: *.example.com\r\nmax_age: 604800\r\nx: y\r\n"))
	f.Add([]byte("mode: none\nversion:STSv1\nmax_age:\t1 \n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := mtasts.Parse(body)
		if err != nil {
			return
		}
		again, err := mtasts.Parse(p.Body())
		if err != nil {
			t.Fatalf("what was read from %q is printed as %q: %v", body, p.Body(), err)
		}
		p.Extensions = nil
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatalf("%q: %s", body, diff)
		}
		for _, problem := range p.Validate("example.com") {
			if problem.Text == "" || problem.Fix == "" || problem.Rule == "" {
				t.Fatalf("problem without words: %+v", problem)
			}
		}
	})
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;")
	f.Add("v=STSv1 ;\tid=a; x=y; id=b")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := mtasts.ParseRecord(txt)
		if err != nil {
			return
		}
		if again, err := mtasts.ParseRecord(r.String()); err != nil || again.ID != r.ID {
			t.Fatalf("%q is printed as %q: %v", txt, r, err)
		}
	})
}

// Whatever a person writes as mx either is refused or is a pattern that reads the
// same again, prints to a policy that parses, and matches the host that it names.
func FuzzParseMXPattern(f *testing.F) {
	for _, s := range []string{"mx1.example.com", "*.Müller.example.", "xn--mller-kva.example", "例え.テスト", "*.a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mx, err := mtasts.ParseMXPattern(s)
		if err != nil {
			return
		}
		if again, err := mtasts.ParseMXPattern(string(mx)); err != nil || again != mx {
			t.Fatalf("%q: %q, then %q, %v", s, mx, again, err)
		}
		p := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []mtasts.MXPattern{mx}, MaxAge: 1}
		if _, err := mtasts.Parse(p.Body()); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if !p.MatchMX(strings.Replace(string(mx), "*", "label", 1)) {
			t.Fatalf("%q matches not even itself", mx)
		}
	})
}
