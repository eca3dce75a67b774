package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// certmagicEngine orders by certmagic: its ACME client, accounts, locks and
// storage. certmagic's own management (Manage*, its cache and its queue) is not
// used: there, 1,000 failing hosts stall all others.
type certmagicEngine struct {
	*shelf
	storage *storage
	local   *localCA // for the source local; nil for ACME
	cas     []CA
	o       *Options
	log     *zap.Logger

	mu      sync.RWMutex
	issuers []issuing // while running
}

// issuing is certmagic set up for one CA. Each CA has a configuration of its
// own, and the scheduler goes through them: given several issuers, certmagic v0.25.6
// sends "replaces" to the second CA for a certificate of the first, returns only
// the last one's error, and fails where one of them left a broken file.
type issuing struct {
	key    string // the issuer's name in storage
	config *certmagic.Config
	acme   *certmagic.ACMEIssuer // nil for the local CA
}

func newCertmagicEngine(ctx context.Context, o *Options, sh *shelf) (*certmagicEngine, error) {
	e := &certmagicEngine{shelf: sh, o: o, cas: o.CAs, log: zapLogger(o.Log)}
	e.storage = &storage{FileStorage: certmagic.FileStorage{Path: filepath.Join(o.Dir, "certmagic")}, log: o.Log}
	if o.Source != SourceLocal {
		return e, nil
	}
	ca, err := openLocalCA(ctx, e.storage, o.Now)
	if err != nil {
		return nil, err
	}
	e.local, e.cas = ca, nil
	return e, nil
}

// start sets certmagic up, which brings goroutines with it, and returns how to
// end them.
func (e *certmagicEngine) start() (stop func(), err error) {
	var template *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return template, nil },
		Logger:           e.log,
	})
	template = e.config(cache)
	placeholder, err := newPlaceholder()
	if err != nil {
		cache.Stop()
		return nil, err
	}
	var issuers []issuing
	if e.local != nil {
		cfg := e.config(cache)
		cfg.Issuers = []certmagic.Issuer{e.local}
		issuers = append(issuers, issuing{key: e.local.IssuerKey(), config: cfg})
	}
	for _, ca := range e.cas {
		cfg := e.config(cache)
		iss := e.issuer(cfg, ca, placeholder.port())
		cfg.Issuers = []certmagic.Issuer{iss}
		issuers = append(issuers, issuing{key: iss.IssuerKey(), config: cfg, acme: iss})
	}
	e.mu.Lock()
	e.issuers = issuers
	e.mu.Unlock()
	return func() { placeholder.close(); cache.Stop() }, nil
}

func (e *certmagicEngine) config(cache *certmagic.Cache) *certmagic.Config {
	return certmagic.New(cache, certmagic.Config{
		Storage: e.storage,
		Logger:  e.log,
		OCSP:    certmagic.OCSPConfig{DisableStapling: true}, // public CAs have ended it
		Issuers: []certmagic.Issuer{},
		// Nothing is ever issued on demand: this keeps certmagic from its
		// own unguarded list of hosts.
		OnDemand: &certmagic.OnDemandConfig{DecisionFunc: func(_ context.Context, host string) error {
			return fmt.Errorf("nothing is issued for %q in a handshake", host)
		}},
		OnEvent:        func(context.Context, string, map[string]any) error { return nil },
		ShouldEmitFunc: func(string) bool { return false },
	})
}

func (e *certmagicEngine) issuer(cfg *certmagic.Config, ca CA, port int) *certmagic.ACMEIssuer {
	template := certmagic.ACMEIssuer{
		CA:                      ca.Directory,
		Email:                   ca.Email,
		Agreed:                  true,
		Profile:                 ca.Profile,
		TrustedRoots:            ca.Roots,
		DisableHTTPChallenge:    e.o.DisableHTTP01,
		DisableTLSALPNChallenge: e.o.DisableTLSALPN01,
		// Challenges are answered from memory, by challengeCert and
		// keyAuthorization, so certmagic needs neither files for them
		// nor listeners.
		DisableDistributedSolvers: true,
		ListenHost:                placeholderHost,
		AltHTTPPort:               port,
		AltTLSALPNPort:            port,
		Logger:                    e.log,
	}
	if ca.EABKeyID != "" {
		template.ExternalAccount = &acme.EAB{KeyID: ca.EABKeyID, MACKey: strings.TrimRight(ca.EABMACKey, "=")}
	}
	iss := certmagic.NewACMEIssuer(cfg, template)
	// Never Let's Encrypt's staging, which it fills in, without being asked. ca itself
	// must not stand here either: what goes to the test CA is sent without "replaces".
	iss.TestCA = ""
	return iss
}

func (e *certmagicEngine) running() []issuing {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.issuers
}

// stored returns what is on the shelf, or else what certmagic's storage has:
// after a kill between the two, or a storage that was brought along.
func (e *certmagicEngine) stored(ctx context.Context, host string) (*certificate, error) {
	c, err := e.get(host)
	if err == nil {
		c.foreign = !e.issued(c)
	}
	if err == nil || !(errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnusable)) {
		return c, err
	}
	found, key, chain, ferr := e.newest(ctx, host)
	if ferr != nil {
		return nil, ferr
	}
	if found == nil {
		return nil, err
	}
	if _, err := e.put(host, found.issuer, key, chain); err != nil {
		e.o.Log.Warn("a certificate could not be copied", "host", host, "err", err)
	}
	return found, nil
}

// newest returns the pair in certmagic's storage that was issued last, nil where
// there is none of use.
func (e *certmagicEngine) newest(ctx context.Context, host string) (best *certificate, key, chain []byte, err error) {
	for _, iss := range e.keys() {
		k, c, cert, ierr := e.pair(ctx, iss, host)
		switch {
		case ierr == nil && (best == nil || cert.notBefore().After(best.notBefore())):
			best, key, chain = cert, k, c
		case ierr != nil && !errors.Is(ierr, fs.ErrNotExist) && !errors.Is(ierr, errUnusable):
			err = errors.Join(err, ierr)
		}
	}
	if best != nil {
		err = nil
	}
	return best, key, chain, err
}

// keys lists the issuers by their names in storage.
func (e *certmagicEngine) keys() []string {
	var keys []string
	if e.local != nil {
		keys = append(keys, e.local.IssuerKey())
	}
	for _, ca := range e.cas {
		keys = append(keys, (&certmagic.ACMEIssuer{CA: ca.Directory}).IssuerKey())
	}
	return keys
}

// pair reads and checks what issuer gave us for host.
func (e *certmagicEngine) pair(ctx context.Context, issuer, host string) (key, chain []byte, c *certificate, err error) {
	if chain, err = e.storage.Load(ctx, certmagic.StorageKeys.SiteCert(issuer, host)); err != nil {
		return nil, nil, nil, fmt.Errorf("reading certmagic's certificate of %q: %w", host, err)
	}
	if key, err = e.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(issuer, host)); err != nil {
		return nil, nil, nil, fmt.Errorf("reading certmagic's key of %q: %w", host, err)
	}
	if c, err = parseBundle(host, bundle(issuer, key, chain), e.shared); err != nil {
		return nil, nil, nil, err
	}
	c.foreign = !e.issued(c)
	return key, chain, c, nil
}

// metadata checks what certmagic reads before it renews.
func (e *certmagicEngine) metadata(ctx context.Context, issuer, host string) error {
	data, err := e.storage.Load(ctx, certmagic.StorageKeys.SiteMeta(issuer, host))
	if err != nil {
		return fmt.Errorf("reading certmagic's metadata of %q: %w", host, err)
	}
	if err := json.Unmarshal(data, new(certmagic.CertificateResource)); err != nil {
		return fmt.Errorf("%w for %q: certmagic's metadata: %w", errUnusable, host, err)
	}
	return nil
}

// issued reports whether c is from one of those who are asked now.
func (e *certmagicEngine) issued(c *certificate) bool {
	if e.local != nil {
		// A certificate that the world trusts is not replaced by one of ours
		// because somebody lost a table of the configuration.
		return c.issuer != localIssuer || e.local.signed(c)
	}
	return slices.Contains(e.keys(), c.issuer)
}

func (e *certmagicEngine) order(ctx context.Context, host string, cur *certificate, account int) (*certificate, error) {
	issuers := e.running()
	if account >= len(issuers) {
		return nil, errors.New("certmagic is not running")
	}
	// Another process on the same directory may have been faster.
	if found, key, chain, err := e.newest(ctx, host); err == nil && found != nil &&
		(cur == nil || found.notBefore().After(cur.notBefore())) && renewTime(found, window{}, 1).After(e.o.Now()) {
		return e.put(host, found.issuer, key, chain)
	}
	return e.orderFrom(ctx, issuers[account], host)
}

func (e *certmagicEngine) orderFrom(ctx context.Context, iss issuing, host string) (*certificate, error) {
	_, _, _, err := e.pair(ctx, iss.key, host)
	if err == nil {
		err = e.metadata(ctx, iss.key, host)
	}
	switch {
	case err == nil:
		// "Force", as when to renew has been decided, and certmagic's own
		// opinion may differ. It names the old certificate in "replaces",
		// which exempts the order from rate limits (RFC 9773 §5).
		if err = iss.config.RenewCertSync(ctx, host, true); mayRefuseReplaces(err) {
			err = e.obtain(ctx, iss, host)
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errUnusable):
		err = e.obtain(ctx, iss, host)
	}
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		err = problem // what the CA said, without the way that it came: that fills lines
		if problem.Type == acme.ProblemTypeRateLimited {
			err = fmt.Errorf("%w: %w", errRateLimited, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ordering from %q: %w", iss.key, err)
	}
	key, chain, _, err := e.pair(ctx, iss.key, host)
	if err != nil {
		return nil, fmt.Errorf("ordering from %q: %w", iss.key, err)
	}
	return e.put(host, iss.key, key, chain)
}

// obtain orders as if there were no certificate: without "replaces". What certmagic has
// of one goes, or it would pass for that which was ordered; the one that is handed out
// is on the shelf.
func (e *certmagicEngine) obtain(ctx context.Context, iss issuing, host string) error {
	if err := e.storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(iss.key, host)); err != nil {
		return fmt.Errorf("clearing what is left of the certificate of %q: %w", host, err)
	}
	return iss.config.ObtainCertSync(ctx, host)
}

// mayRefuseReplaces reports whether an order may have failed only as the CA knows nothing
// of the certificate that it replaces, or saw it replaced already (RFC 9773 §5). These
// are the problems that CAs answer with; a failed validation is none of them. It would go
// on until the certificate expires.
func mayRefuseReplaces(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	return ok && slices.Contains([]string{acme.ProblemTypeAlreadyReplaced, acme.ProblemTypeMalformed, acme.ProblemTypeServerInternal}, problem.Type)
}

// window asks the CA that issued cur when it should be renewed.
func (e *certmagicEngine) window(ctx context.Context, cur *certificate) (window, error) {
	for _, iss := range e.running() {
		if iss.key != cur.issuer || iss.acme == nil {
			continue
		}
		leaf, err := cur.leaf()
		if err != nil {
			return window{}, fmt.Errorf("asking %q when to renew: %w", iss.key, err)
		}
		info, err := iss.acme.GetRenewalInfo(ctx, certmagic.Certificate{Certificate: tls.Certificate{Leaf: leaf}})
		if errors.Is(err, acme.ErrUnsupported) {
			return window{}, fmt.Errorf("asking %q when to renew: %w", iss.key, errors.ErrUnsupported)
		}
		if err != nil {
			return window{}, fmt.Errorf("asking %q when to renew: %w", iss.key, err)
		}
		w := window{start: info.SuggestedWindow.Start, end: info.SuggestedWindow.End, why: info.ExplanationURL}
		if info.RetryAfter != nil {
			w.again = *info.RetryAfter
		}
		return w, nil
	}
	return window{}, fmt.Errorf("no CA is configured for a certificate of %q: %w", cur.issuer, errors.ErrUnsupported)
}

// challengeCert answers TLS-ALPN-01 for host (RFC 8737), from memory.
func (e *certmagicEngine) challengeCert(host string) *tls.Certificate {
	chal, ok := certmagic.GetACMEChallenge(host)
	if !ok || chal.Type != acme.ChallengeTypeTLSALPN01 {
		return nil
	}
	cert, err := acmez.TLSALPN01ChallengeCert(chal.Challenge)
	if err != nil {
		return nil
	}
	return cert
}

// keyAuthorization answers HTTP-01 for host (RFC 8555 §8.3), from memory.
func (e *certmagicEngine) keyAuthorization(host, token string) (string, bool) {
	chal, ok := certmagic.GetACMEChallenge(host)
	if !ok || chal.Type != acme.ChallengeTypeHTTP01 || chal.Token != token {
		return "", false
	}
	return chal.KeyAuthorization, true
}

const placeholderHost = "127.0.0.1"

// placeholder keeps certmagic from opening listeners. Before each challenge it
// tries to listen on the port that it was told, and leaves it when that port is
// taken and accepts connections. So it is told one that is taken: challenges are
// answered by the listeners of the program, wherever they are.
type placeholder struct {
	ln   net.Listener
	done chan struct{}
}

func newPlaceholder() (*placeholder, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(placeholderHost, "0"))
	if err != nil {
		return nil, fmt.Errorf("reserving a port for certmagic: %w", err)
	}
	p := &placeholder{ln: ln, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no file descriptors: they come back
				time.Sleep(100 * time.Millisecond)
				continue
			}
			conn.Close()
		}
	}()
	return p, nil
}

func (p *placeholder) port() int { return p.ln.Addr().(*net.TCPAddr).Port }

func (p *placeholder) close() { p.ln.Close(); <-p.done }
