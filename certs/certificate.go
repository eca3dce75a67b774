package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// certificate is what is kept in memory for a host: slim, because there may be
// 100,000 of them. Of the host's own there are the bytes only, and the certificates
// of the issuing CA are shared by all who use them. A tls.Certificate, which weighs
// four times as much, is made of it for those who are asked for often (see hot).
type certificate struct {
	leafDER   []byte
	chain     [][]byte          // of the issuing CA
	scalar    []byte            // the private key, if it is ECDSA P-256, as nearly all are
	key       crypto.PrivateKey // the private key otherwise
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
	return x509.ParseCertificate(c.leafDER)
}

// pair makes of c what crypto/tls wants.
func (c *certificate) pair() (*tls.Certificate, error) {
	t := &tls.Certificate{Certificate: make([][]byte, 0, 1+len(c.chain)), PrivateKey: c.key}
	t.Certificate = append(append(t.Certificate, c.leafDER), c.chain...)
	if c.scalar != nil {
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), c.scalar)
		if err != nil {
			return nil, fmt.Errorf("reading a private key: %w", err)
		}
		t.PrivateKey = key
	}
	return t, nil
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
	c := &certificate{
		chain: shared.chain(pair.Certificate[1:]), key: pair.PrivateKey,
		notBefore: pair.Leaf.NotBefore, notAfter: pair.Leaf.NotAfter, issuer: issuer,
	}
	var scalar []byte
	if key, ok := pair.PrivateKey.(*ecdsa.PrivateKey); ok && key.Curve == elliptic.P256() {
		if raw, err := key.Bytes(); err == nil {
			scalar, c.key = raw, nil
		}
	}
	n := len(pair.Certificate[0])
	own := append(append(make([]byte, 0, n+len(scalar)), pair.Certificate[0]...), scalar...)
	c.leafDER = own[:n:n]
	if scalar != nil {
		c.scalar = own[n:]
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
	mu     sync.Mutex
	chains map[[sha256.Size]byte][][]byte
	texts  map[string]string
}

func newInterner() *interner {
	return &interner{chains: map[[sha256.Size]byte][][]byte{}, texts: map[string]string{}}
}

func (in *interner) chain(ders [][]byte) [][]byte {
	hash := sha256.New()
	for _, der := range ders {
		hash.Write(der) // each says how long it is
	}
	sum := [sha256.Size]byte(hash.Sum(nil))
	in.mu.Lock()
	defer in.mu.Unlock()
	if old, ok := in.chains[sum]; ok {
		return old
	}
	ders = slices.Clone(ders)
	if len(in.chains) < maxInterned {
		in.chains[sum] = ders
	}
	return ders
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
