package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	localIssuer = "local"

	// rootLife is how long our own root is good: who installed it somewhere
	// does not want to do so again.
	rootLife = 10 * 365 * 24 * time.Hour

	// leafLife is short, so that renewal is something that happens.
	leafLife = 7 * 24 * time.Hour

	// backdate forgives clocks that are a little slow.
	backdate = time.Minute

	rootStoreKey = "local/ca.pem"   // key and certificate, in one file so that they fit each other
	rootPublic   = "local/root.pem" // the certificate alone, for those who shall trust it
	rootLockName = "local_ca"
)

// localCA is a certificate authority for trying the program without a real one.
// It is a certmagic.Issuer. Its root may sign certificates for TLS servers only,
// and no further CA, so that trusting it somewhere opens as little as possible;
// still its key lies beside it, and whoever reads that can be any host to those
// who trust it.
type localCA struct {
	storage certmagic.Storage
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
	now     func() time.Time
}

// openLocalCA loads the root from storage, or makes one.
func openLocalCA(ctx context.Context, st certmagic.Storage, now func() time.Time) (*localCA, error) {
	ca := &localCA{storage: st, now: now}
	if err := ca.load(ctx); err == nil {
		return ca, ca.publish(ctx)
	}
	if err := st.Lock(ctx, rootLockName); err != nil {
		return nil, fmt.Errorf("locking the local CA: %w", err)
	}
	defer st.Unlock(context.WithoutCancel(ctx), rootLockName)
	err := ca.load(ctx) // another process may have been faster
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnusable) {
		err = ca.create(ctx)
	}
	if err != nil {
		return nil, err
	}
	return ca, ca.publish(ctx)
}

func (ca *localCA) load(ctx context.Context) error {
	data, err := ca.storage.Load(ctx, rootStoreKey)
	if err != nil {
		return fmt.Errorf("reading the local CA: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return fmt.Errorf("reading the local CA: %w: %w", errUnusable, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || !ca.now().Before(pair.Leaf.NotAfter.Add(-leafLife)) {
		return fmt.Errorf("reading the local CA: %w: it is no CA, or expires on %s", errUnusable, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	ca.root, ca.key = pair.Leaf, key
	return nil
}

func (ca *localCA) create(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("creating the local CA: %w", err)
	}
	tag := make([]byte, 4)
	rand.Read(tag)
	now := ca.now()
	root := &x509.Certificate{
		// The name is random in part: browsers confuse two roots of one name.
		Subject:               pkix.Name{Organization: []string{"mtasts-server"}, CommonName: "mtasts-server local CA " + hex.EncodeToString(tag)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return fmt.Errorf("creating the local CA: %w", err)
	}
	keyPEM, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return fmt.Errorf("creating the local CA: %w", err)
	}
	if ca.root, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("creating the local CA: %w", err)
	}
	ca.key = key
	if err := ca.storage.Store(ctx, rootStoreKey, append(encodeChain([][]byte{der}), keyPEM...)); err != nil {
		return fmt.Errorf("storing the local CA: %w", err)
	}
	return nil
}

// publish writes the root's certificate for people to trust.
func (ca *localCA) publish(ctx context.Context) error {
	want := encodeChain([][]byte{ca.root.Raw})
	if have, err := ca.storage.Load(ctx, rootPublic); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := ca.storage.Store(ctx, rootPublic, want); err != nil {
		return fmt.Errorf("storing the local CA's certificate: %w", err)
	}
	return nil
}

// rootPath is where publish writes to in a storage at dir.
func rootPath(dir string) string { return filepath.Join(dir, filepath.FromSlash(rootPublic)) }

// signed reports whether c is from this CA, and not from a former one.
func (ca *localCA) signed(c *certificate) bool {
	leaf, err := c.leaf()
	return err == nil && leaf.CheckSignatureFrom(ca.root) == nil
}

// IssuerKey names the CA in certmagic's storage.
func (ca *localCA) IssuerKey() string { return localIssuer }

// Issue signs what csr asks for.
func (ca *localCA) Issue(_ context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("local CA: checking the request: %w", err)
	}
	now := ca.now()
	notAfter := now.Add(leafLife)
	if notAfter.After(ca.root.NotAfter) {
		notAfter = ca.root.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		DNSNames:              csr.DNSNames,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, ca.root, csr.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("local CA: signing for %q: %w", csr.DNSNames, err)
	}
	return &certmagic.IssuedCertificate{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}, nil
}
