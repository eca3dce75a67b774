package certs

import (
	"strings"
	"sync/atomic"
)

// slot is a host's place in the table: what handshakes read, and nothing else.
// A slot outlives the table it is in, so that a new table brings no new reads.
type slot struct {
	host  string
	cert  atomic.Pointer[certificate]
	ready atomic.Pointer[ready] // nil unless it is one of the hot ones

	// looked is set once storage was asked for the host. From then on a slot
	// without a certificate answers so at once, until the scheduler has one.
	looked atomic.Bool
}

// table is the set of hosts. It is never changed, only replaced.
type table map[string]*slot

// find returns the slot of the server name of a handshake, nil for a stranger.
func (t table) find(serverName string) *slot {
	if s := t[serverName]; s != nil { // what nearly everybody sends
		return s
	}
	return t[normalHost(serverName)]
}

// normalHost is the form in which hosts are held: lower case, no final dot.
func normalHost(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// validHost reports whether s is a host name of letters, digits, hyphens and
// dots in its normal form. Such a name is safe as a file name and in a log.
func validHost(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := 0
	for label := range strings.SplitSeq(s, ".") {
		labels++
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return labels > 1
}
