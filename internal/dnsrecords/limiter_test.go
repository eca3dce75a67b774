package dnsrecords

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// A network has its allowance for each second, whoever else asks how much.
func TestLimiter(t *testing.T) {
	l := newLimiter()
	now := time.Unix(1_800_000_000, 0)
	took := func(addr string, n int) (passed, slipped int) {
		for range n {
			switch l.take(netip.MustParseAddr(addr), now) {
			case pass:
				passed++
			case slip:
				slipped++
			}
		}
		return passed, slipped
	}
	for _, c := range []struct {
		addr            string
		passed, slipped int
	}{
		{"192.0.2.1", perSecond, 1000 - perSecond},
		{"192.0.2.99", 0, 1000}, // the same network
		{"::ffff:192.0.2.7", 0, slipsPerSecond + perSecond - 2000},
		{"192.0.2.1", 0, 0},
		{"192.0.3.1", perSecond, 1000 - perSecond},
		{"2001:db8:0:ff::1", perSecond, 1000 - perSecond},
		{"2001:db8:0:fe::2", 0, 1000},
		{"2001:db8:0:100::1", perSecond, 1000 - perSecond},
		{"fe80::1%eth0", perSecond, 1000 - perSecond},
	} {
		if passed, slipped := took(c.addr, 1000); passed != c.passed || slipped != c.slipped {
			t.Errorf("%s: %d passed, %d slipped", c.addr, passed, slipped)
		}
	}
	now = now.Add(time.Second)
	if passed, _ := took("192.0.2.1", perSecond+1); passed != perSecond {
		t.Errorf("a second later: %d passed", passed)
	}
	now = now.Add(-time.Hour) // the clock is set back
	if passed, _ := took("192.0.2.1", perSecond+1); passed != perSecond {
		t.Errorf("an hour before: %d passed", passed)
	}
	if l.take(netip.Addr{}, now) != drop {
		t.Error("nobody got an answer")
	}
}

// Forged senders from everywhere neither free one that asks too much, nor stand in the way
// of one that asks little.
func TestLimiterFlood(t *testing.T) {
	l := newLimiter()
	now := time.Unix(1_800_000_000, 0)
	heavy, light := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	passed := 0
	for i := range uint32(400_000) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], i<<8)
		l.take(netip.AddrFrom4(a), now)
		if i%100 == 0 {
			if l.take(heavy, now) == pass {
				passed++
			}
		}
		if i%10_000 == 0 && l.take(light, now) != pass {
			t.Fatalf("after %d others, a network that asks little is refused", i)
		}
	}
	if passed > perSecond+20 { // it had to earn its place at first
		t.Errorf("%d answers passed", passed)
	}
}

func BenchmarkLimiter(b *testing.B) {
	l, addr, now := newLimiter(), netip.MustParseAddr("2001:db8::1"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		l.take(addr, now)
	}
}
