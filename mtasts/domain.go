package mtasts

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxDomainLen leaves room for "mta-sts." and "_mta-sts." in a name of at most
// 253 characters (RFC 1035 §2.3.4).
const maxDomainLen = 253 - len("_mta-sts.")

// ParseDomain turns what a person writes as a domain, U-labels, upper case and a
// final dot included, into the form that goes on the wire: lower-case A-labels
// without a final dot (RFC 8461 §3.2, RFC 5891). The name has at least two labels
// and is no IP address.
func ParseDomain(s string) (string, error) {
	name, err := parseName(s)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	if len(name) > maxDomainLen {
		return "", fmt.Errorf("domain %q: %d characters long, at most %d are possible below _mta-sts", s, len(name), maxDomainLen)
	}
	return name, nil
}

// parseName does the work of ParseDomain for any host name.
func parseName(s string) (string, error) {
	name := strings.TrimSuffix(s, ".")
	if !isPlainName(name) {
		if strings.HasSuffix(name, ".") {
			return "", errors.New("has an empty label")
		}
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil || !utf8.ValidString(name) {
			return "", errors.New("is not a host name: use letters, digits, hyphens and dots")
		}
		name = ascii
	}
	switch {
	case name == "":
		return "", errors.New("is empty")
	case !isDomain(name):
		return "", errors.New("is not a host name: use letters, digits, hyphens and dots")
	case len(name) > 253:
		return "", errors.New("is longer than 253 characters")
	case !strings.Contains(name, "."):
		return "", errors.New("has one label only: write the full name")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("is an IP address: a name is needed, certificates are checked against names")
	}
	return name, nil
}

// isPlainName reports whether s is already in its final form, so that the
// thousands of ordinary names need no IDNA tables.
func isPlainName(s string) bool {
	return isDomain(s) && s == strings.ToLower(s) && !strings.Contains(s, "xn--")
}

// isDomain reports whether s is a Domain in the sense of RFC 5321 §4.1.2:
// labels of letters, digits and inner hyphens, of at most 63 characters each.
func isDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
