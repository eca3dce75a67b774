package certs

import (
	"strings"
	"testing"
)

func TestValidHost(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for _, c := range []struct{ why, host string }{
		{"a policy host", "mta-sts.example.com"},
		{"two labels", "a.b"},
		{"an A-label", "mta-sts.xn--bcher-kva.example"},
		{"digits", "1.2.example"},
		{"a label of 63", label63 + ".example"},
		{"a name of 253", strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)},
	} {
		if !validHost(c.host) {
			t.Errorf("%s: %q is refused", c.why, c.host)
		}
	}
	for _, c := range []struct{ why, host string }{
		{"nothing", ""},
		{"one label", "localhost"},
		{"a final dot", "mta-sts.example.com."},
		{"a first dot, which would hide the file", ".example.com"},
		{"an empty label", "mta-sts..example.com"},
		{"upper case", "MTA-STS.example.com"},
		{"a U-label", "mta-sts.bücher.example"},
		{"a wildcard", "*.example.com"},
		{"an underscore", "_mta-sts.example.com"},
		{"a label that begins with a hyphen", "-a.example"},
		{"a label that ends with a hyphen", "a-.example"},
		{"a path", "../../etc/passwd"},
		{"a path of two labels", "a/b.example"},
		{"a NUL", "a\x00.example"},
		{"a line break", "a.example\n"},
		{"a port", "a.example:443"},
		{"a label of 64", label63 + "a.example"},
		{"a name of 254", strings.Repeat(label63+".", 3) + strings.Repeat("b", 62)},
	} {
		if validHost(c.host) {
			t.Errorf("%s: %q is taken", c.why, c.host)
		}
	}
}

func TestFind(t *testing.T) {
	hosts := table{"mta-sts.example.com": {host: "mta-sts.example.com"}}
	for _, c := range []struct {
		why, name string
		found     bool
	}{
		{"as it is", "mta-sts.example.com", true},
		{"upper case (RFC 6066 §3)", "MTA-STS.Example.COM", true},
		{"a final dot", "mta-sts.example.com.", true},
		{"both", "MTA-STS.EXAMPLE.COM.", true},
		{"two final dots", "mta-sts.example.com..", false},
		{"a parent", "example.com", false},
		{"a child", "a.mta-sts.example.com", false},
		{"nothing", "", false},
		{"a dot", ".", false},
	} {
		if got := hosts.find(c.name); (got != nil) != c.found {
			t.Errorf("%s: %q gives %v", c.why, c.name, got)
		}
	}
}
