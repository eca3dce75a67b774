package intake

import (
	"net/http"
	"net/netip"
	"strings"
)

// postToken returns the last element of a path if it has the form of a token, in lower case.
// ok is false for what is neither "/" nor "/TOKEN".
func postToken(path string) (t string, ok bool) {
	path = strings.TrimSuffix(path, "/")
	i := strings.LastIndexByte(path, '/')
	last := path[i+1:]
	if !isPostToken(last) {
		return "", path == ""
	}
	return strings.ToLower(last), i == 0
}

// maxPostToken is the longest token that there is.
const maxPostToken = 32

func isPostToken(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= maxPostToken
}

// postSource is where r came from, for people.
func postSource(r *http.Request) string {
	if a := postRemoteIP(r); a.IsValid() {
		return a.String()
	}
	return "a local socket"
}

// postRemoteIP is the address of the other end, the zero Addr where it has none.
func postRemoteIP(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a Unix socket
	}
	return a.Addr().Unmap().WithZone("")
}
