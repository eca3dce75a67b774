package dnsrecords_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/dnsrecords"
)

// This file is about what goes over the wire, and about who sends what no resolver would.

// say sends a message as it is, by UDP, and returns what is said to it; nil for nothing,
// which is known from what is said to a good question after it.
func say(t *testing.T, addr string, text []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	good := new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA)
	good.Id = 0xbeef
	last, err := good.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][]byte{text, last} {
		if _, err := conn.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	var said []byte
	for {
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if binary.BigEndian.Uint16(buf) != good.Id {
			said = buf[:n]
			continue
		}
		if said == nil { // answers may overtake each other
			_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, err := conn.Read(buf); err == nil {
				said = buf[:n]
			}
		}
		return said
	}
}

// Who sends no question gets no answer, or one that is shorter than what was sent.
func TestZoneMalformed(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{}, dnsrecords.Set{Domain: "example.com", ID: "a"})
	pack := func(m *dns.Msg) []byte {
		m.Id = 0x1234
		text, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	question := func() *dns.Msg {
		return new(dns.Msg).SetQuestion("_mta-sts.example.com.sts.example.net.", dns.TypeTXT)
	}
	twoOPT := question().SetEdns0(1232, false)
	twoOPT.Extra = append(twoOPT.Extra, dns.Copy(twoOPT.Extra[0]))
	named := question().SetEdns0(1232, false)
	named.Extra[0].Header().Name = "example.com."
	two := question()
	two.Question = append(two.Question, two.Question[0])
	none := question()
	none.Question = nil
	answer := question()
	answer.Response = true
	answered := question()
	answered.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(1, 2, 3, 4)}}
	cut := pack(question())
	for _, c := range []struct {
		why  string
		text []byte
		want int // -1: nothing is said
	}{
		{"nothing", []byte{}, -1},
		{"half a header", make([]byte, 11), -1},
		{"an answer", pack(answer), -1},
		{"no question", pack(none), dns.RcodeFormatError},
		{"two questions", pack(two), dns.RcodeFormatError},
		{"a question with an answer", pack(answered), dns.RcodeFormatError},
		{"half a question", cut[:len(cut)-3], dns.RcodeFormatError},
		{"a name that points at itself", append(cut[:12:12], 0xc0, 12, 0, 16, 0, 1), dns.RcodeFormatError},
		{"two OPT records", pack(twoOPT), dns.RcodeFormatError},
		{"an OPT record of a name", pack(named), dns.RcodeFormatError},
		{"an update", pack(new(dns.Msg).SetUpdate("sts.example.net.")), dns.RcodeNotImplemented},
	} {
		said := say(t, addr, c.text)
		if c.want < 0 {
			if said != nil {
				t.Errorf("%s: %x was said", c.why, said)
			}
			continue
		}
		var m dns.Msg
		if err := m.Unpack(said); err != nil || m.Rcode != c.want || m.Id != 0x1234 || !m.Response || m.Authoritative || len(said) > len(c.text) {
			t.Errorf("%s: %v\n%v", c.why, err, &m)
		}
	}
}

// The flags of a question come back as RFC 1035 §4.1.1 and RFC 4035 §3.1.6 say, and no
// others; a denial takes no more space than it must.
func TestZoneFlags(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{})
	q := new(dns.Msg).SetQuestion("nobody.Sts.exAmple.net.", dns.TypeTXT).SetEdns0(4096, true)
	q.CheckingDisabled, q.AuthenticatedData, q.Zero = true, true, true
	m := ask(t, addr, "udp", q)
	if m.Rcode != dns.RcodeNameError || !m.RecursionDesired || !m.CheckingDisabled || m.RecursionAvailable || m.AuthenticatedData || m.Zero || !m.Authoritative || !m.IsEdns0().Do() {
		t.Error(m)
	}
	if m.Ns[0].Header().Name != "Sts.exAmple.net." {
		t.Error(m.Ns)
	}
	text, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if said := say(t, addr, text); len(said) > len(text)+70 { // the SOA record, and nothing twice
		t.Errorf("%d bytes for %d", len(said), len(text))
	}
}

// Names with odd characters are told apart: a dot within a label is no end of it.
func TestZoneOddNames(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{}, dnsrecords.Set{Domain: "example.com", ID: "a"})
	for name, want := range map[string]int{
		`x\.sts.example.net.`:                                       dns.RcodeRefused, // below example.net
		`_mta-sts\.example.com.sts.example.net.`:                    dns.RcodeNameError,
		`\000_mta-sts.example.com.sts.example.net.`:                 dns.RcodeNameError,
		`_mta-sts.example\.com.sts.example.net.`:                    dns.RcodeNameError,
		`\255.sts.example.net.`:                                     dns.RcodeNameError,
		strings.Repeat("a.", 100) + "sts.example.net.":              dns.RcodeNameError,
		"_mta-sts.example.com.sts.example.net.sts.example.net.":     dns.RcodeNameError,
		"_mta-sts._mta-sts.example.com.sts.example.net.":            dns.RcodeNameError,
		"x._mta-sts.example.com.sts.example.net.":                   dns.RcodeNameError,
		"_tls.example.com.sts.example.net.":                         dns.RcodeNameError, // reports go nowhere
		"_mta-sts.com.sts.example.net.":                             dns.RcodeNameError, // "com" is no domain
		"_smtp._tls.com.sts.example.net.":                           dns.RcodeNameError,
		"mta-sts.com.sts.example.net.":                              dns.RcodeNameError,
		"_mta-sts.sts.example.net.":                                 dns.RcodeNameError,
		"mta-sts.sts.example.net.":                                  dns.RcodeNameError,
		"_MTA-STS.EXAMPLE.COM.STS.EXAMPLE.NET.":                     dns.RcodeSuccess,
		strings.ToUpper("ns1.sts.example.net."):                     dns.RcodeSuccess,
		"ns1.sts.example.net.sts.example.net.":                      dns.RcodeNameError,
		"_mta-sts.example.com.xsts.example.net.":                    dns.RcodeRefused,
		"net.":                                                      dns.RcodeRefused,
		"sts.example.net.example.org.":                              dns.RcodeRefused,
		strings.Repeat("x", 63) + ".example.com.sts.example.net.":   dns.RcodeNameError,
		strings.Repeat("x", 63) + ".com.sts.example.net.":           dns.RcodeNameError,
		strings.Repeat(strings.Repeat("y", 49)+".", 4) + "example.": dns.RcodeRefused,
	} {
		if m := ask(t, addr, "udp", new(dns.Msg).SetQuestion(name, dns.TypeTXT)); m.Rcode != want {
			t.Errorf("%s: %s, want %s", name, dns.RcodeToString[m.Rcode], dns.RcodeToString[want])
		}
	}
}

// Name servers within the zone have addresses, and the names above them exist.
func TestZoneNameServers(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}
	_, addr := serve(t, dnsrecords.ZoneOptions{NameServers: []string{"a.ns.STS.example.net", "sts.example.net"}, Addresses: addresses},
		dnsrecords.Set{Domain: "x.ns", ID: "a"}, dnsrecords.Set{Domain: "a.ns", ID: "b"})
	const nodata = "NOERROR aa | SOA sts.example.net."
	for _, c := range []struct{ name, kind, want string }{
		{"a.ns.sts.example.net.", "A", "NOERROR aa | a.ns.sts.example.net. A 192.0.2.1 | a.ns.sts.example.net. A 192.0.2.2"},
		{"A.ns.sts.example.net.", "AAAA", "NOERROR aa | A.ns.sts.example.net. AAAA 2001:db8::1"},
		{"a.ns.sts.example.net.", "ANY", "NOERROR aa | a.ns.sts.example.net. A 192.0.2.1 | a.ns.sts.example.net. A 192.0.2.2"},
		{"a.ns.sts.example.net.", "TXT", nodata},
		{"ns.sts.example.net.", "A", nodata},
		{"b.ns.sts.example.net.", "A", "NXDOMAIN aa | SOA sts.example.net."},
		{"_mta-sts.a.ns.sts.example.net.", "TXT", `NOERROR aa | _mta-sts.a.ns.sts.example.net. TXT "v=STSv1; id=b;"`},
		{"mta-sts.x.ns.sts.example.net.", "ANY", "NOERROR aa | mta-sts.x.ns.sts.example.net. A 192.0.2.1 | mta-sts.x.ns.sts.example.net. A 192.0.2.2"},
		{"sts.example.net.", "AAAA", "NOERROR aa | sts.example.net. AAAA 2001:db8::1"},
		{"sts.example.net.", "MX", nodata},
		{"sts.example.net.", "DS", nodata},
		{"sts.example.net.", "NS", "NOERROR aa | sts.example.net. NS a.ns.sts.example.net. | sts.example.net. NS sts.example.net."},
	} {
		if got := brief(ask(t, addr, "udp", new(dns.Msg).SetQuestion(c.name, dns.StringToType[c.kind]))); got != c.want {
			t.Errorf("%s %s:\n     %s\nwant %s", c.name, c.kind, got, c.want)
		}
	}
	if m := ask(t, addr, "udp", new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeANY)); len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeSOA {
		t.Error(m)
	}
}

// While domains come and go, no name that has others below it is ever missing, and a domain
// that stays is always there.
func TestZoneWhileChanging(t *testing.T) {
	z, err := dnsrecords.NewZone(dnsrecords.ZoneOptions{Name: "z.example", NameServers: []string{"ns.example"}, Host: "policy.example", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	z.Set([]dnsrecords.Set{{Domain: "stays.example", ID: "0"}}, nil)
	stop := make(chan struct{})
	var change atomic.Int64 // which one is made
	var readers sync.WaitGroup
	var once sync.Once
	fail := func(format string, args ...any) { once.Do(func() { t.Errorf(format, args...) }) }
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				code := func(name string) int {
					return z.Answer(new(dns.Msg).SetQuestion(name+".z.example.", dns.TypeTXT), true).Rcode
				}
				if code("_mta-sts.stays.example") != dns.RcodeSuccess || code("example") != dns.RcodeSuccess {
					fail("a domain that stays was missing")
				}
				// There, not there above it, and there still, while the same change is made.
				const domain = "_mta-sts.a.b.c.test"
				for _, above := range []string{"a.b.c.test", "b.c.test", "c.test", "test"} {
					at := change.Load()
					if code(domain) == dns.RcodeSuccess && code(above) != dns.RcodeSuccess && code(domain) == dns.RcodeSuccess && change.Load() == at {
						fail("%s is missing, and has names below it", above)
					}
				}
			}
		})
	}
	for i := range 2000 {
		change.Add(1)
		z.Set([]dnsrecords.Set{{Domain: "a.b.c.test", ID: "1"}, {Domain: "stays.example", ID: fmt.Sprint(i)}, {Domain: "b.c.test"}}, nil)
		change.Add(1)
		z.Set(nil, []string{"b.c.test", "a.b.c.test"})
	}
	close(stop)
	readers.Wait()
	if n := testutil.CollectAndCount(z, "mtasts_dns_zone_domains"); n != 1 {
		t.Error(n)
	}
	if err := testutil.CollectAndCompare(z, strings.NewReader("# HELP mtasts_dns_zone_domains Domains that the zone answers for.\n# TYPE mtasts_dns_zone_domains gauge\nmtasts_dns_zone_domains 1\n"), "mtasts_dns_zone_domains"); err != nil {
		t.Error(err)
	}
}

// What is named twice counts once.
func TestZoneTwice(t *testing.T) {
	z, addr := serve(t, dnsrecords.ZoneOptions{})
	code := func(name string) string {
		return dns.RcodeToString[ask(t, addr, "udp", new(dns.Msg).SetQuestion(name+".sts.example.net.", dns.TypeTXT)).Rcode]
	}
	set := dnsrecords.Set{Domain: "a.example", ID: "a"}
	z.Set([]dnsrecords.Set{set, set}, nil)
	z.Set([]dnsrecords.Set{set}, nil)
	z.Set(nil, []string{"a.example", "a.example", "example"})
	if c := code("example"); c != "NXDOMAIN" {
		t.Error(c)
	}
	z.Set([]dnsrecords.Set{set, {Domain: "b.a.example", ID: "b"}}, []string{"a.example"})
	if a, b, above := code("_mta-sts.a.example"), code("_mta-sts.b.a.example"), code("a.example"); a != "NXDOMAIN" || b != "NOERROR" || above != "NOERROR" {
		t.Error(a, b, above)
	}
	z.Set(nil, []string{"b.a.example"})
	if c := code("a.example"); c != "NXDOMAIN" {
		t.Error(c)
	}
}

// A socket that is bound to all addresses answers from the one that was asked: a resolver
// takes no answer from another.
func TestZoneAnswersFromWhereItWasAsked(t *testing.T) {
	z, err := dnsrecords.NewZone(dnsrecords.ZoneOptions{Name: "z.example", NameServers: []string{"ns.example"}, Host: "policy.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "udp4"} {
		p, err := net.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := z.ServeUDP(p); err != nil {
				t.Error(err)
			}
		}()
		_, port, _ := net.SplitHostPort(p.LocalAddr().String())
		for _, addr := range []string{"127.0.0.1", "127.9.8.7"} { // by a connected socket, which takes nothing from elsewhere
			ask(t, net.JoinHostPort(addr, port), "udp", new(dns.Msg).SetQuestion("z.example.", dns.TypeSOA))
		}
	}
	if err := z.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := z.ServeUDP(p); err != nil { // which is the end at once
		t.Error(err)
	}
	if _, err := p.WriteTo([]byte{0}, p.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open still: %v", err)
	}
}

// callFrom connects to addr from a loopback address.
func callFrom(t *testing.T, from, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// answered reports whether a question is answered on conn.
func answered(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	co := &dns.Conn{Conn: conn}
	if err := co.WriteMsg(new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA)); err != nil {
		return err
	}
	_, err := co.ReadMsg()
	return err
}

// Who opens connections without end takes places from nobody but himself.
func TestZoneConnections(t *testing.T) {
	z, addr := serve(t, dnsrecords.ZoneOptions{})
	var mine []net.Conn
	for range 16 {
		c := callFrom(t, "127.0.1.1", addr)
		if err := answered(c); err != nil {
			t.Fatal(err)
		}
		mine = append(mine, c)
	}
	if err := answered(callFrom(t, "127.0.1.1", addr)); err == nil {
		t.Error("one address has more than its share")
	}
	if err := answered(callFrom(t, "127.0.1.2", addr)); err != nil {
		t.Errorf("another address: %v", err)
	}
	mine[0].Close()
	eventuallyAnswered(t, "127.0.1.1", addr)

	// From everywhere: who has been quiet for longest makes place.
	for i := range 300 {
		if err := answered(callFrom(t, fmt.Sprintf("127.0.2.%d", 1+i%250), addr)); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	_ = mine[1].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := mine[1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("who was quiet for longest is there still: %v", err)
	}
	if err := testutil.CollectAndCompare(z, strings.NewReader("# HELP mtasts_dns_zone_connections_open Connections to the zone that are open now.\n# TYPE mtasts_dns_zone_connections_open gauge\nmtasts_dns_zone_connections_open 256\n"), "mtasts_dns_zone_connections_open"); err != nil {
		t.Error(err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

func eventuallyAnswered(t *testing.T, from, addr string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err = answered(callFrom(t, from, addr)); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// A connection gets some questions answered, in their order, and ends with what is none.
func TestZoneOneConnection(t *testing.T) {
	_, addr := serve(t, dnsrecords.ZoneOptions{})
	frame := func(m *dns.Msg) []byte {
		text, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
	}
	c := callFrom(t, "127.0.0.1", addr)
	var all []byte
	for i := range 70 {
		q := new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA)
		q.Id = uint16(i)
		all = append(all, frame(q)...)
	}
	// All at once, and a byte at a time across the end of one (RFC 7766 §8).
	for _, part := range [][]byte{all[:1], all[1:30], all[30:]} {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	co := &dns.Conn{Conn: c}
	n := 0
	for {
		m, err := co.ReadMsg()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection does not end")
			}
			break
		}
		if int(m.Id) != n {
			t.Fatalf("answer %d comes as number %d", m.Id, n)
		}
		n++
	}
	if n != 64 {
		t.Errorf("%d questions were answered", n)
	}
	answer := new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA)
	answer.Response = true
	for why, text := range map[string][]byte{
		"an answer": frame(answer), "too much": {0x20, 0}, "nothing": {0, 0},
	} {
		c := callFrom(t, "127.0.0.1", addr)
		if _, err := c.Write(text); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d, %v", why, n, err)
		}
	}
}

// Two places listen at the same time, and end both, with connections that nobody ends.
func TestZoneShutdown(t *testing.T) {
	z, err := dnsrecords.NewZone(dnsrecords.ZoneOptions{Name: "sts.example.net", NameServers: []string{"ns.example"}, Host: "policy.example"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 4)
	var addrs []string
	for range 2 {
		l, p := sockets(t)
		addrs = append(addrs, l.Addr().String())
		go func() { ended <- z.ServeTCP(l) }()
		go func() { ended <- z.ServeUDP(p) }()
	}
	for _, addr := range addrs {
		if err := answered(callFrom(t, "127.0.0.1", addr)); err != nil {
			t.Error(err)
		}
		ask(t, addr, "udp", new(dns.Msg).SetQuestion("sts.example.net.", dns.TypeSOA))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := z.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
