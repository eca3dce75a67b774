package sendercheck

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
)

const (
	// defaultHTTPTimeout is how long a policy host may take: "a suggested timeout is
	// one minute" (RFC 8461 §3.3).
	defaultHTTPTimeout = 60 * time.Second

	// defaultSMTPTimeout is how long one session with an MX host may take. Those that
	// let strangers wait for their greeting do so for some seconds (postscreen: 6).
	defaultSMTPTimeout = 30 * time.Second

	// defaultPerTarget is how many connections one address has to bear: providers
	// count them by client, some from 10 on.
	defaultPerTarget = 2

	// maxConnections bounds the connections of a run: a process has 1,024 file
	// descriptors where nobody raised that, and DNS needs some too.
	maxConnections = 256
)

// Options are the options of New.
type Options struct {
	Resolver *lookup.Resolver // required
	Roots    *x509.CertPool   // whom to trust; nil for the system's

	HTTPSPort, SMTPPort int // 0 for 443 and 25

	// AllowPrivate lets targets be on this machine, in private networks, and wherever
	// else the internet does not lead. Whoever may name domains may then have this
	// machine connect there.
	AllowPrivate bool

	SkipMX bool   // do not connect to MX hosts
	Hello  string // our name in EHLO; "" for this machine's, or else its address

	HTTPTimeout, SMTPTimeout time.Duration // for one address; 0 for 60 s and 30 s
	Now                      func() time.Time
	PerTarget                int // connections at a time to one address; 0 for 2
}

// Checker looks at domains as a sending mail server does. It may be used by several
// goroutines.
type Checker struct {
	dns          *lookup.Resolver
	roots        *x509.CertPool
	https, smtp  uint16
	allowPrivate bool
	skipMX       bool
	hello        string

	httpTimeout, smtpTimeout time.Duration
	now                      func() time.Time
	targets                  *targets
}

// New returns a Checker.
func New(o Options) (*Checker, error) {
	c := &Checker{
		dns: o.Resolver, roots: o.Roots, allowPrivate: o.AllowPrivate, skipMX: o.SkipMX, hello: o.Hello,
		httpTimeout: o.HTTPTimeout, smtpTimeout: o.SMTPTimeout, now: o.Now,
	}
	if c.dns == nil {
		return nil, errors.New("sendercheck: there is no resolver")
	}
	for _, p := range []struct {
		to          *uint16
		port, usual int
	}{{&c.https, o.HTTPSPort, 443}, {&c.smtp, o.SMTPPort, 25}} {
		if p.port == 0 {
			p.port = p.usual
		}
		if p.port < 1 || p.port > 65535 {
			return nil, fmt.Errorf("sendercheck: %d is no port", p.port)
		}
		*p.to = uint16(p.port)
	}
	if o.HTTPTimeout < 0 || o.SMTPTimeout < 0 || o.PerTarget < 0 {
		return nil, errors.New("sendercheck: a limit is negative")
	}
	if c.httpTimeout == 0 {
		c.httpTimeout = defaultHTTPTimeout
	}
	if c.smtpTimeout == 0 {
		c.smtpTimeout = defaultSMTPTimeout
	}
	if c.now == nil {
		c.now = time.Now
	}
	if o.PerTarget == 0 {
		o.PerTarget = defaultPerTarget
	}
	c.targets = newTargets(o.PerTarget, maxConnections)
	if c.hello != "" {
		if _, err := mtasts.ParseDomain(c.hello); err != nil {
			return nil, fmt.Errorf("sendercheck: our name: %w", err)
		}
	} else if name, err := os.Hostname(); err == nil {
		if name, err = mtasts.ParseDomain(name); err == nil {
			c.hello = name
		}
	}
	return c, nil
}

// helloFrom is what EHLO says: a name, or else the address as RFC 5321 §4.1.3 wants it.
func (c *Checker) helloFrom(conn net.Conn) string {
	if c.hello != "" {
		return c.hello
	}
	addr := addrOf(conn.LocalAddr())
	if addr.Is4() {
		return "[" + addr.String() + "]"
	}
	return "[IPv6:" + strings.Split(addr.String(), "%")[0] + "]"
}
