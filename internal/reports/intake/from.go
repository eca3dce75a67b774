package intake

import (
	"bytes"
	"net/mail"
	"strings"

	"golang.org/x/net/idna"
)

const (
	// Bounds of a mail's header. Those that passed several providers have about 30 KiB in
	// 400 lines. What looks for signatures takes time and memory by the square of the lines.
	maxHeaderSize  = 128 << 10
	maxHeaderLines = 1000

	// maxFrom bounds the From field, which may have a name and comments.
	maxFrom = 4 << 10

	// maxDomain bounds a domain name (RFC 1035 §2.3.4).
	maxDomain = 253
)

// fromDomain returns the domain of the one address in the one From field, as an A-label
// in lower case; "" where that is not so. Of two a signature may be for the one, and a
// reader look at the other.
func fromDomain(header mail.Header) string {
	if len(header["From"]) != 1 || len(header["From"][0]) > maxFrom {
		return ""
	}
	list, err := header.AddressList("From")
	if err != nil || len(list) != 1 {
		return ""
	}
	_, domain, _ := cutLast(list[0].Address, "@")
	return asciiDomain(domain)
}

// readHeader returns the fields of a mail's header; none where it is no header, or too
// large.
func readHeader(message []byte) mail.Header {
	header, ok := headerOf(message)
	if !ok {
		return nil
	}
	m, err := mail.ReadMessage(bytes.NewReader(header))
	if err != nil {
		return nil
	}
	return m.Header
}

// headerOf returns the header of a mail with the empty line that ends it, by the rule of
// those who read it later; false where it is too large, or does not end.
func headerOf(message []byte) ([]byte, bool) {
	at := 0
	for range maxHeaderLines {
		line, _, ended := bytes.Cut(message[at:min(len(message), maxHeaderSize)], []byte("\n"))
		if !ended {
			return nil, false
		}
		at += len(line) + 1
		if len(line) == 0 || string(line) == "\r" {
			return message[:at], true
		}
	}
	return nil, false
}

// asciiDomain returns a domain as A-labels in lower case, without final dot; "" for what is
// no domain of more than one label.
func asciiDomain(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > maxDomain {
		return ""
	}
	if !hasLabels(name, letters+"-") || strings.Contains(name, "xn--") { // others may have hyphens anywhere
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return ""
		}
		name = ascii
	}
	if len(name) > maxDomain || !strings.Contains(name, ".") || !hasLabels(name, letters+"-") {
		return ""
	}
	return name
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789"

// hasLabels reports whether name is labels of the characters of set, as DNS takes them.
func hasLabels(name, set string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, set) != "" {
			return false
		}
	}
	return true
}

// cutLast slices s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if at := strings.LastIndex(s, sep); at >= 0 {
		return s[:at], s[at+len(sep):], true
	}
	return s, "", false
}
