package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func openShelf(t testing.TB) *shelf {
	t.Helper()
	s, err := newShelf(filepath.Join(t.TempDir(), "served"))
	check(t, err)
	return s
}

// whole fails the test unless c is the certificate of p, with its key and chain.
func whole(t testing.TB, why string, c *certificate, p TestPair) {
	t.Helper()
	if len(c.authority.chain) != 1 || !bytes.Equal(derOf(t, c), p.Leaf.Raw) {
		t.Errorf("%s: another certificate, or not its chain of two", why)
		return
	}
	if !keyOf(t, c).PublicKey.Equal(p.Leaf.PublicKey) {
		t.Errorf("%s: the key does not fit", why)
	}
	if !c.notBefore().Equal(p.Leaf.NotBefore) || !c.notAfter().Equal(p.Leaf.NotAfter) {
		t.Errorf("%s: valid from %v to %v", why, c.notBefore(), c.notAfter())
	}
}

// derOf returns the host's own certificate.
func derOf(t testing.TB, c *certificate) []byte {
	t.Helper()
	der, err := c.der()
	check(t, err)
	return der
}

// keyOf returns the private key that c brings into a handshake.
func keyOf(t testing.TB, c *certificate) *ecdsa.PrivateKey {
	t.Helper()
	pair, err := c.pair()
	check(t, err)
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("the key is a %T", pair.PrivateKey)
	}
	return key
}

func TestShelf(t *testing.T) {
	s, ca := openShelf(t), NewTestCA(t)
	if _, err := s.get(host); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing stored: %v", err)
	}
	var intermediates [][]byte
	for range 2 { // the second replaces the first
		p := ca.Issue(t, TestLeaf{Names: []string{host}})
		c, err := s.put(host, "ca.example-directory", p.Key, p.Chain)
		check(t, err)
		whole(t, "put", c, p)
		got, err := s.get(host)
		check(t, err)
		whole(t, "get", got, p)
		if got.issuer != "ca.example-directory" {
			t.Errorf("issuer %q", got.issuer)
		}
		if got.key.other != nil {
			t.Error("the parsed key is kept, much of a certificate's weight")
		}
		intermediates = append(intermediates, got.authority.chain[0])
		info, err := os.Stat(s.path(host))
		check(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	}
	if &intermediates[0][0] != &intermediates[1][0] {
		t.Error("the CA's certificate is held twice")
	}
	if all, err := os.ReadDir(s.dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v: want one file", all, err)
	}
}

// Wherever a file was cut or damaged, what is read of it is a pair, or nothing. Only
// a sender sees that a bit of the CA's signature has changed.
func TestShelfDamaged(t *testing.T) {
	s, ca := openShelf(t), NewTestCA(t)
	before, after := ca.Issue(t, TestLeaf{Names: []string{host}}), ca.Issue(t, TestLeaf{Names: []string{host}})
	older, data := bundle("a", before.Key, before.Chain), bundle("a", after.Key, after.Chain)
	nobody := &x509.Certificate{}
	try := func(why string, n int, data []byte, only *x509.Certificate) {
		t.Helper()
		put(t, s.path(host), data)
		c, err := s.get(host)
		if err != nil {
			if !errors.Is(err, errUnusable) || c != nil {
				t.Errorf("%s at %d: %v, %v", why, n, c, err)
			}
			return
		}
		leaf, err := c.leaf()
		check(t, err)
		if !keyOf(t, c).PublicKey.Equal(leaf.PublicKey) || leaf.VerifyHostname(host) != nil {
			t.Errorf("%s at %d: key or name do not fit", why, n)
		}
		if only != nil && !only.Equal(leaf) {
			t.Errorf("%s at %d: a certificate", why, n)
		}
	}
	end := len(bytes.TrimSpace(data))
	for n := range end {
		try("cut", n, data[:n], nobody)
	}
	try("only the last line break is missing", end, data[:end], after.Leaf)
	for n := 0; n < len(data); n += 3 {
		damaged := bytes.Clone(data)
		damaged[n] ^= 0x15
		try("damaged", n, damaged, nil)
		try("zeros from here on", n, append(bytes.Clone(data[:n]), make([]byte, len(data)-n)...), after.Leaf)
		if n < len(older) {
			try("half written over", n, append(bytes.Clone(data[:n]), older[n:]...), nil)
		}
	}
}

func TestShelfUnusable(t *testing.T) {
	s, ca := openShelf(t), NewTestCA(t)
	p := ca.Issue(t, TestLeaf{Names: []string{host}})
	other := ca.Issue(t, TestLeaf{Names: []string{"mta-sts.example.org"}})
	for _, c := range []struct {
		why  string
		data []byte
	}{
		{"an empty file", nil},
		{"a line break", []byte("\n")},
		{"zeros, as a power cut leaves them", make([]byte, 4096)},
		{"the key alone", p.Key},
		{"the certificate alone", p.Chain},
		{"another key", bundle("a", other.Key, p.Chain)},
		{"another certificate", bundle("a", p.Key, other.Chain)},
		{"another host's", bundle("a", other.Key, other.Chain)},
		{"the chain in the wrong order", bundle("a", p.Key, append(bytes.TrimPrefix(bytes.Clone(p.Chain), p.Cert), p.Cert...))},
		{"no DER in the PEM", bundle("a", p.Key, block("CERTIFICATE", []byte("x")))},
		{"no key in the PEM", bundle("a", block("PRIVATE KEY", []byte("x")), p.Chain)},
		{"more than anybody reads", append(bundle("a", p.Key, p.Chain), make([]byte, maxBundle)...)},
	} {
		put(t, s.path(host), c.data)
		if got, err := s.get(host); !errors.Is(err, errUnusable) || got != nil {
			t.Errorf("%s: %v, %v", c.why, got, err)
		}
	}
	check(t, os.Remove(s.path(host)))
	if c, err := s.put(host, "a", other.Key, p.Chain); !errors.Is(err, errUnusable) || c != nil || exists(t, s.path(host)) {
		t.Errorf("a pair that does not fit was stored: %v, %v", c, err)
	}
}

// A certificate that was paid for by an order is good even where no disk takes it,
// and what was stored before stays.
func TestShelfOnABadDisk(t *testing.T) {
	p := NewTestCA(t).Issue(t, TestLeaf{Names: []string{host}})
	for _, c := range []struct {
		why   string
		spoil func(s *shelf)
	}{
		{"the directory is gone", func(s *shelf) { check(t, os.RemoveAll(s.dir)) }},
		{"a file is in its place", func(s *shelf) { check(t, os.RemoveAll(s.dir)); put(t, s.dir, nil) }},
		{"a directory is in the file's place", func(s *shelf) { put(t, filepath.Join(s.path(host), "x"), nil) }},
	} {
		s := openShelf(t)
		c.spoil(s)
		got, err := s.put(host, "a", p.Key, p.Chain)
		if err == nil || got == nil {
			t.Errorf("%s: %v, %v", c.why, got, err)
			continue
		}
		whole(t, c.why, got, p)
		if left, err := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*")); err != nil || len(left) != 0 {
			t.Errorf("%s: left over: %q, %v", c.why, left, err)
		}
		if _, err := s.get(host); err == nil || errors.Is(err, errUnusable) {
			t.Errorf("%s: read %v, want the disk's own error", c.why, err)
		}
	}
	if _, err := newShelf(filepath.Join(openShelf(t).path(host), "\x00")); err == nil {
		t.Error("a shelf that cannot be")
	}
}

func TestShelfSweep(t *testing.T) {
	s, ca := openShelf(t), NewTestCA(t)
	now := born
	expired := func(host string, ago time.Duration) []byte {
		p := ca.Issue(t, TestLeaf{Names: []string{host}, NotBefore: now.Add(-200 * day), NotAfter: now.Add(-ago)})
		return bundle("a", p.Key, p.Chain)
	}
	for _, c := range []struct {
		why, name string
		data      []byte
		age       time.Duration // of the file
		stays     bool
	}{
		{"ours, though it expired long ago", "ours.example.com.pem", expired("ours.example.com", 100*day), 0, true},
		{"it left, and may come back", "valid.example.com.pem", expired("valid.example.com", -day), 100 * day, true},
		{"it expired within the grace", "recent.example.com.pem", expired("recent.example.com", expiredGrace-time.Hour), 100 * day, true},
		{"it expired before", "old.example.com.pem", expired("old.example.com", expiredGrace+time.Hour), 0, false},
		{"broken, and new", "torn.example.com.pem", []byte("x"), day, true},
		{"broken, and old", "gone.example.com.pem", []byte("x"), expiredGrace + time.Hour, false},
		{"being written", tempPrefix + "1", []byte("x"), time.Minute, true},
		{"left by a kill", tempPrefix + "2", []byte("x"), tempGrace + time.Minute, false},
		{"somebody else's", "README", []byte("x"), 1000 * day, true},
	} {
		path := filepath.Join(s.dir, c.name)
		put(t, path, c.data)
		age(t, path, now, c.age)
		t.Cleanup(func() {
			if exists(t, path) != c.stays {
				t.Errorf("%s: %s stays is %v", c.why, c.name, !c.stays)
			}
		})
	}
	check(t, os.Mkdir(filepath.Join(s.dir, "dir.pem"), 0o700))
	n, err := s.sweep(t.Context(), func(host string) bool { return host == "ours.example.com" }, now)
	if n != 2 || err != nil {
		t.Errorf("deleted %d, %v; want 2", n, err)
	}
	check(t, os.RemoveAll(filepath.Join(s.dir, "dir.pem")))
}
