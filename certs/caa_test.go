package certs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// caaRecords makes a CAA set of lines such as `0 issue "ca.example"`.
func caaRecords(t *testing.T, lines ...string) caaSet {
	t.Helper()
	var set caaSet
	for _, line := range lines {
		rr, err := dns.NewRR("example.com. 300 IN CAA " + line)
		check(t, err)
		set = append(set, rr.(*dns.CAA))
	}
	return set
}

func TestCAA(t *testing.T) {
	ours, methods := []string{"ca.example", "ca.example.net"}, []string{"http-01", "tls-alpn-01"}
	for _, c := range []struct {
		why     string
		set     []string
		finding string // why it may not issue; "" where it may
	}{
		{"no set", nil, ""},
		{"the CA", []string{`0 issue "ca.example"`}, ""},
		{"by its other name", []string{`0 issue "ca.example.net"`}, ""},
		{"in capitals", []string{`0 ISSUE "CA.Example"`}, ""},
		{"among others", []string{`0 issue "other.example"`, `0 issue ";"`, `0 issue "ca.example"`}, ""},
		{"with white space", []string{`0 issue "  ca.example ; a = b "`}, ""},
		{"nothing said of single hosts", []string{`0 issuewild ";"`, `0 iodef "mailto:a@example.com"`}, ""},
		{"a critical property that CAs know", []string{`128 issue "ca.example"`, `128 iodef "mailto:a@example.com"`}, ""},
		{"a property that they do not, and need not", []string{`0 tbs "x"`, `0 issue "ca.example"`}, ""},
		{"reserved flags mean nothing", []string{`1 tbs "x"`}, ""},
		{"by one of our methods", []string{`0 issue "ca.example; validationmethods=dns-01,http-01"`}, ""},
		{"of an account, which the CA knows", []string{`0 issue "ca.example; accounturi=https://ca.example/acct/1"`}, ""},
		{"a parameter of the CA's own", []string{`0 issue "ca.example; x=; y=%a=b"`}, ""},
		{"a semicolon at the end", []string{`0 issue "ca.example; a=b;"`}, ""},

		{"another CA", []string{`0 issue "other.example"`}, `CAA of example.com allows only "other.example": add issue "ca.example" or issue "ca.example.net"`},
		{"two of them", []string{`0 issue "other.example"`, `0 issue "x.example"`}, `CAA of example.com allows only "other.example", "x.example": add issue`},
		{"what the CA's name ends in", []string{`0 issue "example"`}, `allows only "example"`},
		{"nobody", []string{`0 issue ";"`}, "CAA of example.com allows no CA: add issue"},
		{"nobody, by an empty value", []string{`0 issue ""`}, "allows no CA"},
		{"no host name", []string{`0 issue "ca.example/x"`}, "allows no CA"},
		{"two names in one", []string{`0 issue "ca.example other.example"`}, "allows no CA"},
		{"a parameter without a value", []string{`0 issue "ca.example; a"`}, "allows no CA"},
		{"a parameter with a space", []string{`0 issue "ca.example; a=b c"`}, "allows no CA"},
		{"by DNS only", []string{`0 issue "ca.example; ValidationMethods=dns-01"`}, `CAA of example.com allows "ca.example" only with validationmethods=dns-01: add http-01 or tls-alpn-01`},
		{"by no method", []string{`0 issue "ca.example; validationmethods="`}, `only with validationmethods=:`},
		{"a critical property that no CA knows", []string{`0 issue "ca.example"`, `128 tbs "x"`}, `CAA of example.com has the critical property "tbs", which no CA knows: remove it`},
	} {
		set := caaRecords(t, c.set...)
		if got := set.allows(ours, methods); got != (c.finding == "") {
			t.Errorf("%s: allowed is %v", c.why, got)
		}
		if c.finding == "" {
			continue
		}
		if got := set.finding(ours, methods); !strings.Contains(got, c.finding) {
			t.Errorf("%s: %s\nwant %s", c.why, got, c.finding)
		}
	}
}

// Whatever a stranger publishes, a value names a host of the grammar, or nobody.
func FuzzParseIssue(f *testing.F) {
	for _, s := range []string{"", ";", "ca.example", " ca.example ; a=b; validationmethods=http-01,x", "ca.example;=", "-;-=-", "a..b", "\x00;\xff=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i := parseIssue(s)
		for label := range strings.SplitSeq(i.issuer, ".") {
			if i.issuer != "" && !isTag(label) {
				t.Errorf("%q names %q", s, i.issuer)
			}
		}
		if i.limited != (i.methods != nil) {
			t.Errorf("%q: limited is %v to %q", s, i.limited, i.methods)
		}
		again := parseIssue(fmt.Sprintf("%s; validationmethods=%s", i.issuer, strings.Join(i.methods, ",")))
		if i.limited && i.issuer != "" && (again.issuer != i.issuer || !slices.Equal(again.methods, i.methods)) {
			t.Errorf("%q: %+v, and said again %+v", s, i, again)
		}
	})
}
