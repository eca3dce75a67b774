package certs

import (
	"testing"
	"time"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/lookup/lookuptest"
)

// What CAA forbids is told with the record to add, where one would help.
func TestInspector(t *testing.T) {
	const a = "CAA mta-sts.example.com."
	for _, c := range []struct {
		why                    string
		dns                    lookuptest.Map
		finding, owner, issuer string
		fails                  bool
	}{
		{"nothing forbids", lookuptest.Map{a: "", "CAA example.com.": "", "CAA com.": ""}, "", "", "", false},
		{"it is allowed", lookuptest.Map{a: "", "CAA example.com.": `example.com. 300 IN CAA 0 issue "ca.example"`}, "", "", "", false},
		{
			"another CA is",
			lookuptest.Map{a: "", "CAA example.com.": `Example.com. 300 IN CAA 0 issue "other.example"`},
			`CAA of Example.com allows only "other.example": add issue "ca.example"`, "example.com", "ca.example", false,
		},
		{
			"by another method only",
			lookuptest.Map{a: `mta-sts.example.com. 300 IN CAA 0 issue "ca.example; validationmethods=dns-01"`},
			`CAA of mta-sts.example.com allows "ca.example" only with validationmethods=dns-01: add http-01`, "", "", false,
		},
		{
			"a property that no CA knows",
			lookuptest.Map{a: `mta-sts.example.com. 300 IN CAA 128 odd "x"`},
			`CAA of mta-sts.example.com has the critical property "odd", which no CA knows: remove it`, "", "", false,
		},
		{"nobody knows", lookuptest.Map{a: "SERVFAIL"}, "", "", "", true},
	} {
		in := &Inspector{&preflight{dns: lookup.Over(c.dns.Exchange(t), time.Now), methods: []string{"http-01"}, cas: []*directory{said("ca.example")}}}
		finding, owner, issuer, err := in.CAA(t.Context(), host)
		if finding != c.finding || owner != c.owner || issuer != c.issuer || (err != nil) != c.fails {
			t.Errorf("%s: %q, %q, %q, %v", c.why, finding, owner, issuer, err)
		}
	}
}

// Sources that ask no CA have nothing to inspect.
func TestInspectorOfOtherSources(t *testing.T) {
	for _, source := range []Source{SourceLocal, SourceFiles} {
		in, err := NewInspector(Options{Source: source, Dir: t.TempDir(), FilesDir: t.TempDir()})
		if in != nil || err != nil {
			t.Errorf("%s: %v, %v", source, in, err)
		}
	}
}
