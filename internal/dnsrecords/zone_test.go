package dnsrecords_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/dnsrecords"
)

// serve answers for a zone with these sets on loopback.
func serve(t testing.TB, o dnsrecords.ZoneOptions, sets ...dnsrecords.Set) (z *dnsrecords.Zone, addr string) {
	t.Helper()
	if o.Name == "" {
		o.Name = "sts.example.net"
	}
	if o.NameServers == nil {
		o.NameServers = []string{"ns1.sts.example.net", "ns2.elsewhere.example"}
	}
	if o.Addresses == nil && o.Host == "" {
		o.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	}
	o.TTL = time.Hour
	z, err := dnsrecords.NewZone(o)
	if err != nil {
		t.Fatal(err)
	}
	z.Set(sets, nil)
	l, p := sockets(t)
	ended := make(chan error, 2)
	go func() { ended <- z.ServeTCP(l) }()
	go func() { ended <- z.ServeUDP(p) }()
	t.Cleanup(func() {
		if err := z.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return z, l.Addr().String()
}

// sockets are two on the same port.
func sockets(t testing.TB) (net.Listener, net.PacketConn) {
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, p
		}
		l.Close()
	}
	t.Fatal("no port is free")
	return nil, nil
}

func ask(t testing.TB, addr, network string, q *dns.Msg) *dns.Msg {
	t.Helper()
	m, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: dns.MaxMsgSize}).Exchange(q, addr)
	if err != nil {
		t.Fatalf("%v: %v", q.Question, err)
	}
	return m
}

// brief is an answer in a line: code, flags, and the sections.
func brief(m *dns.Msg) string {
	words := []string{dns.RcodeToString[m.Rcode]}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"ra", m.RecursionAvailable}, {"ad", m.AuthenticatedData}} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	for _, rr := range m.Answer {
		words = append(words, "| "+strings.Join(strings.Fields(rr.String())[:1], "")+" "+strings.Join(strings.Fields(rr.String())[3:], " "))
	}
	for _, rr := range m.Ns {
		words = append(words, "| "+dns.TypeToString[rr.Header().Rrtype]+" "+rr.Header().Name)
	}
	return strings.Join(words, " ")
}

func TestZoneAnswers(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{},
		dnsrecords.Set{Domain: "example.com", ID: "abc1", RUA: []string{"mailto:a@example.com"}},
		dnsrecords.Set{Domain: "new.example.com", RUA: []string{`https://example.com/"x\y`}},
		dnsrecords.Set{Domain: "deep.below.example.org", ID: "def2"},
		dnsrecords.Set{Domain: "mta-sts.example.com", ID: "odd1"})
	const nodata, nx = "NOERROR aa | SOA sts.example.net.", "NXDOMAIN aa | SOA sts.example.net."
	for _, c := range []struct{ name, kind, want string }{
		{"_mta-sts.example.com.sts.example.net.", "TXT", `NOERROR aa | _mta-sts.example.com.sts.example.net. TXT "v=STSv1; id=abc1;"`},
		{"_MTA-sts.eXample.com.STS.example.net.", "TXT", `NOERROR aa | _MTA-sts.eXample.com.STS.example.net. TXT "v=STSv1; id=abc1;"`},
		{"_smtp._tls.example.com.sts.example.net.", "TXT", `NOERROR aa | _smtp._tls.example.com.sts.example.net. TXT "v=TLSRPTv1; rua=mailto:a@example.com"`},
		{"_smtp._tls.new.example.com.sts.example.net.", "TXT", `NOERROR aa | _smtp._tls.new.example.com.sts.example.net. TXT "v=TLSRPTv1; rua=https://example.com/\"x\\y"`},
		{"mta-sts.example.com.sts.example.net.", "A", "NOERROR aa | mta-sts.example.com.sts.example.net. A 192.0.2.1"},
		{"mta-sts.example.com.sts.example.net.", "AAAA", "NOERROR aa | mta-sts.example.com.sts.example.net. AAAA 2001:db8::1"},
		{"mta-sts.mta-sts.example.com.sts.example.net.", "A", "NOERROR aa | mta-sts.mta-sts.example.com.sts.example.net. A 192.0.2.1"},

		// What exists and has nothing of the kind.
		{"_mta-sts.example.com.sts.example.net.", "A", nodata},
		{"mta-sts.example.com.sts.example.net.", "TXT", nodata},
		{"mta-sts.example.com.sts.example.net.", "CAA", nodata},
		{"mta-sts.example.com.sts.example.net.", "TYPE65280", nodata},
		// What exists since there is something below it.
		{"example.com.sts.example.net.", "A", nodata},
		{"com.sts.example.net.", "TXT", nodata},
		{"org.sts.example.net.", "TXT", nodata},
		{"below.example.org.sts.example.net.", "TXT", nodata},
		{"_tls.example.com.sts.example.net.", "TXT", nodata},

		{"_mta-sts.new.example.com.sts.example.net.", "TXT", nx}, // not announced yet
		{"_smtp._tls.deep.below.example.org.sts.example.net.", "TXT", nx},
		{"_mta-sts.other.example.sts.example.net.", "TXT", nx},
		{"example.sts.example.net.", "TXT", nx},
		{"www.example.com.sts.example.net.", "A", nx},

		{"sts.example.net.", "NS", "NOERROR aa | sts.example.net. NS ns1.sts.example.net. | sts.example.net. NS ns2.elsewhere.example."},
		{"ns1.sts.example.net.", "A", "NOERROR aa | ns1.sts.example.net. A 192.0.2.1"},
		{"ns1.sts.example.net.", "TXT", nodata},
		{"sts.example.net.", "A", nodata},

		// RFC 8482: one record of whatever kind.
		{"_mta-sts.example.com.sts.example.net.", "ANY", `NOERROR aa | _mta-sts.example.com.sts.example.net. TXT "v=STSv1; id=abc1;"`},
		{"mta-sts.example.com.sts.example.net.", "ANY", "NOERROR aa | mta-sts.example.com.sts.example.net. A 192.0.2.1"},

		// Not ours, or not for everybody.
		{"example.net.", "NS", "REFUSED"},
		{"example.com.", "TXT", "REFUSED"},
		{".", "NS", "REFUSED"},
		{"xsts.example.net.", "A", "REFUSED"},
		{"sts.example.net.", "AXFR", "REFUSED"},
		{"sts.example.net.", "IXFR", "REFUSED"},
	} {
		kind, ok := dns.StringToType[c.kind]
		if !ok {
			kind = 65280
		}
		networks := []string{"udp", "tcp"}
		for _, network := range networks {
			if got := brief(ask(t, addr, network, new(dns.Msg).SetQuestion(c.name, kind))); got != c.want {
				t.Errorf("%s %s by %s:\n     %s\nwant %s", c.name, c.kind, network, got, c.want)
			}
		}
	}
}

// The SOA record: a denial is believed for minutes, and the serial grows with each change.
func TestZoneSerial(t *testing.T) {
	var now atomic.Int64 // seconds since 1970
	now.Store(1_800_000_000)
	z, addr := serve(t, dnsrecords.ZoneOptions{Hostmaster: "dns.admin@example.net", Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	soa := func() *dns.SOA {
		t.Helper()
		m := ask(t, addr, "udp", new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA))
		return m.Answer[0].(*dns.SOA)
	}
	first := soa()
	if first.Mbox != `dns\.admin.example.net.` || first.Minttl != 300 || first.Hdr.Ttl != 300 || first.Ns != "ns1.sts.example.net." {
		t.Error(first)
	}
	before := first.Serial
	for _, step := range []struct {
		why string
		at  time.Duration
	}{{"at once", 0}, {"again", 0}, {"later", time.Hour}, {"by a clock set back", -time.Hour}} {
		now.Add(int64(step.at.Seconds()))
		z.Set([]dnsrecords.Set{{Domain: "example.com", ID: "a"}}, nil)
		if s := soa().Serial; s <= before {
			t.Errorf("%s: serial %d after %d", step.why, s, before)
		} else {
			before = s
		}
	}
}

// Who is removed leaves nothing behind, also of the names above.
func TestZoneRemove(t *testing.T) {
	z, addr := serve(t, dnsrecords.ZoneOptions{}, dnsrecords.Set{Domain: "a.example.com", ID: "a"}, dnsrecords.Set{Domain: "b.example.com", ID: "b"})
	code := func(name string) string {
		return dns.RcodeToString[ask(t, addr, "udp", new(dns.Msg).SetQuestion(name+".sts.example.net.", dns.TypeTXT)).Rcode]
	}
	z.Set(nil, []string{"a.example.com", "never.there.example"})
	z.Set([]dnsrecords.Set{{Domain: "b.example.com", ID: "c"}}, nil)
	if a, b, above := code("_mta-sts.a.example.com"), code("_mta-sts.b.example.com"), code("example.com"); a != "NXDOMAIN" || b != "NOERROR" || above != "NOERROR" {
		t.Error(a, b, above)
	}
	z.Set(nil, []string{"b.example.com"})
	if b, above := code("_mta-sts.b.example.com"), code("example.com"); b != "NXDOMAIN" || above != "NXDOMAIN" {
		t.Error(b, above)
	}
	// A name that does not fit is left out.
	long := strings.Repeat(strings.Repeat("x", 60)+".", 4) + "example"
	z.Set([]dnsrecords.Set{{Domain: long[10:], ID: "a"}}, nil)
	if c := code("example"); c != "NXDOMAIN" {
		t.Error(c)
	}
}

// Policy hosts may be aliases of one name.
func TestZoneAlias(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{Host: "policy.example.net", NameServers: []string{"ns.example.net"}}, dnsrecords.Set{Domain: "example.com"})
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeCNAME} {
		got := brief(ask(t, addr, "udp", new(dns.Msg).SetQuestion("mta-sts.example.com.sts.example.net.", kind)))
		if got != "NOERROR aa | mta-sts.example.com.sts.example.net. CNAME policy.example.net." {
			t.Errorf("%s: %s", dns.TypeToString[kind], got)
		}
	}
}

// EDNS, truncation, and questions that are none.
func TestZoneMessages(t *testing.T) {
	long := make([]string, 12)
	for i := range long {
		long[i] = fmt.Sprintf("https://reports.example.com/%d/%s", i, strings.Repeat("x", 100))
	}
	_, addr := serve(t, dnsrecords.ZoneOptions{}, dnsrecords.Set{Domain: "example.com", RUA: long[:4]}, dnsrecords.Set{Domain: "long.example", RUA: long})
	question := func(domain string) *dns.Msg {
		return new(dns.Msg).SetQuestion("_smtp._tls."+domain+".sts.example.net.", dns.TypeTXT)
	}
	for _, c := range []struct {
		why       string
		q         *dns.Msg
		network   string
		code      int
		truncated bool
		records   int
		edns      bool
	}{
		{"without EDNS 512 bytes fit", question("example.com"), "udp", dns.RcodeSuccess, true, 0, false},
		{"with it more", question("example.com").SetEdns0(4096, true), "udp", dns.RcodeSuccess, false, 1, true},
		{"but not all", question("long.example").SetEdns0(4096, false), "udp", dns.RcodeSuccess, true, 0, true},
		{"a size below 512 is 512", question("example.com").SetEdns0(100, false), "udp", dns.RcodeSuccess, true, 0, true},
		{"all of it comes by TCP", question("long.example"), "tcp", dns.RcodeSuccess, false, 1, false},
		{"a class that we are not of", func() *dns.Msg { q := question("example.com"); q.Question[0].Qclass = dns.ClassCHAOS; return q }(), "udp", dns.RcodeRefused, false, 0, false},
		{"an update", new(dns.Msg).SetUpdate("sts.example.net."), "udp", dns.RcodeNotImplemented, false, 0, false},
		{"a notification", new(dns.Msg).SetNotify("sts.example.net."), "udp", dns.RcodeNotImplemented, false, 0, false},
		{"another version of EDNS", func() *dns.Msg {
			q := question("example.com").SetEdns0(4096, false)
			q.IsEdns0().SetVersion(1)
			return q
		}(), "udp", dns.RcodeBadVers, false, 0, true},
	} {
		m := ask(t, addr, c.network, c.q)
		if m.Rcode != c.code || m.Truncated != c.truncated || len(m.Answer) != c.records || (m.IsEdns0() != nil) != c.edns || m.RecursionAvailable {
			t.Errorf("%s: %s", c.why, m)
		}
		if opt := m.IsEdns0(); opt != nil && (opt.UDPSize() != 1232 || opt.Version() != 0) {
			t.Errorf("%s: %s", c.why, opt)
		}
	}
}

// Whoever sends a flood from a forged address has it answered by little, and in the end by
// nothing; by TCP anybody gets an answer.
func TestZoneIsNoAmplifier(t *testing.T) {
	z, addr := serve(t, dnsrecords.ZoneOptions{Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, dnsrecords.Set{Domain: "example.com", ID: "a"})
	q := new(dns.Msg).SetQuestion("_mta-sts.example.com.sts.example.net.", dns.TypeTXT)
	text, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const full, cut, silent = 200, 2000, 50
	buf := make([]byte, 4096)
	for i := range full + cut {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(text); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if whole := i < full; m.Truncated == whole || len(m.Answer) == 1 != whole || !whole && n > len(text) {
			t.Fatalf("answer %d: %d bytes: %v", i, n, &m)
		}
	}
	for range silent {
		if _, err := conn.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if m := ask(t, addr, "tcp", q); len(m.Answer) != 1 {
		t.Error("no answer by TCP")
	}
	want := fmt.Sprintf(`# HELP mtasts_dns_zone_questions_total %s
# TYPE mtasts_dns_zone_questions_total counter
mtasts_dns_zone_questions_total{outcome="answered"} %d
mtasts_dns_zone_questions_total{outcome="dropped"} %d
mtasts_dns_zone_questions_total{outcome="fault"} 0
mtasts_dns_zone_questions_total{outcome="ignored"} 0
mtasts_dns_zone_questions_total{outcome="malformed"} 0
mtasts_dns_zone_questions_total{outcome="no_data"} 0
mtasts_dns_zone_questions_total{outcome="no_such_name"} 0
mtasts_dns_zone_questions_total{outcome="refused"} 0
mtasts_dns_zone_questions_total{outcome="truncated"} %d
`, "Questions to the zone by what became of them: answered, no_data, no_such_name, refused, malformed, ignored, truncated (too large, or the network asks too much), dropped (the network asks too much), fault.",
		full+1, silent, cut)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until the last one is read
		if err = testutil.CollectAndCompare(z, strings.NewReader(want), "mtasts_dns_zone_questions_total"); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestZoneOptions(t *testing.T) {
	ns := []string{"ns.example.net"}
	for _, c := range []struct {
		o    dnsrecords.ZoneOptions
		want string
	}{
		{dnsrecords.ZoneOptions{Name: "sts.example.net", NameServers: ns}, "a zone needs addresses for policy hosts, or a name"},
		{dnsrecords.ZoneOptions{Name: "sts.example.net", Host: "a.example"}, "a zone needs name servers"},
		{dnsrecords.ZoneOptions{Name: "", NameServers: ns, Host: "a.example"}, `zone "" is no name`},
		{dnsrecords.ZoneOptions{Name: "sts.example.net", NameServers: []string{"ns.sts.example.net"}, Host: "a.example"}, `the name server "ns.sts.example.net" lies in the zone, and has no address: name one outside of it`},
	} {
		if _, err := dnsrecords.NewZone(c.o); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}
