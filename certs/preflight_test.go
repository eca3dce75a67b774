package certs

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/lookup/lookuptest"
)

// said is a CA that says how it is called.
func said(names ...string) *directory {
	return &directory{now: time.Now, names: names, until: time.Now().Add(time.Hour)}
}

func TestPreflight(t *testing.T) {
	const (
		here  = "mta-sts.example.com. 300 IN A 192.0.2.1"
		six   = "mta-sts.example.com. 300 IN AAAA 2001:db8::1"
		other = "mta-sts.example.com. 300 IN A 198.51.100.7"
		alias = "mta-sts.example.com. 300 IN CNAME web.example.net.\n"
	)
	networks := Preflight{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}}
	names := Preflight{Names: []string{"web.example.net"}}
	ca, second, silent := said("ca.example"), said("second.example"), said()
	for _, c := range []struct {
		why     string
		dns     lookuptest.Map
		ours    Preflight
		cas     []*directory
		outcome outcome
		finding string
		refused []bool
	}{
		{why: "an address is enough where none is ours", dns: lookuptest.Map{"A mta-sts.example.com.": other}},
		{why: "so is an IPv6 address", dns: lookuptest.Map{"A mta-sts.example.com.": "", "AAAA mta-sts.example.com.": six}},
		{why: "by an alias", dns: lookuptest.Map{"A mta-sts.example.com.": alias + "web.example.net. 300 IN A 192.0.2.1"}},
		{why: "in capitals", dns: lookuptest.Map{"A mta-sts.example.com.": "MTA-STS.Example.com. 300 IN CNAME Web.Example.net.\nweb.EXAMPLE.net. 300 IN A 192.0.2.1"}},
		{why: "by an alias that the name server leaves to us", dns: lookuptest.Map{"A mta-sts.example.com.": alias, "A web.example.net.": "web.example.net. 300 IN A 192.0.2.1"}},
		{
			why: "no such host", dns: lookuptest.Map{"A mta-sts.example.com.": "NXDOMAIN"}, outcome: outcomeNoAddress,
			finding: "mta-sts.example.com does not exist in DNS: publish a CNAME, or A and AAAA, that leads to this server",
		},
		{
			why: "no address", dns: lookuptest.Map{"A mta-sts.example.com.": "", "AAAA mta-sts.example.com.": ""}, outcome: outcomeNoAddress,
			finding: "mta-sts.example.com has no address in DNS: publish a CNAME, or A and AAAA, that leads to this server",
		},
		{
			why: "an alias of nothing", dns: lookuptest.Map{"A mta-sts.example.com.": alias + "NXDOMAIN"}, outcome: outcomeNoAddress,
			finding: `mta-sts.example.com is an alias of "web.example.net", which does not exist in DNS: correct the CNAME, so that it leads to this server`,
		},
		{why: "others' records are not the host's", dns: lookuptest.Map{
			"A mta-sts.example.com.": "www.example.com. 300 IN A 192.0.2.1", "AAAA mta-sts.example.com.": "www.example.com. 300 IN AAAA 2001:db8::1",
		}, outcome: outcomeNoAddress, finding: "has no address"},
		{why: "nobody knows", dns: lookuptest.Map{"A mta-sts.example.com.": "SERVFAIL"}, outcome: outcomeUnknown},
		{why: "nobody knows the other half", dns: lookuptest.Map{"A mta-sts.example.com.": "", "AAAA mta-sts.example.com.": "timeout"}, outcome: outcomeUnknown},
		{why: "an alias of itself", dns: lookuptest.Map{
			"A mta-sts.example.com.": "mta-sts.example.com. 300 IN CNAME mta-sts.example.com.", "AAAA mta-sts.example.com.": "mta-sts.example.com. 300 IN CNAME mta-sts.example.com.",
		}, outcome: outcomeNoAddress, finding: "is an alias of an alias, and so on"},
		{why: "aliases in a ring", dns: lookuptest.Map{
			"A mta-sts.example.com.": alias, "A web.example.net.": "web.example.net. 300 IN CNAME mta-sts.example.com.",
		}, outcome: outcomeNoAddress, finding: "is an alias of an alias, and so on"},

		{why: "an address of ours", ours: networks, dns: lookuptest.Map{"A mta-sts.example.com.": here, "AAAA mta-sts.example.com.": ""}},
		{why: "an IPv6 address of ours among others", ours: networks, dns: lookuptest.Map{"A mta-sts.example.com.": other, "AAAA mta-sts.example.com.": six}},
		{
			why: "somewhere else", ours: networks, dns: lookuptest.Map{"A mta-sts.example.com.": other, "AAAA mta-sts.example.com.": ""}, outcome: outcomeElsewhere,
			finding: "mta-sts.example.com leads to 198.51.100.7, which is not this server (certificates.preflight.addresses): correct its CNAME, or its A and AAAA",
		},
		{why: "what is not known may be ours", ours: networks, dns: lookuptest.Map{"A mta-sts.example.com.": other, "AAAA mta-sts.example.com.": "SERVFAIL"}, outcome: outcomeUnknown},
		{why: "an address of ours by name", ours: names, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "AAAA mta-sts.example.com.": "",
			"A web.example.net.": "web.example.net. 300 IN A 192.0.2.1", "AAAA web.example.net.": "",
		}},
		{why: "somewhere else than our name", ours: names, dns: lookuptest.Map{
			"A mta-sts.example.com.": other, "AAAA mta-sts.example.com.": "",
			"A web.example.net.": "web.example.net. 300 IN A 192.0.2.1", "AAAA web.example.net.": "",
		}, outcome: outcomeElsewhere, finding: "leads to 198.51.100.7"},
		{why: "our own name is wrong", ours: names, dns: lookuptest.Map{
			"A mta-sts.example.com.": other, "AAAA mta-sts.example.com.": "", "A web.example.net.": "NXDOMAIN",
		}, outcome: outcomeUnknown},

		{why: "a CA that does not say how it is called is not looked for", cas: []*directory{silent}, dns: lookuptest.Map{"A mta-sts.example.com.": here}},
		{why: "no CAA set up to the top", cas: []*directory{ca}, refused: []bool{false}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": "", "CAA example.com.": "", "CAA com.": "",
		}},
		{why: "the first set counts", cas: []*directory{ca}, refused: []bool{false}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": "", "CAA example.com.": `example.com. 300 IN CAA 0 issue "ca.example"`,
		}},
		{why: "that of an alias is the host's", cas: []*directory{ca}, refused: []bool{true}, dns: lookuptest.Map{
			"A mta-sts.example.com.":   alias + "web.example.net. 300 IN A 192.0.2.1",
			"CAA mta-sts.example.com.": alias + `web.example.net. 300 IN CAA 0 issue ";"`,
		}, outcome: outcomeForbidden, finding: `CAA of web.example.net allows no CA: add issue "ca.example"`},
		{why: "above an alias it goes on at the host", cas: []*directory{ca}, refused: []bool{true}, dns: lookuptest.Map{
			"A mta-sts.example.com.":   alias + "web.example.net. 300 IN A 192.0.2.1",
			"CAA mta-sts.example.com.": alias, "CAA web.example.net.": "",
			"CAA example.com.": `example.com. 300 IN CAA 0 issue "other.example"`,
		}, outcome: outcomeForbidden, finding: `CAA of example.com allows only "other.example": add issue "ca.example"`},
		{why: "nobody knows the set", cas: []*directory{ca}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": "", "CAA example.com.": "SERVFAIL",
		}, outcome: outcomeUnknown},
		{why: "one of two CAs is refused", cas: []*directory{ca, second}, refused: []bool{true, false}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": `mta-sts.example.com. 300 IN CAA 0 issue "second.example"`,
		}},
		{why: "one is refused, of the other nobody knows", cas: []*directory{ca, silent}, refused: []bool{true, false}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": `mta-sts.example.com. 300 IN CAA 0 issue "third.example"`,
		}},
		{why: "both are refused", cas: []*directory{ca, second}, refused: []bool{true, true}, dns: lookuptest.Map{
			"A mta-sts.example.com.": here, "CAA mta-sts.example.com.": `mta-sts.example.com. 300 IN CAA 0 issue "third.example"`,
		}, outcome: outcomeForbidden, finding: `CAA of mta-sts.example.com allows only "third.example": add issue "ca.example" or issue "second.example"`},
	} {
		r := lookup.Over(c.dns.Exchange(t), time.Now)
		p := &preflight{dns: r, ours: c.ours, methods: []string{"http-01"}, cas: c.cas}
		got := p.look(t.Context(), host)
		if got.outcome != c.outcome || !strings.Contains(got.finding, c.finding) || (got.finding != "") != (got.outcome >= outcomeNoAddress) || !slices.Equal(got.refused, c.refused) {
			t.Errorf("%s: %+v", c.why, got)
		}
	}
}

// A name that is all dots costs a bounded number of questions, and is left to the CA.
func TestPreflightOfADeepName(t *testing.T) {
	deep := strings.Repeat("a.", 100) + "example"
	asked := 0
	r := lookup.Over(func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
		asked++
		reply := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, err := dns.NewRR(q.Question[0].Name + " 1 IN A 192.0.2.1")
			check(t, err)
			reply.Answer = []dns.RR{rr}
		}
		return reply, nil
	}, time.Now)
	p := &preflight{dns: r, cas: []*directory{said("ca.example")}}
	if v := p.look(t.Context(), deep); v.outcome != outcomeUnknown || asked != 1+maxClimb {
		t.Errorf("%+v after %d questions", v, asked)
	}
}

// A CA says in its directory how it is called. It is asked twice a day, and what it
// said last counts while it does not answer.
func TestDirectory(t *testing.T) {
	var fails atomic.Bool
	var asked atomic.Int32
	ca := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if fails.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"newOrder": "x", "meta": map[string]any{"caaIdentities": []string{"ca.example"}}})
	}))
	defer ca.Close()
	now := time.Now()
	d := newDirectory(CA{Directory: ca.URL}, func() time.Time { return now })
	for _, step := range []struct {
		why   string
		after time.Duration
		fails bool
		names int
		asked int32
	}{
		{"while it is down nobody knows", 0, true, 0, 1},
		{"nor is it asked for a while", staleDirectory - time.Second, false, 0, 1},
		{"then it says", time.Second, false, 1, 2},
		{"which counts for long", freshDirectory - time.Second, true, 1, 2},
		{"and while it is down once more", time.Second, true, 1, 3},
		{"the clock was set back", -365 * 24 * time.Hour, false, 1, 4},
	} {
		now = now.Add(step.after)
		fails.Store(step.fails)
		if names := d.identities(t.Context()); len(names) != step.names || asked.Load() != step.asked {
			t.Errorf("%s: %q after %d questions", step.why, names, asked.Load())
		}
	}
}

func TestPreflightOptions(t *testing.T) {
	for _, c := range []struct {
		p    Preflight
		want string
	}{
		{Preflight{}, ""},
		{Preflight{Names: []string{"web.example.net"}, Resolvers: []string{"192.0.2.53:53", "[2001:db8::53]:5353"}}, ""},
		{Preflight{Names: []string{"Web.example.net"}}, `preflight: "Web.example.net" is neither an address nor a host name in its normal form`},
		{Preflight{Resolvers: []string{"192.0.2.53"}}, `preflight: the name server "192.0.2.53" is no address with a port`},
		{Preflight{Resolvers: []string{"dns.example:53"}}, `preflight: the name server "dns.example:53" is no address with a port`},
	} {
		got := ""
		if err := c.p.check(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %s\nwant %s", c.p, got, c.want)
		}
	}
}
