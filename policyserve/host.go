package policyserve

import "strings"

// maxHost is the longest host that is looked at: a domain name of 253 octets
// (RFC 1035 §2.3.4), a dot, a colon and a port.
const maxHost = 253 + 1 + 1 + 5

// normalHost brings the host of a request (RFC 9110 §7.2: uri-host [":" port]) to
// the form in which the table holds hosts: lower case, without port, without final
// dot. It returns "" for what cannot be the name of a policy host: IP literals, a
// port that is no number, characters that no host name has.
func normalHost(s string) string {
	if len(s) > maxHost {
		return ""
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		port := s[i+1:]
		if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return "" // an IPv6 literal, or nonsense
		}
		s = s[:i]
	}
	s = strings.TrimSuffix(s, ".")
	upper := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
		case 'A' <= c && c <= 'Z':
			upper = true
		default:
			return ""
		}
	}
	if upper {
		return strings.ToLower(s)
	}
	return s
}
