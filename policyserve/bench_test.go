package policyserve_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"mtasts-server/policyserve"
)

func BenchmarkHandler(b *testing.B) {
	s, err := policyserve.New(policyserve.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100_000} {
		s.Publish(bigTable(b, n))
		b.Run(fmt.Sprintf("domains=%d", n), func(b *testing.B) {
			h := s.Handler()
			r := httptest.NewRequest("GET", "https://mta-sts.d0.example"+wellKnown, nil)
			w := httptest.NewRecorder()
			w.Body = nil
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
			if w.Code != 200 {
				b.Fatal(w.Code)
			}
		})
	}
}

func BenchmarkNewTable(b *testing.B) {
	for b.Loop() {
		bigTable(b, 100_000)
	}
}

// BenchmarkFetch is a full handshake, one GET, close: client and server together.
func BenchmarkFetch(b *testing.B) {
	w := start(b, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: unlimited}})
	request := get(wellKnown, "mta-sts.example.com")
	b.ReportAllocs()
	for b.Loop() {
		raw(b, w.dialTLS(b, "mta-sts.example.com"), request)
	}
}

// BenchmarkKeepAlive is one GET on an open connection: client and server together.
func BenchmarkKeepAlive(b *testing.B) {
	w := start(b, policyserve.Options{})
	var h1 http.Protocols
	h1.SetHTTP1(true)
	client := w.client(b, &h1)
	b.ReportAllocs()
	for b.Loop() {
		res, err := client.Get("https://mta-sts.example.com" + wellKnown)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
	}
}

// BenchmarkResumed is a resumed handshake, one GET, close: client and server together.
func BenchmarkResumed(b *testing.B) {
	w := start(b, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: unlimited}})
	request := get(wellKnown, "mta-sts.example.com")
	config := w.clientTLS("mta-sts.example.com", "http/1.1")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	fetch := func() (resumed bool) {
		conn, err := tls.Dial("tcp", w.https, config)
		if err != nil {
			b.Fatal(err)
		}
		raw(b, conn, request)
		return conn.ConnectionState().DidResume
	}
	fetch() // which brings the ticket
	b.ReportAllocs()
	for b.Loop() {
		if !fetch() {
			b.Fatal("not resumed")
		}
	}
}

// BenchmarkHTTP2 is one GET on an open connection, and one on a connection of its own:
// client and server together.
func BenchmarkHTTP2(b *testing.B) {
	var h2 http.Protocols
	h2.SetHTTP2(true)
	for _, c := range []struct {
		name  string
		close bool
	}{{"conn=open", false}, {"conn=new", true}} {
		b.Run(c.name, func(b *testing.B) {
			w := start(b, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: unlimited}})
			client := w.client(b, &h2)
			b.ReportAllocs()
			for b.Loop() {
				res, err := client.Get("https://mta-sts.example.com" + wellKnown)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.ProtoMajor != 2 {
					b.Fatal(res.Proto, err)
				}
				res.Body.Close()
				if c.close {
					client.CloseIdleConnections()
				}
			}
		})
	}
}

// BenchmarkLookup is a host as nearly everybody writes it, as some do, and a stranger.
func BenchmarkLookup(b *testing.B) {
	const n = 100_000
	t := bigTable(b, n)
	for _, c := range []struct {
		name, host string
		ours       bool
	}{
		{"host=plain", "mta-sts.d7.example", true},
		{"host=port", "MTA-STS.d7.example.:443", true},
		{"host=stranger", "mta-sts.stranger.example", false},
	} {
		b.Run(fmt.Sprintf("%s/domains=%d", c.name, n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := t.Lookup(c.host); ok != c.ours {
					b.Fatal(ok)
				}
			}
		})
	}
}

// BenchmarkUnknownName is what a flood of strangers costs: client and server together.
func BenchmarkUnknownName(b *testing.B) {
	w := start(b, policyserve.Options{Limits: policyserve.Limits{ConnectionsPerAddress: unlimited}})
	for b.Loop() {
		if _, err := tls.Dial("tcp", w.https, w.clientTLS("stranger.example")); err == nil {
			b.Fatal("a certificate for a stranger")
		}
	}
}

func bigTable(b *testing.B, n int) *policyserve.Table {
	ps := make([]policyserve.Publication, n)
	for i := range ps {
		ps[i] = policyserve.Publication{Domain: fmt.Sprintf("d%d.example", i), Body: []byte(bodyCom), State: policyserve.Current}
	}
	t, err := policyserve.NewTable(ps)
	if err != nil {
		b.Fatal(err)
	}
	return t
}
