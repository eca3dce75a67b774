package mtasts

import (
	"fmt"
	"strings"
)

// MXPattern is the value of one mx field: a host name, or "*." and the name
// below which any one label may stand (RFC 8461 §3.2). In lower case, A-labels,
// without a final dot.
type MXPattern string

// ParseMXPattern turns what a person writes, U-labels, upper case and a final dot
// included, into an MXPattern.
func ParseMXPattern(s string) (MXPattern, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	if strings.Contains(rest, "*") {
		return "", fmt.Errorf("mx %q: \"*\" may only be the whole left-most label, as in \"*.example.com\"", s)
	}
	name, err := parseName(rest)
	if err != nil {
		return "", fmt.Errorf("mx %q: %w", s, err)
	}
	if wildcard {
		name = "*." + name
	}
	return MXPattern(name), nil
}

// Wildcard reports whether the pattern begins with "*.", and the name after it.
func (p MXPattern) Wildcard() (parent string, ok bool) {
	return strings.CutPrefix(string(p), "*.")
}

// Match reports whether host, the name in an MX record, is allowed by the
// pattern: "*.example.com" matches "mail.example.com" but neither "example.com"
// nor "foo.bar.example.com" (RFC 8461 §4.1). Case and a final dot do not count.
func (p MXPattern) Match(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if parent, ok := p.Wildcard(); ok {
		label, rest, found := strings.Cut(host, ".")
		return found && label != "" && strings.EqualFold(rest, parent)
	}
	return host != "" && strings.EqualFold(host, string(p))
}
