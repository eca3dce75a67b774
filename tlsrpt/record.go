// Package tlsrpt holds the words of RFC 8460, SMTP TLS Reporting: so far the TXT
// record that says where reports go. It knows no network, no clock and no
// configuration.
package tlsrpt

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
)

// Version is the only version of record there is (RFC 8460 §3).
const Version = "TLSRPTv1"

// RecordName returns the DNS name of domain's TLSRPT record (RFC 8460 §3).
func RecordName(domain string) string { return "_smtp._tls." + domain }

// Record is the TXT record at _smtp._tls.<domain>.
type Record struct {
	RUA []string // URIs in the order senders may try them; some use only the first
}

// String prints the record as it is published.
func (r Record) String() string {
	return "v=" + Version + "; rua=" + strings.Join(r.RUA, ",")
}

// ParseURI checks one place that reports are sent to: a mailto: or https: URI, in
// which ",", "!" and ";" are percent-encoded (RFC 8460 §3). It returns s.
func ParseURI(s string) (string, error) {
	fail := func(reason string) (string, error) { return "", fmt.Errorf("tlsrpt %q: %s", s, reason) }
	if strings.ContainsAny(s, ",!; \t\r\n") {
		return fail(`",", "!", ";" and blanks must be percent-encoded, as in %2C`)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fail("a URI is ASCII: write other characters percent-encoded") // RFC 3986 §2
	}
	u, err := url.Parse(s)
	if err != nil {
		return fail("is not a URI")
	}
	switch u.Scheme {
	case "mailto":
		if err := checkMailbox(u.Opaque); err != nil {
			return fail(err.Error())
		}
	case "https":
		if u.Hostname() == "" {
			return fail("names no host")
		}
	case "":
		if strings.Contains(s, "@") {
			return fail(fmt.Sprintf("has no scheme: write %q", "mailto:"+s))
		}
		return fail("has no scheme: write a mailto: or https: URI")
	default:
		return fail("only mailto: and https: are possible")
	}
	return s, nil
}

func checkMailbox(opaque string) error {
	addr, err := url.PathUnescape(opaque)
	if err != nil {
		return errors.New("has a bad percent-encoding")
	}
	a, err := mail.ParseAddress(addr)
	if err != nil || a.Address != addr || a.Name != "" {
		return errors.New("is not one mail address")
	}
	return nil
}
