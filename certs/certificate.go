package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// certificate is what is kept in memory for a host: slim, because there may be
// 100,000 of them. The host's own certificate is packed against another one of the
// same CA, which leaves a third of it, and what the CA's certificates say is shared. A
// tls.Certificate, which weighs ten times as much, is made of it for those who are
// asked for often (see hot).
type certificate struct {
	packed    []byte
	size      int // of the host's own certificate, unpacked
	authority *authority
	key       privateKey
	from      moment
	until     moment
	issuer    string // who issued it, in the words of the source

	// foreign means that nobody who is asked now issued it, as after a change
	// from a CA for tests to a real one. It is handed out until there is another,
	// which is ordered at once.
	foreign bool
}

// privateKey is a key in few bytes.
type privateKey struct {
	p256  *[32]byte         // the scalar of one for ECDSA P-256, as nearly all are
	other crypto.PrivateKey // any other
}

func slimKey(key crypto.PrivateKey) privateKey {
	if e, ok := key.(*ecdsa.PrivateKey); ok && e.Curve == elliptic.P256() {
		if scalar, err := e.Bytes(); err == nil && len(scalar) == 32 {
			return privateKey{p256: (*[32]byte)(scalar)}
		}
	}
	return privateKey{other: key}
}

// full is the key as crypto/tls wants it.
func (k privateKey) full() (crypto.PrivateKey, error) {
	if k.p256 == nil {
		return k.other, nil
	}
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), k.p256[:])
}

// notBefore is from when c is valid.
func (c *certificate) notBefore() time.Time { return c.from.time() }

// notAfter is until when c is valid.
func (c *certificate) notAfter() time.Time { return c.until.time() }

// lifetime is how long c is valid in all.
func (c *certificate) lifetime() time.Duration { return time.Duration(c.until - c.from) }

// expired reports whether c is of no more use to a sender.
func (c *certificate) expired(now time.Time) bool { return !now.Before(c.notAfter()) }

// hasKey reports whether c can be handed out.
func (c *certificate) hasKey() bool { return c.key.p256 != nil || c.key.other != nil }

// der is the host's own certificate.
func (c *certificate) der() ([]byte, error) { return c.authority.unpack(c.packed, c.size) }

// leaf parses the host's own certificate once more, for the few who need it.
func (c *certificate) leaf() (*x509.Certificate, error) {
	der, err := c.der()
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// pair makes of c what crypto/tls wants.
func (c *certificate) pair() (*tls.Certificate, error) {
	der, err := c.der()
	if err != nil {
		return nil, err
	}
	key, err := c.key.full()
	if err != nil {
		return nil, fmt.Errorf("reading a private key: %w", err)
	}
	chain := append(make([][]byte, 0, 1+len(c.authority.chain)), der)
	return &tls.Certificate{Certificate: append(chain, c.authority.chain...), PrivateKey: key}, nil
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
	own := pair.Certificate[0]
	authority := shared.authority(own, pair.Certificate[1:])
	return &certificate{
		packed: authority.pack(own), size: len(own), authority: authority, key: slimKey(pair.PrivateKey),
		from: momentOf(pair.Leaf.NotBefore), until: momentOf(pair.Leaf.NotAfter), issuer: issuer,
	}
}

// encodeChain is the PEM form of a chain.
func encodeChain(chain [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range chain {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return b.Bytes()
}
