package certs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"testing"
	"time"
)

// However many are asked for, no more than so many stay at hand, the last ones.
func TestHotIsBounded(t *testing.T) {
	var h hot
	slots := make([]*slot, hotHosts+100)
	for i := range slots {
		slots[i] = &slot{host: strconv.Itoa(i)}
		c := valid(time.Hour)
		slots[i].cert.Store(c)
		got, err := h.get(slots[i], c)
		check(t, err)
		if !made(got, c) {
			t.Fatalf("host %d: another certificate", i)
		}
	}
	n := 0
	for _, s := range slots {
		if s.ready.Load() != nil {
			n++
		}
	}
	if n != hotHosts || slots[0].ready.Load() != nil || slots[len(slots)-1].ready.Load() == nil {
		t.Errorf("%d are at hand", n)
	}
}

// A new certificate is handed out from the moment it is there.
func TestHotIsNotStale(t *testing.T) {
	var h hot
	s := &slot{host: host}
	for range 3 {
		c := valid(time.Hour)
		s.cert.Store(c)
		for range 2 {
			got, err := h.get(s, c)
			check(t, err)
			if !made(got, c) {
				t.Error("not the one that is there")
			}
		}
	}
	if h.next != 1 {
		t.Errorf("one host takes %d places", h.next)
	}
}

// Keys of other kinds are kept as they are.
func TestOtherKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	c := newCertificate(tls.Certificate{Certificate: [][]byte{{1}, {2}}, PrivateKey: key, Leaf: &x509.Certificate{}}, "x", newInterner())
	pair, err := c.pair()
	check(t, err)
	if pair.PrivateKey != key || len(pair.Certificate) != 2 {
		t.Errorf("%v", pair)
	}
}
