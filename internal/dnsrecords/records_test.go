package dnsrecords_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/lookup/lookuptest"
)

var example = dnsrecords.Set{Domain: "example.com", ID: "abc1", RUA: []string{"mailto:tlsrpt@example.com", "https://r.example.net/v1?a=%22b%22"}}

// Each form is as the tools that read it want it.
func TestPrint(t *testing.T) {
	addresses := []string{"192.0.2.1", "2001:db8::1"}
	caa := dnsrecords.Record{Name: "example.com", Type: "CAA", Value: `0 issue "letsencrypt.org"`, TTL: time.Hour}
	sheets := []dnsrecords.Sheet{
		{Domain: "example.com", Records: append(dnsrecords.Wanted(example, []string{"policy.example.net"}, time.Hour), caa)},
		{
			Domain: "b.example", Notes: []string{"_mta-sts.b.example. TXT: withheld"},
			Records: dnsrecords.Wanted(dnsrecords.Set{Domain: "b.example"}, addresses, 5*time.Minute),
		},
	}
	for form, want := range map[string]string{
		"zone": `mta-sts.example.com. 3600 IN CNAME policy.example.net.
_smtp._tls.example.com. 3600 IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@example.com,https://r.example.net/v1?a=%22b%22"
_mta-sts.example.com. 3600 IN TXT "v=STSv1; id=abc1;"
example.com. 3600 IN CAA 0 issue "letsencrypt.org"

; _mta-sts.b.example. TXT: withheld
mta-sts.b.example. 300 IN A 192.0.2.1
mta-sts.b.example. 300 IN AAAA 2001:db8::1
`,
		"dnscontrol": `D_EXTEND("example.com",
  CNAME("mta-sts", "policy.example.net.", TTL(3600)),
  TXT("_smtp._tls", "v=TLSRPTv1; rua=mailto:tlsrpt@example.com,https://r.example.net/v1?a=%22b%22", TTL(3600)),
  TXT("_mta-sts", "v=STSv1; id=abc1;", TTL(3600)),
  CAA("@", "issue", "letsencrypt.org", TTL(3600)));

// _mta-sts.b.example. TXT: withheld
D_EXTEND("b.example",
  A("mta-sts", "192.0.2.1", TTL(300)),
  AAAA("mta-sts", "2001:db8::1", TTL(300)));
`,
		"octodns": `# example.com
"mta-sts": {"ttl":3600,"type":"CNAME","value":"policy.example.net."}
"_smtp._tls": {"ttl":3600,"type":"TXT","values":["v=TLSRPTv1\\; rua=mailto:tlsrpt@example.com,https://r.example.net/v1?a=%22b%22"]}
"_mta-sts": {"ttl":3600,"type":"TXT","values":["v=STSv1\\; id=abc1\\;"]}
"": {"ttl":3600,"type":"CAA","values":[{"flags":0,"tag":"issue","value":"letsencrypt.org"}]}

# b.example
# _mta-sts.b.example. TXT: withheld
"mta-sts": [{"ttl":300,"type":"A","values":["192.0.2.1"]},{"ttl":300,"type":"AAAA","values":["2001:db8::1"]}]
`,
	} {
		var b strings.Builder
		if err := dnsrecords.Print(&b, form, sheets); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s:\n%s", form, diff)
		}
		if form != "zone" {
			continue
		}
		zp := dns.NewZoneParser(strings.NewReader(b.String()), "", "")
		n := 0
		for _, ok := zp.Next(); ok; _, ok = zp.Next() {
			n++
		}
		if zp.Err() != nil || n != 6 {
			t.Errorf("as a master file it has %d records: %v", n, zp.Err())
		}
	}
	if err := dnsrecords.Print(&strings.Builder{}, "bind", nil); err == nil || err.Error() != `form "bind" is none of zone, dnscontrol, octodns` {
		t.Error(err)
	}
}

// A text longer than 255 bytes is several strings, and what has a meaning in master files
// is escaped.
func TestLongText(t *testing.T) {
	set := dnsrecords.Set{Domain: "example.com", RUA: []string{"https://example.com/" + strings.Repeat("x", 300), `https://example.com/"\`}}
	line := dnsrecords.Wanted(set, nil, time.Hour)[0].String()
	rr, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	parts := rr.(*dns.TXT).Txt
	if len(parts) != 2 || len(parts[0]) != 255 {
		t.Errorf("%d strings: %s", len(parts), line)
	}
	if got := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.Join(parts, "")); got != "v=TLSRPTv1; rua="+strings.Join(set.RUA, ",") {
		t.Error(got)
	}
}

func TestDelegation(t *testing.T) {
	var got []string
	for _, r := range dnsrecords.Delegation("example.com", "sts.example.net", true, time.Hour) {
		got = append(got, r.String())
	}
	want := []string{
		"mta-sts.example.com. 3600 IN CNAME mta-sts.example.com.sts.example.net.",
		"_smtp._tls.example.com. 3600 IN CNAME _smtp._tls.example.com.sts.example.net.",
		"_mta-sts.example.com. 3600 IN CNAME _mta-sts.example.com.sts.example.net.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCompare(t *testing.T) {
	const (
		txt, host = "TXT _mta-sts.example.com.", "CNAME mta-sts.example.com."
		a, aaaa   = "A mta-sts.example.com.", "AAAA mta-sts.example.com."
	)
	id := dnsrecords.Record{Name: "_mta-sts.example.com", Type: "TXT", Value: "v=STSv1; id=new1;"}
	alias := dnsrecords.Record{Name: "mta-sts.example.com", Type: "CNAME", Value: "policy.example.net"}
	four := dnsrecords.Record{Name: "mta-sts.example.com", Type: "A", Value: "192.0.2.1"}
	six := dnsrecords.Record{Name: "mta-sts.example.com", Type: "AAAA", Value: "2001:db8::1"}
	one := func(r dnsrecords.Record) []dnsrecords.Record { return []dnsrecords.Record{r} }
	both := []dnsrecords.Record{four, six}
	const (
		rr4   = "mta-sts.example.com. 60 IN A 192.0.2.1"
		rr6   = "mta-sts.example.com. 60 IN AAAA 2001:db8::1"
		other = "mta-sts.example.com. 60 IN A 198.51.100.7"
	)
	for _, c := range []struct {
		why    string
		wanted []dnsrecords.Record
		dns    lookuptest.Map
		want   dnsrecords.Today
	}{
		{"no such name", one(id), lookuptest.Map{txt: "NXDOMAIN"}, dnsrecords.Today{State: "missing", Do: "publish it"}},
		{"something else at the name", one(id), lookuptest.Map{txt: `_mta-sts.example.com. 60 IN TXT "google-site-verification=x"`}, dnsrecords.Today{State: "missing", Do: "publish it"}},
		{"the record", one(id), lookuptest.Map{txt: `_mta-sts.example.com. 60 IN TXT "v=STSv1; " "id=new1;"`}, dnsrecords.Today{State: "ok", Values: []string{"v=STSv1; id=new1;"}}},
		{"the record, written otherwise", one(id), lookuptest.Map{txt: `_mta-sts.example.com. 60 IN TXT "v=STSv1;id=new1"`}, dnsrecords.Today{State: "ok", Values: []string{"v=STSv1;id=new1"}}},
		{"where to report to, written otherwise", one(dnsrecords.Record{Name: "_smtp._tls.example.com", Type: "TXT", Value: "v=TLSRPTv1; rua=mailto:a@example.com,https://b.example"}), lookuptest.Map{"TXT _smtp._tls.example.com.": `_smtp._tls.example.com. 60 IN TXT "v=TLSRPTv1;rua=mailto:a@example.com , https://b.example;"`}, dnsrecords.Today{State: "ok", Values: []string{"v=TLSRPTv1;rua=mailto:a@example.com , https://b.example;"}}},
		{"another id", one(id), lookuptest.Map{txt: `_mta-sts.example.com. 60 IN TXT "v=STSv1; id=old;"`}, dnsrecords.Today{State: "differs", Values: []string{"v=STSv1; id=old;"}, Do: "replace it"}},
		{
			"two records", one(id),
			lookuptest.Map{txt: "_mta-sts.example.com. 60 IN TXT \"v=STSv1; id=new1;\"\n_mta-sts.example.com. 60 IN TXT \"v=STSv1; id=b;\""},
			dnsrecords.Today{State: "differs", Values: []string{"v=STSv1; id=new1;", "v=STSv1; id=b;"}, Do: "leave one record: with several, senders see none"},
		},
		{
			"elsewhere by an alias", one(id),
			lookuptest.Map{txt: "_mta-sts.example.com. 60 IN CNAME x.example.\nx.example. 60 IN TXT \"v=STSv1; id=old;\""},
			dnsrecords.Today{State: "differs", Values: []string{"v=STSv1; id=old;"}, By: "x.example", Do: "replace it at x.example, where _mta-sts.example.com leads to"},
		},
		{"nobody knows", one(id), lookuptest.Map{txt: "SERVFAIL"}, dnsrecords.Today{State: "unknown", Do: "look again when DNS answers: asking DNS for TXT of _mta-sts.example.com.: the name server says SERVFAIL"}},
		{"hostile", one(id), lookuptest.Map{txt: `_mta-sts.example.com. 60 IN TXT "v=STSv1; id=\027[2J"`}, dnsrecords.Today{State: "differs", Values: []string{`v=STSv1; id=\\027[2J`}, Do: "replace it"}},

		{"the alias", one(alias), lookuptest.Map{host: "mta-sts.example.com. 60 IN CNAME Policy.Example.NET."}, dnsrecords.Today{State: "ok", Values: []string{"policy.example.net"}}},
		{"another alias", one(alias), lookuptest.Map{host: "mta-sts.example.com. 60 IN CNAME old.example."}, dnsrecords.Today{State: "differs", Values: []string{"old.example"}, Do: "replace it"}},
		{"no alias", one(alias), lookuptest.Map{host: "", a: "", aaaa: "NXDOMAIN"}, dnsrecords.Today{State: "missing", Do: "publish it"}},
		{
			"addresses of the alias", one(alias),
			lookuptest.Map{host: "", a: rr4, aaaa: "", "A policy.example.net.": "policy.example.net. 60 IN A 192.0.2.1", "AAAA policy.example.net.": ""},
			dnsrecords.Today{State: "ok", Values: []string{"192.0.2.1"}},
		},
		{
			"other addresses", one(alias),
			lookuptest.Map{host: "", a: other, aaaa: "", "A policy.example.net.": "policy.example.net. 60 IN A 192.0.2.1", "AAAA policy.example.net.": ""},
			dnsrecords.Today{State: "differs", Values: []string{"198.51.100.7"}, Do: "replace the addresses by it"},
		},

		{"both addresses", both, lookuptest.Map{a: rr4, aaaa: rr6}, dnsrecords.Today{State: "ok", Values: []string{"192.0.2.1", "2001:db8::1"}}},
		{"one of two is enough", both, lookuptest.Map{a: rr4, aaaa: ""}, dnsrecords.Today{State: "ok", Values: []string{"192.0.2.1"}}},
		{"one too many", both, lookuptest.Map{a: rr4 + "\n" + other, aaaa: ""}, dnsrecords.Today{State: "differs", Values: []string{"192.0.2.1", "198.51.100.7"}, Do: "replace what leads elsewhere"}},
		{"no address", both, lookuptest.Map{a: "", aaaa: ""}, dnsrecords.Today{State: "missing", Do: "publish it"}},
	} {
		got := dnsrecords.Compare(t.Context(), lookup.Over(c.dns.Exchange(t), time.Now), c.wanted)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.why, diff)
		}
	}
}
