package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// certificate is what is handed out for a host: slim, because there may be
// 100,000 of them. The parsed leaf, most of what a tls.Certificate weighs, is
// dropped, and the certificates of the issuing CA are shared by all who use them.
type certificate struct {
	tls       tls.Certificate // Leaf is nil
	notBefore time.Time
	notAfter  time.Time
	issuer    string // who issued it, in the words of the source

	// foreign means that nobody who is asked now issued it, as after a change
	// from a CA for tests to a real one. It is handed out until there is another,
	// which is ordered at once.
	foreign bool
}

// lifetime is how long c is valid in all.
func (c *certificate) lifetime() time.Duration { return c.notAfter.Sub(c.notBefore) }

// expired reports whether c is of no more use to a sender.
func (c *certificate) expired(now time.Time) bool { return !now.Before(c.notAfter) }

// leaf parses the host's own certificate once more, for the few who need it.
func (c *certificate) leaf() (*x509.Certificate, error) {
	return x509.ParseCertificate(c.tls.Certificate[0])
}

// errUnusable is for something stored which is no certificate for its host:
// half a file, a key that does not fit, another host's. It counts as missing.
var errUnusable = errors.New("unusable certificate")

// issuerComment stands before the first PEM block of a stored certificate and
// says who issued it. PEM readers skip what is not a block (RFC 7468 §5.2).
const issuerComment = "issuer: "

// bundle joins a key and its chain to the one file that is stored for a host.
func bundle(issuer string, keyPEM, chainPEM []byte) []byte {
	var b bytes.Buffer
	b.WriteString(issuerComment + issuer + "\n")
	b.Write(bytes.TrimSpace(chainPEM))
	b.WriteByte('\n')
	b.Write(bytes.TrimSpace(keyPEM))
	b.WriteByte('\n')
	return b.Bytes()
}

// parseBundle reads a stored certificate, and holds it unusable unless key and
// certificate fit each other and the certificate is for host.
func parseBundle(host string, data []byte, shared *interner) (*certificate, error) {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("%w for %q: %w", errUnusable, host, err)
	}
	if err := pair.Leaf.VerifyHostname(host); err != nil {
		return nil, fmt.Errorf("%w for %q: %w", errUnusable, host, err)
	}
	issuer := ""
	if line, _, ok := strings.Cut(string(data[:min(len(data), 512)]), "\n"); ok {
		if s, ok := strings.CutPrefix(line, issuerComment); ok {
			issuer = shared.text(s)
		}
	}
	return newCertificate(pair, issuer, shared), nil
}

// newCertificate makes pair, whose leaf is parsed, slim.
func newCertificate(pair tls.Certificate, issuer string, shared *interner) *certificate {
	c := &certificate{tls: pair, notBefore: pair.Leaf.NotBefore, notAfter: pair.Leaf.NotAfter, issuer: issuer}
	c.tls.Leaf = nil
	c.tls.Certificate = make([][]byte, len(pair.Certificate))
	c.tls.Certificate[0] = pair.Certificate[0]
	for i, der := range pair.Certificate[1:] {
		c.tls.Certificate[i+1] = shared.der(der)
	}
	return c
}

// encodeChain is the PEM form of a chain.
func encodeChain(chain [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range chain {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return b.Bytes()
}

// maxInterned bounds what an interner keeps for ever. Real CAs have a dozen
// intermediates; a directory of odd files must not fill memory.
const maxInterned = 1024

// interner keeps one copy of what many certificates have in common: the
// issuing CA's certificates and its name.
type interner struct {
	mu    sync.Mutex
	ders  map[[sha256.Size]byte][]byte
	texts map[string]string
}

func newInterner() *interner {
	return &interner{ders: map[[sha256.Size]byte][]byte{}, texts: map[string]string{}}
}

func (in *interner) der(b []byte) []byte {
	sum := sha256.Sum256(b)
	in.mu.Lock()
	defer in.mu.Unlock()
	if old, ok := in.ders[sum]; ok {
		return old
	}
	if len(in.ders) < maxInterned {
		in.ders[sum] = b
	}
	return b
}

func (in *interner) text(s string) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	if old, ok := in.texts[s]; ok {
		return old
	}
	s = strings.Clone(s)
	if len(in.texts) < maxInterned {
		in.texts[s] = s
	}
	return s
}
