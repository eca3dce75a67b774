package sendercheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// expiresSoon and soonShare say when a certificate is about to expire: in two weeks, or
// in the last sixth of its life where that is less. Whoever renews by ACME does so before.
const (
	expiresSoon = 14 * 24 * time.Hour
	soonShare   = 6
)

// certCodes are the findings about a certificate, at a policy host or at an MX host.
type certCodes struct{ name, expired, untrusted, soon string }

// shakeHands does the handshake as a sender does (RFC 8461 §7). The certificate is left
// to judge, which does not stop at the first fault.
func shakeHands(ctx context.Context, conn net.Conn, host string) (*tls.Conn, error) {
	t := tls.Client(conn, &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // until judge has looked
	})
	return t, t.HandshakeContext(ctx)
}

// oldVersion is the version below 1.2 that the server speaks, "" if none: it is what a
// handshake that failed is tried again with.
func oldVersion(ctx context.Context, conn net.Conn, host string) string {
	all := tls.CipherSuites()
	suites := make([]uint16, 0, 2*len(all))
	for _, s := range append(all, tls.InsecureCipherSuites()...) {
		suites = append(suites, s.ID)
	}
	t := tls.Client(conn, &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, CipherSuites: suites,
		InsecureSkipVerify: true, // nothing is said over it
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return ""
	}
	return tls.VersionName(t.ConnectionState().Version)
}

// judge says what a sender would mind about a certificate: the name (RFC 8461 §3.3,
// §4.2: by DNS-ID, the common name never counts), the time, the chain.
func (c *Checker) judge(state tls.ConnectionState, host string, codes certCodes) (ts []trouble) {
	leaf, now := state.PeerCertificates[0], c.now()
	if err := leaf.VerifyHostname(host); err != nil {
		ts = append(ts, trouble{codes.name, nameEvidence(leaf)})
	}
	inTime := now
	switch {
	case now.Before(leaf.NotBefore):
		ts, inTime = append(ts, trouble{codes.expired, "not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)}), leaf.NotBefore
	case now.After(leaf.NotAfter):
		ts, inTime = append(ts, trouble{codes.expired, "expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)}), leaf.NotAfter
	default:
		if left := leaf.NotAfter.Sub(now); left < min(expiresSoon, leaf.NotAfter.Sub(leaf.NotBefore)/soonShare) {
			ts = append(ts, trouble{codes.soon, fmt.Sprintf("expires at %s, in %s", leaf.NotAfter.UTC().Format(time.RFC3339), days(left))})
		}
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between, CurrentTime: inTime}); err != nil {
		code := codes.untrusted
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			code = codes.expired // one above it
		}
		ts = append(ts, trouble{code, chainEvidence(state.PeerCertificates, err)})
	}
	return ts
}

func nameEvidence(leaf *x509.Certificate) string {
	names := leaf.DNSNames
	const most = 5
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	switch {
	case len(names) > 0:
		return "the certificate is for " + strings.Join(quoted, ", ") + more
	case leaf.Subject.CommonName != "":
		return "the certificate has no DNS name, only the common name " + quote(leaf.Subject.CommonName)
	}
	return "the certificate has no DNS name"
}

func chainEvidence(chain []*x509.Certificate, err error) string {
	last := chain[len(chain)-1]
	what := fmt.Sprintf("%s; the server sends %d certificates, the last one issued by %s", strings.TrimPrefix(err.Error(), "x509: "), len(chain), quote(last.Issuer.String()))
	switch {
	case len(chain) == 1 && string(last.RawIssuer) == string(last.RawSubject):
		what = "the certificate is signed by itself: " + quote(last.Subject.String())
	case len(chain) == 1:
		what = fmt.Sprintf("%s; the server sends the host's certificate alone, issued by %s", strings.TrimPrefix(err.Error(), "x509: "), quote(last.Issuer.String()))
	}
	return plain(what)
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// timedOut reports whether err is a wait that came to its end.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
