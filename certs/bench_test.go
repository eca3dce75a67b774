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

// wildcard is a certificate for all that names gives, as it is stored.
func wildcard(b *testing.B) []byte {
	pair := NewTestCA(b).Issue(b, TestLeaf{Names: []string{"*.example.com"}})
	return bundle("bench", pair.Key, pair.Chain)
}

// BenchmarkHandshake is a full handshake over a pipe, client and server together, with
// a certificate that is at hand, and with one that is made ready for it.
func BenchmarkHandshake(b *testing.B) {
	data := wildcard(b)
	for _, c := range []struct {
		name  string
		hosts int
	}{{"cert=hot", 1}, {"cert=cold", hotHosts + 1}} { // in turn, so that each is thrown out before it comes again
		b.Run(c.name, func(b *testing.B) {
			m := &Manager{}
			hosts := names("h", c.hosts)
			t := make(table, len(hosts))
			shared := newInterner()
			for _, host := range hosts {
				t[host] = &slot{host: host}
				cert, err := parseBundle(host, data, shared)
				check(b, err)
				t[host].cert.Store(cert)
			}
			m.hosts.Store(&t)
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

// BenchmarkMakeReady is what a handshake of a host pays that was not asked for lately.
func BenchmarkMakeReady(b *testing.B) {
	c, err := parseBundle("h0.example.com", wildcard(b), newInterner())
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
	data, shared := wildcard(b), newInterner()
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
		cert, err := parseBundle("h0.example.com", wildcard(b), newInterner())
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
