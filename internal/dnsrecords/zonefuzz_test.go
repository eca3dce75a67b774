package dnsrecords

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// Whatever bytes come, what is said is a message, has the same id, is no longer than it may
// be, and nothing breaks.
func FuzzZoneRespond(f *testing.F) {
	z, err := NewZone(ZoneOptions{Name: "z.example", NameServers: []string{"ns.z.example"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		f.Fatal(err)
	}
	z.Set([]Set{{Domain: "example.com", ID: "a", RUA: []string{"mailto:a@example.com"}}}, nil)
	for _, name := range []string{"_mta-sts.example.com.z.example.", "z.example.", ".", "com.z.example.", `a\.b.z.example.`} {
		for _, kind := range []uint16{dns.TypeTXT, dns.TypeANY, dns.TypeAXFR} {
			text, err := new(dns.Msg).SetQuestion(name, kind).SetEdns0(4096, true).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, true)
		}
	}
	var n atomic.Uint32 // a network that asked nothing yet, for each
	f.Fuzz(func(t *testing.T, text []byte, udp bool) {
		from := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n.Add(1)<<8)))
		out := z.respond(make([]byte, maxUDP), text, from, udp)
		if n := z.metrics.outcomes[outcomeFault].Load(); n > 0 {
			t.Fatalf("%d faults", n)
		}
		if out == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatalf("%x: %v", out, err)
		}
		if out[0] != text[0] || out[1] != text[1] || !m.Response || udp && len(out) > maxUDP || m.RecursionAvailable {
			t.Errorf("%d bytes: %v", len(out), &m)
		}
		if len(out) > len(text) && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError && m.IsEdns0() == nil {
			t.Errorf("%d bytes for %d: %v", len(out), len(text), &m)
		}
	})
}
