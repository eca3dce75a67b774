package dnsrecords

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// benchDomains is the size that the program is made for.
const benchDomains = 100_000

func benchSets() []Set {
	sets := make([]Set, benchDomains)
	for i := range sets {
		sets[i] = Set{Domain: fmt.Sprintf("customer-%d.example", i), ID: fmt.Sprintf("id%030d", i), RUA: []string{"mailto:tlsrpt@example.net"}}
	}
	return sets
}

func benchZone(b *testing.B, sets []Set) *Zone {
	z, err := NewZone(ZoneOptions{Name: "sts.example.net", NameServers: []string{"ns.example.net"}, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		b.Fatal(err)
	}
	z.Set(sets, nil)
	return z
}

func benchQuestion(b *testing.B, domain string) []byte {
	text, err := new(dns.Msg).SetQuestion("_mta-sts."+domain+".sts.example.net.", dns.TypeTXT).SetEdns0(1232, true).Pack()
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// BenchmarkZoneRespond is from the bytes of a question to those of the answer, on all
// processors, while nothing changes and while a domain changes a thousand times a second.
func BenchmarkZoneRespond(b *testing.B) {
	sets := benchSets()
	z := benchZone(b, sets)
	question := benchQuestion(b, sets[777].Domain)
	run := func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, maxUDP)
			for pb.Next() {
				if z.respond(buf, question, netip.Addr{}, false) == nil {
					b.Fatal("no answer")
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
	}
	b.Run("quiet", run)
	b.Run("changing", func(b *testing.B) {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
					z.Set(sets[i%len(sets):i%len(sets)+1], nil)
				}
			}
		}()
		run(b)
		close(stop)
		<-stopped
	})
}

// BenchmarkZoneUDP asks over loopback, one question after the other from each of some
// clients in other networks; they take as much of the processors as the zone does.
func BenchmarkZoneUDP(b *testing.B) {
	sets := benchSets()
	z := benchZone(b, sets)
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	z.o.Now = func() time.Time { return time.Unix(time.Now().UnixNano()/1e3, 0) } // or the limit would be measured
	go func() { _ = z.ServeUDP(p) }()
	defer z.Shutdown(b.Context())
	question := benchQuestion(b, sets[777].Domain)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("udp", p.LocalAddr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, maxUDP)
		for pb.Next() {
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(question); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}

// BenchmarkZoneSet is a change of one domain among 100,000, and all of them at once.
func BenchmarkZoneSet(b *testing.B) {
	sets := benchSets()
	b.Run("one", func(b *testing.B) {
		z := benchZone(b, sets)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			z.Set(sets[i%len(sets):i%len(sets)+1], nil)
			i++
		}
	})
	b.Run("all", func(b *testing.B) {
		before := heap()
		var z *Zone
		for b.Loop() {
			z = benchZone(b, sets)
		}
		b.ReportMetric(float64(heap()-before)/benchDomains, "B/domain")
		runtime.KeepAlive(z)
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
