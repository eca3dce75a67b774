package certs

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// Source says where certificates come from.
type Source string

// The sources.
const (
	SourceCertmagic Source = "certmagic" // ACME: the default in production, any number of hosts
	SourceAutocert  Source = "autocert"  // ACME by x/crypto: one node, up to a few hundred hosts
	SourceFiles     Source = "files"     // a directory of PEM files that somebody else keeps fresh
	SourceLocal     Source = "local"     // a certificate authority of our own, for trying things out
)

const (
	// defaultDirectory is Let's Encrypt, the CA that asks for the least.
	defaultDirectory = "https://acme-v02.api.letsencrypt.org/directory"

	// defaultSlots orders at once keep two cores and one CA account busy:
	// an order mostly waits, and Let's Encrypt grants 300 in three hours.
	defaultSlots = 16

	// maxSlots bounds what a typing error can do: each slot may hold a lock
	// file, a connection to the CA and a goroutine.
	maxSlots = 256
)

// CA is one ACME certificate authority and our account there.
type CA struct {
	// Directory is the URL of the ACME directory; "" is Let's Encrypt's.
	Directory string

	// Email is the contact of the account. It is required: without it
	// certmagic asks for one on the terminal.
	Email string

	// EABKeyID and EABMACKey bind the account to one that the CA knows
	// already (RFC 8555 §7.3.4). The MAC key is base64url. Both or neither.
	EABKeyID, EABMACKey string

	// Profile is the ACME certificate profile, as "shortlived"; "" leaves the
	// choice to the CA. certmagic only.
	Profile string

	// Roots is what the CA's own HTTPS is verified against; nil is the system's.
	Roots *x509.CertPool

	// Orders is how many orders the CA takes from our account in three hours; 0
	// is 300, as Let's Encrypt. Renewals that the CA exempts are not counted.
	Orders int
}

// Options configures a Manager. Source and Dir are required, CAs for the ACME
// sources, FilesDir for files.
type Options struct {
	Source Source

	// Dir is a directory of our own below the state directory: ACME accounts,
	// certificates with their keys, the local CA. It is created with mode 0700.
	// The source files needs none.
	Dir string

	// CAs are tried in this order. certmagic takes one or more, a later one
	// being asked when those before it failed, have no orders left for us, or are
	// forbidden by CAA; a renewal goes to who issued the certificate first.
	// autocert takes exactly one.
	CAs []CA

	// Preflight is what is looked at before a CA is asked.
	Preflight Preflight

	// FilesDir is read by the source files, with its subdirectories.
	FilesDir string

	// ARI asks the CA when it would like a certificate renewed (RFC 9773).
	// autocert cannot.
	ARI bool

	// DisableHTTP01 and DisableTLSALPN01 leave out a way to prove control of
	// a host. One must be left; autocert cannot do without TLS-ALPN-01.
	DisableHTTP01, DisableTLSALPN01 bool

	// HTTPPort and TLSPort are the ports on which this process receives what
	// the CA sends to 80 and 443; 0 means just those. Nothing is opened here:
	// they are only told to the person who has to forward to them.
	HTTPPort, TLSPort int

	// Slots is how many orders may be under way at once; 0 is 16.
	Slots int

	// Log receives what happens; nil discards it.
	Log *slog.Logger

	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// acme reports whether certificates come from a public CA.
func (o *Options) acme() bool { return o.Source == SourceCertmagic || o.Source == SourceAutocert }

// Validate reports what New would find wrong with o, without touching anything.
func (o Options) Validate() error {
	if err := o.complete(); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return nil
}

// complete checks o and fills in what was left out.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	if o.Slots < 1 || o.Slots > maxSlots {
		return fmt.Errorf("%d orders at once: from 1 to %d are possible", o.Slots, maxSlots)
	}
	for _, port := range []int{o.HTTPPort, o.TLSPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("port %d: from 1 to 65535 are possible", port)
		}
	}
	switch o.Source {
	case SourceFiles:
		if o.FilesDir == "" {
			return errors.New("source files: no directory of PEM files is named")
		}
		return nil
	case SourceCertmagic, SourceAutocert, SourceLocal:
		if o.Dir == "" {
			return fmt.Errorf("source %s: no directory is named to keep certificates in", o.Source)
		}
	default:
		return fmt.Errorf("source %q is unknown: use certmagic, autocert, files or local", o.Source)
	}
	if o.acme() {
		return o.completeACME()
	}
	return nil
}

func (o *Options) completeACME() error {
	switch {
	case len(o.CAs) == 0:
		return fmt.Errorf("source %s: no CA is named", o.Source)
	case o.Source == SourceAutocert && len(o.CAs) > 1:
		return errors.New("source autocert knows one CA only: choose certmagic to have a second one")
	case o.Source == SourceAutocert && o.DisableTLSALPN01:
		return errors.New("source autocert always tries tls-alpn-01 first: choose certmagic to do without it")
	case o.DisableHTTP01 && o.DisableTLSALPN01:
		return errors.New("http-01 and tls-alpn-01 are both switched off: no way is left to prove control of a host")
	}
	seen := map[string]bool{}
	cas := make([]CA, len(o.CAs)) // the caller's own is left alone
	for i, ca := range o.CAs {
		if ca.Directory == "" {
			ca.Directory = defaultDirectory
		}
		if seen[ca.Directory] {
			return fmt.Errorf("ca %q is named twice", ca.Directory)
		}
		seen[ca.Directory] = true
		if ca.Orders == 0 {
			ca.Orders = defaultOrders
		}
		if err := ca.check(); err != nil {
			return fmt.Errorf("ca %q: %w", ca.Directory, err)
		}
		if o.Source == SourceAutocert && ca.Profile != "" {
			return fmt.Errorf("ca %q: autocert cannot ask for profile %q: choose certmagic", ca.Directory, ca.Profile)
		}
		cas[i] = ca
	}
	o.CAs = cas
	return o.Preflight.check()
}

func (ca CA) check() error {
	u, err := url.Parse(ca.Directory)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("the directory is not an https URL")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return errors.New("the directory must be an https URL (RFC 8555 §6.1)")
	}
	if _, err := mail.ParseAddress(ca.Email); err != nil {
		return fmt.Errorf("the account's e-mail address %q: %w", ca.Email, err)
	}
	if ca.Orders < 1 || ca.Orders > maxOrders {
		return fmt.Errorf("%d orders in three hours: from 1 to %d are possible", ca.Orders, maxOrders)
	}
	if (ca.EABKeyID == "") != (ca.EABMACKey == "") {
		return errors.New("an external account binding has both a key id and a MAC key")
	}
	if _, err := macKey(ca.EABMACKey); err != nil {
		return errors.New("the external account binding's MAC key is not base64url")
	}
	return nil
}

// macKey decodes the MAC key of an external account binding, padded or not.
func macKey(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}
