package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCA is a CA with an intermediate, whatever the clock says. It is exported for
// the tests in package certs_test.
type TestCA struct {
	Roots        *x509.CertPool
	intermediate *x509.Certificate
	key          *ecdsa.PrivateKey
}

// TestLeaf is what a TestCA is to issue: for a server, for 90 days from now, with a
// new ECDSA key, unless it says otherwise.
type TestLeaf struct {
	Names     []string
	NotBefore time.Time
	NotAfter  time.Time
	Key       crypto.Signer
	Usage     []x509.ExtKeyUsage
}

// TestPair is a certificate with the intermediate's, and its key, in PEM.
type TestPair struct {
	Leaf       *x509.Certificate
	Cert       []byte // the host's own certificate
	Chain      []byte // that and the intermediate's
	Key        []byte // PKCS #8
	PrivateKey crypto.Signer
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// NewTestCA makes a CA.
func NewTestCA(t testing.TB) *TestCA {
	t.Helper()
	ca := &TestCA{Roots: x509.NewCertPool(), key: newKey(t)}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Unix(0, 0), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	rootKey := newKey(t)
	sign := func(child, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, child, parent, key.Public(), rootKey)
		check(t, err)
		cert, err := x509.ParseCertificate(der)
		check(t, err)
		return cert
	}
	root := template("Test Root")
	root = sign(root, root, rootKey)
	ca.Roots.AddCert(root)
	ca.intermediate = sign(template("Test Intermediate"), root, ca.key)
	return ca
}

// Issue makes a certificate.
func (ca *TestCA) Issue(t testing.TB, leaf TestLeaf) TestPair {
	t.Helper()
	if leaf.NotBefore.IsZero() {
		leaf.NotBefore = time.Now().Add(-time.Minute)
	}
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = leaf.NotBefore.Add(90 * day)
	}
	if leaf.Key == nil {
		leaf.Key = newKey(t)
	}
	if leaf.Usage == nil {
		leaf.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: leaf.Names, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: leaf.Usage,
	}, ca.intermediate, leaf.Key.Public(), ca.key)
	check(t, err)
	p := TestPair{PrivateKey: leaf.Key, Cert: block("CERTIFICATE", der)}
	p.Leaf, err = x509.ParseCertificate(der)
	check(t, err)
	p.Chain = bytes.Join([][]byte{p.Cert, block("CERTIFICATE", ca.intermediate.Raw)}, nil)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.Key)
	check(t, err)
	p.Key = block("PRIVATE KEY", key)
	return p
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// put writes a file, and the directories above it.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(t, os.WriteFile(path, data, 0o600))
}

// age makes a file look as if it was written so long before now.
func age(t testing.TB, path string, now time.Time, d time.Duration) {
	t.Helper()
	check(t, os.Chtimes(path, time.Time{}, now.Add(-d)))
}

func exists(t testing.TB, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return err == nil
}
