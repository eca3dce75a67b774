package sendertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// CA is a certification authority with an intermediate.
type CA struct {
	RootPEM []byte

	root, intermediate       *x509.Certificate
	rootKey, key, serversKey *ecdsa.PrivateKey
}

// NewCA makes a CA.
func NewCA() (*CA, error) {
	ca := new(CA)
	var err error
	for _, key := range []**ecdsa.PrivateKey{&ca.rootKey, &ca.key, &ca.serversKey} {
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Unix(0, 0), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	if ca.root, err = sign(template("Test Root"), template("Test Root"), ca.rootKey, ca.rootKey); err != nil {
		return nil, err
	}
	if ca.intermediate, err = sign(template("Test Intermediate"), ca.root, ca.key, ca.rootKey); err != nil {
		return nil, err
	}
	ca.RootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
	return ca, nil
}

func sign(child, parent *x509.Certificate, of, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, child, parent, of.Public(), by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Leaf is what a CA is to issue: for 90 days, since an hour, unless it says otherwise.
type Leaf struct {
	Names       []string
	CommonName  string
	NotBefore   time.Time
	NotAfter    time.Time
	SelfSigned  bool
	ChainAbsent bool // the server sends its own certificate only
}

// Issue makes a certificate. All have the same key.
func (ca *CA) Issue(l Leaf) (tls.Certificate, error) {
	if l.NotBefore.IsZero() {
		l.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.NotAfter.IsZero() {
		l.NotAfter = l.NotBefore.Add(90 * 24 * time.Hour)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: l.CommonName}, DNSNames: l.Names, NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	parent, by := ca.intermediate, ca.key
	if l.SelfSigned {
		parent, by = template, ca.serversKey
	}
	leaf, err := sign(template, parent, ca.serversKey, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: ca.serversKey, Leaf: leaf}
	if !l.SelfSigned && !l.ChainAbsent {
		cert.Certificate = append(cert.Certificate, ca.intermediate.Raw)
	}
	return cert, nil
}

// TLSA is the data of a TLSA record that fits: DANE-EE, public key, SHA-256 (RFC 7672 §3.1).
func TLSA(cert tls.Certificate) string {
	return fmt.Sprintf("3 1 1 %x", sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo))
}
