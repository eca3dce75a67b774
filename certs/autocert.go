package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// maxAccountKey bounds the file of the ACME account's key, some 230 bytes.
const maxAccountKey = 16 << 10

// autocertEngine orders by x/crypto's autocert, which is small and known to
// everybody, for one node and a few hundred hosts.
//
// An autocert.Manager would like to serve handshakes, to order in the first one
// that somebody waits for, and to renew for ever whatever it once had. So there
// is a new one for each order (see attempt); when to order, what to keep and
// what to hand out is decided here as for certmagic.
type autocertEngine struct {
	*shelf
	o       *Options
	ca      CA
	account string // path of the account's key
	http    *http.Transport

	// Answers to challenges under way, in memory: host and host/token.
	certs, tokens sync.Map

	life context.Context // of all that autocert leaves running
	end  context.CancelFunc

	mu  sync.Mutex
	key *ecdsa.PrivateKey
}

func newAutocertEngine(o *Options, sh *shelf) (*autocertEngine, error) {
	ca := o.CAs[0]
	dir := filepath.Join(o.Dir, "autocert")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory of ACME accounts: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca.Roots != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.Roots}
	}
	transport.ResponseHeaderTimeout = 30 * time.Second // as certmagic
	e := &autocertEngine{
		shelf: sh, o: o, ca: ca, http: transport,
		account: filepath.Join(dir, certmagic.StorageKeys.Safe(caName(ca))+".key"),
	}
	e.life, e.end = context.WithCancel(context.Background())
	return e, nil
}

// caName is a short name for a CA, that of its directory's host and path.
func caName(ca CA) string { return (&certmagic.ACMEIssuer{CA: ca.Directory}).IssuerKey() }

func (e *autocertEngine) start() (stop func(), err error) {
	return func() { e.end(); e.http.CloseIdleConnections() }, nil
}

func (e *autocertEngine) stored(_ context.Context, host string) (*certificate, error) {
	c, err := e.get(host)
	if err == nil {
		c.foreign = c.issuer != caName(e.ca)
	}
	return c, err
}

// window has nothing to say: autocert knows nothing of RFC 9773.
func (e *autocertEngine) window(context.Context, *certificate) (window, error) {
	return window{}, errors.ErrUnsupported
}

// order obtains a certificate through an autocert.Manager of its own.
func (e *autocertEngine) order(ctx context.Context, host string, _ *certificate, _ int) (*certificate, error) {
	key, err := e.accountKey()
	if err != nil {
		return nil, err
	}
	// autocert takes no context. This one ends with ctx until the order is
	// done; then autocert still gives back, in the background, the
	// authorizations that it did not use.
	life, end := context.WithTimeout(e.life, orderLimit)
	detach := context.AfterFunc(ctx, end)
	defer detach()
	a := &autocertAttempt{engine: e, host: host, life: life}
	m, err := a.manager(key)
	if err != nil {
		return nil, err
	}
	if _, err := m.GetCertificate(ecdsaHello(host)); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, a.explain(err)
	}
	keyPEM, chainPEM, err := a.result()
	if err != nil {
		return nil, err
	}
	return e.put(host, caName(e.ca), keyPEM, chainPEM)
}

// ecdsaHello is a handshake by somebody who knows ECDSA: to others, autocert
// gives a second certificate, with an RSA key.
func ecdsaHello(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:       host,
		CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:  []tls.CurveID{tls.CurveP256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
}

// accountKey returns the key of our account at the CA, a new one the first time.
// One that cannot be read is an error: the account may be bound to us by hand.
func (e *autocertEngine) accountKey() (*ecdsa.PrivateKey, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key != nil {
		return e.key, nil
	}
	data, err := readFile(e.account, maxAccountKey)
	if errors.Is(err, fs.ErrNotExist) {
		return e.newAccountKey()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the ACME account's key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("reading the ACME account's key: no PEM block in %q", e.account)
	}
	if e.key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
		return nil, fmt.Errorf("reading the ACME account's key in %q: %w", e.account, err)
	}
	return e.key, nil
}

func (e *autocertEngine) newAccountKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key for the ACME account: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a key for the ACME account: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := writeFile(e.account, data, 0o600); err != nil {
		return nil, fmt.Errorf("storing the ACME account's key: %w", err)
	}
	e.key = key
	return key, nil
}

func (e *autocertEngine) challengeCert(host string) *tls.Certificate {
	c, _ := e.certs.Load(host)
	cert, _ := c.(*tls.Certificate)
	return cert
}

func (e *autocertEngine) keyAuthorization(host, token string) (string, bool) {
	v, ok := e.tokens.Load(host + "/" + token)
	auth, _ := v.(string)
	return auth, ok
}

// binding is the external account binding that autocert is to send.
func (e *autocertEngine) binding() (*acme.ExternalAccountBinding, error) {
	if e.ca.EABKeyID == "" {
		return nil, nil
	}
	key, err := macKey(e.ca.EABMACKey)
	if err != nil {
		return nil, fmt.Errorf("reading the external account binding's MAC key: %w", err)
	}
	return &acme.ExternalAccountBinding{KID: e.ca.EABKeyID, Key: key}, nil
}

var _ autocert.Cache = (*autocertAttempt)(nil)
