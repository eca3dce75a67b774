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
