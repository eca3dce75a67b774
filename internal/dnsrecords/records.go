package dnsrecords

import (
	"net/netip"
	"strings"
	"time"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Record is one record as it is published.
type Record struct {
	Name  string // without the final dot
	Type  string // "TXT", "CNAME", "A", "AAAA" or "CAA"
	Value string // as RFC 1035 §5.1 writes it, but a TXT as it reads, and names without the final dot
	TTL   time.Duration
}

// Wanted returns the records by which a domain announces its policy (RFC 8461 §3.1, RFC
// 8460 §3): the host's first, the id last, as they are to be published. target is where
// the policy host leads to, one name or addresses; where that is not known its record is
// left out, as are those that set says nothing of.
func Wanted(set Set, target []string, ttl time.Duration) []Record {
	rs := hostRecords(mtasts.PolicyHost(set.Domain), target, ttl)
	if len(set.RUA) > 0 {
		rs = append(rs, Record{tlsrpt.RecordName(set.Domain), "TXT", tlsrpt.Record{RUA: set.RUA}.String(), ttl})
	}
	if set.ID != "" {
		rs = append(rs, Record{mtasts.RecordName(set.Domain), "TXT", mtasts.Record{ID: set.ID}.String(), ttl})
	}
	return rs
}

// Delegation returns the aliases that a domain publishes once, so that zone answers for it
// (RFC 8461 §8.2).
func Delegation(domain, zone string, reports bool, ttl time.Duration) []Record {
	names := []string{mtasts.PolicyHost(domain), mtasts.RecordName(domain)}
	if reports {
		names = []string{names[0], tlsrpt.RecordName(domain), names[1]}
	}
	var rs []Record
	for _, name := range names {
		rs = append(rs, Record{name, "CNAME", name + "." + zone, ttl})
	}
	return rs
}

func hostRecords(host string, target []string, ttl time.Duration) []Record {
	var rs []Record
	for _, t := range target {
		r := Record{host, "CNAME", t, ttl}
		if addr, err := netip.ParseAddr(t); err == nil {
			r.Type = "AAAA"
			if addr.Is4() {
				r.Type = "A"
			}
		}
		rs = append(rs, r)
	}
	return rs
}

// maxString is the length of one string of a TXT record (RFC 1035 §3.3).
const maxString = 255

// escapes are what master files need (RFC 1035 §5.1), and what undoes them.
var (
	escapes   = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	unescapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`)
)

// quoted is a TXT value in the form of master files: strings of at most 255 bytes, which
// readers join (RFC 8461 §3.1).
func quoted(txt string) string { return `"` + strings.Join(split(txt), `" "`) + `"` }

// rdata is the value in the form of master files.
func (r Record) rdata() string {
	switch r.Type {
	case "TXT":
		return quoted(r.Value)
	case "CNAME":
		return r.Value + "."
	}
	return r.Value
}
