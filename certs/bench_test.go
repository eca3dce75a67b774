package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// many is how many hosts the program is made for.
const many = 100_000

// wildcard is a certificate for all that names gives, as it is stored. It is not the
// first of its CA in shared, against which it is packed.
func wildcard(b *testing.B, shared *interner) []byte {
	b.Helper()
	ca := NewTestCA(b)
	store := func(name string) []byte {
		pair := ca.Issue(b, TestLeaf{Names: []string{name}})
		return bundle("bench", pair.Key, pair.Chain)
	}
	_, err := parseBundle("first.example.org", store("first.example.org"), shared)
	check(b, err)
	return store("*.example.com")
}

// serve is a Manager that hands out one certificate for all of hosts.
func serve(b *testing.B, hosts []string) *Manager {
	b.Helper()
	shared := newInterner()
	data := wildcard(b, shared)
	t := make(table, len(hosts))
	for _, host := range hosts {
		t[host] = &slot{host: host}
	}
	c, err := parseBundle(hosts[0], data, shared)
	check(b, err)
	for _, s := range t {
		s.cert.Store(c)
	}
	m := &Manager{}
	m.hosts.Store(&t)
	return m
}

// BenchmarkHandshake is a full handshake over a pipe, client and server together, with
// a certificate that is at hand, and with one that is made ready for it.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name  string
		hosts int
	}{{"cert=hot", 1}, {"cert=cold", hotHosts + 1}} { // in turn, so that each is thrown out before it comes again
		b.Run(c.name, func(b *testing.B) {
			hosts := names("h", c.hosts)
			m := serve(b, hosts)
			server := &tls.Config{GetCertificate: m.GetCertificate, SessionTicketsDisabled: true}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				near, far := net.Pipe()
				done := make(chan error, 1)
				go func() { done <- tls.Server(far, server).Handshake() }()
				// What it costs to check the certificate is the client's.
				check(b, tls.Client(near, &tls.Config{ServerName: hosts[i%len(hosts)], InsecureSkipVerify: true}).Handshake())
				check(b, <-done)
				near.Close()
				far.Close()
			}
		})
	}
}

// BenchmarkGetCertificate is what is ours of a handshake; of many hosts in turn, all are
// cold.
func BenchmarkGetCertificate(b *testing.B) {
	for _, n := range []int{1, many} {
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			hosts := names("h", n)
			m := serve(b, hosts)
			hellos := make([]*tls.ClientHelloInfo, n)
			for i, host := range hosts {
				hellos[i] = hello(host, "h2", "http/1.1")
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if c, err := m.GetCertificate(hellos[i%n]); c == nil || err != nil {
					b.Fatal(c, err)
				}
			}
		})
	}
}

// BenchmarkMakeReady is what a handshake of a host pays that was not asked for lately.
func BenchmarkMakeReady(b *testing.B) {
	shared := newInterner()
	c, err := parseBundle("h0.example.com", wildcard(b, shared), shared)
	check(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.pair(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseBundle is one of the 100,000 that a start reads.
func BenchmarkParseBundle(b *testing.B) {
	shared := newInterner()
	data := wildcard(b, shared)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseBundle("h0.example.com", data, shared); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFiles is the source files: all read at a start, and looked at again.
func BenchmarkFiles(b *testing.B) {
	const files = 1000
	dir := b.TempDir()
	ca := NewTestCA(b)
	for _, host := range names("h", files) {
		pair := ca.Issue(b, TestLeaf{Names: []string{host}})
		path := filepath.Join(dir, host+".pem")
		put(b, path, bundle("bench", pair.Key, pair.Chain))
		age(b, path, time.Now(), time.Hour) // long enough ago to be believed
	}
	log := slog.New(slog.DiscardHandler)
	b.Run(fmt.Sprintf("open/files=%d", files), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if f := openFiles(dir, log, time.Now); len(f.pairs) != files {
				b.Fatal(len(f.pairs))
			}
		}
	})
	b.Run(fmt.Sprintf("unchanged/files=%d", files), func(b *testing.B) {
		f := openFiles(dir, log, time.Now)
		b.ReportAllocs()
		for b.Loop() {
			f.reload()
		}
	})
}

// BenchmarkManage is what a reload asks: the same hosts, but for one.
func BenchmarkManage(b *testing.B) {
	e := &fakeEngine{onStored: func(context.Context, string) (*certificate, error) { return valid(90 * day), nil }}
	log := slog.New(slog.DiscardHandler)
	hosts := names("h", many)
	b.Run(fmt.Sprintf("first/hosts=%d", many), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := &Manager{o: Options{Log: log}, sched: newScheduler(e, 16, false, log, time.Now)}
			m.hosts.Store(&table{})
			m.Manage(hosts)
		}
	})
	b.Run(fmt.Sprintf("one/hosts=%d", many), func(b *testing.B) {
		m := &Manager{o: Options{Log: log}, sched: newScheduler(e, 16, false, log, time.Now)}
		m.hosts.Store(&table{})
		m.Manage(hosts)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			hosts[0] = fmt.Sprintf("new%d.example.com", i)
			m.Manage(hosts)
		}
	})
	b.Run(fmt.Sprintf("files/hosts=%d", many), func(b *testing.B) {
		shared := newInterner()
		cert, err := parseBundle("h0.example.com", wildcard(b, shared), shared)
		check(b, err)
		f := openFiles(b.TempDir(), log, time.Now)
		for _, host := range hosts {
			f.pairs[host] = []*pair{{certificate: cert}}
		}
		m := &Manager{o: Options{Log: log}, files: f}
		m.hosts.Store(&table{})
		b.ReportAllocs()
		for b.Loop() {
			m.Manage(hosts)
		}
	})
}
