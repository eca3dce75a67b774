// Package tlsrpt holds the words of RFC 8460, SMTP TLS Reporting: the TXT record that
// says where reports go, and the result types that reports and our own checks speak in.
// It knows no network, no clock and no configuration.
package tlsrpt

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
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

// What a look-up may yield instead of one record. With either, a reporter has to
// "assume the recipient domain does not implement TLSRPT" (RFC 8460 §3).
var (
	ErrNoRecord        = errors.New("no TXT record begins with \"v=TLSRPTv1;\"")
	ErrMultipleRecords = errors.New("more than one TXT record begins with \"v=TLSRPTv1;\"")
)

// SelectRecord finds the record among all TXT records at _smtp._tls.<domain>, each
// with its strings joined: those that do not begin with "v=TLSRPTv1;" are discarded,
// and exactly one must be left (RFC 8460 §3).
func SelectRecord(txts []string) (Record, error) {
	found := ""
	for _, txt := range txts {
		if !strings.HasPrefix(txt, "v="+Version+";") {
			continue
		}
		if found != "" {
			return Record{}, ErrMultipleRecords
		}
		found = txt
	}
	if found == "" {
		return Record{}, ErrNoRecord
	}
	return ParseRecord(found)
}

// ParseRecord reads one TXT record, its strings joined. Unknown fields are ignored, as
// they must be; of two rua fields the first one counts.
func ParseRecord(txt string) (Record, error) {
	rest, ok := strings.CutPrefix(txt, "v="+Version)
	fields := strings.Split(rest, ";")
	if !ok || strings.Trim(fields[0], " \t") != "" {
		return Record{}, fmt.Errorf("record %s: does not begin with \"v=TLSRPTv1;\"", quote(txt))
	}
	fields = fields[1:]
	if n := len(fields); n > 0 && strings.Trim(fields[n-1], " \t") == "" {
		fields = fields[:n-1] // the final delimiter is optional
	}
	var r Record
	for _, f := range fields {
		name, value, ok := strings.Cut(strings.Trim(f, " \t"), "=")
		switch {
		case ok && name == "rua" && r.RUA != nil:
		case ok && name == "rua":
			var err error
			if r.RUA, err = parseRUA(value); err != nil {
				return Record{}, fmt.Errorf("record %s: %w", quote(txt), err)
			}
		case !ok || !isExtensionName(name) || !isExtensionValue(value):
			return Record{}, fmt.Errorf("record %s: want \"name=value\", have %s", quote(txt), quote(f))
		}
	}
	if r.RUA == nil {
		return Record{}, fmt.Errorf("record %s: has no rua", quote(txt))
	}
	return r, nil
}

// parseRUA reads the URIs of a rua field: tlsrpt-uri *(*WSP "," *WSP tlsrpt-uri).
func parseRUA(value string) ([]string, error) {
	var all []string
	for s := range strings.SplitSeq(value, ",") {
		uri, err := ParseURI(strings.Trim(s, " \t"))
		if err != nil {
			return nil, err
		}
		all = append(all, uri)
	}
	return all, nil
}

// isExtensionName checks an alphanumeric and up to 31 more of those, "_", "-", ".".
func isExtensionName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}

// isExtensionValue checks 1*(%x21-3A / %x3C / %x3E-7E): visible, without "=" and ";".
func isExtensionValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == ';' || c == '=' {
			return false
		}
	}
	return s != ""
}

// quote prints what came from outside, bounded and escaped.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
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
