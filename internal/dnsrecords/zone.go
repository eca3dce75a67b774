package dnsrecords

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// ZoneOptions describe a zone of ours, to which domains delegate by CNAME (RFC 8461 §8.2).
type ZoneOptions struct {
	Name        string       // "sts.example.net"
	NameServers []string     // names by which the zone is delegated; those within it have Addresses
	Hostmaster  string       // mail address for the SOA record; "" for hostmaster@Name
	Addresses   []netip.Addr // of the policy hosts
	Host        string       // or the name that they are aliases of
	TTL         time.Duration
	Log         *slog.Logger
	Now         func() time.Time
}

// Zone answers for a zone of ours, from what is announced. For a domain D it has
//
//	mta-sts.D.<zone>     the policy host
//	_mta-sts.D.<zone>    the record that announces the policy, when there is an id
//	_smtp._tls.D.<zone>  where to report to, if anywhere
//
// It may be used by several goroutines.
type Zone struct {
	o       ZoneOptions
	name    string // lower case, final dot
	apex    []dns.RR
	limit   *limiter
	metrics zoneMetrics
	servers servers

	// A read lock is held for two look-ups in maps; to swap whole tables instead would
	// cost 100,000 entries for each edit.
	mu      sync.RWMutex
	domains map[string]Set // by domain
	above   map[string]int // names above domains, which have no records: how many are below
	serial  uint32
}

const (
	// The times of the SOA record. Nobody transfers the zone; what counts is the last,
	// for how long resolvers believe that something is not there (RFC 2308 §4), which
	// should be short for who has just been added.
	soaRefresh, soaRetry, soaExpire = 3600, 600, 604800
	maxNegative                     = 5 * time.Minute
)

// NewZone returns a Zone without domains.
func NewZone(o ZoneOptions) (*Zone, error) {
	z := &Zone{o: o, name: dns.CanonicalName(o.Name), limit: newLimiter(), domains: map[string]Set{}, above: map[string]int{}}
	if o.Now == nil {
		z.o.Now = time.Now
	}
	if o.Log == nil {
		z.o.Log = slog.New(slog.DiscardHandler)
	}
	if _, ok := dns.IsDomainName(z.name); !ok || z.name == "." {
		return nil, fmt.Errorf("zone %q is no name", o.Name)
	}
	if len(o.NameServers) == 0 {
		return nil, errors.New("a zone needs name servers")
	}
	if len(o.Addresses) == 0 && o.Host == "" {
		return nil, errors.New("a zone needs addresses for policy hosts, or a name")
	}
	for _, ns := range o.NameServers {
		if dns.IsSubDomain(z.name, dns.Fqdn(ns)) && len(o.Addresses) == 0 {
			return nil, fmt.Errorf("the name server %q lies in the zone, and has no address: name one outside of it", ns)
		}
		z.apex = append(z.apex, &dns.NS{Hdr: z.header(z.name, dns.TypeNS), Ns: dns.CanonicalName(ns)})
	}
	z.serial = uint32(z.o.Now().Unix())
	z.metrics.init()
	return z, nil
}

func (z *Zone) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: uint32(z.o.TTL.Seconds())}
}

// Set takes in what domains announce now, and takes out those that are removed. One of
// whose names does not fit below the zone is left out, and told of.
func (z *Zone) Set(changed []Set, removed []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, s := range changed {
		if longest := len(mtasts.RecordName(s.Domain)) + 2 + len(z.name); longest > 253 {
			z.o.Log.Error("a domain's name is too long to be answered for below the zone", "domain", s.Domain, "zone", z.o.Name)
			continue
		}
		if _, known := z.domains[s.Domain]; !known {
			z.count(s.Domain, 1)
		}
		z.domains[s.Domain] = s
	}
	for _, domain := range removed {
		if _, known := z.domains[domain]; known {
			z.count(domain, -1)
			delete(z.domains, domain)
		}
	}
	// It grows with each change, and over restarts as long as the clock does.
	z.serial = max(z.serial+1, uint32(z.o.Now().Unix()))
}

// count counts the names above domain.
func (z *Zone) count(domain string, by int) {
	for {
		var more bool
		if _, domain, more = strings.Cut(domain, "."); !more {
			return
		}
		if z.above[domain] += by; z.above[domain] == 0 {
			delete(z.above, domain)
		}
	}
}

// node is what there is at a name.
type node struct {
	exists  bool // if only since there are names below it: then it is not NXDOMAIN (RFC 8020 §2)
	records []dns.RR
}

// find returns what there is at name, in lower case, in or below the zone, of a kind; dns.TypeANY
// is for one record of whatever kind (RFC 8482 §4.1).
func (z *Zone) find(name string, kind uint16) node {
	if name == z.name {
		return node{true, z.atApex(kind)}
	}
	var n node
	for _, ns := range z.o.NameServers {
		if dns.CanonicalName(ns) == name {
			n.exists = true
			n.records = append(n.records, z.addresses(name, kind)...)
		}
	}
	below := strings.TrimSuffix(name, "."+z.name)
	z.mu.RLock()
	defer z.mu.RUnlock()
	if _, ok := z.domains[below]; ok || z.above[below] > 0 {
		n.exists = true
	}
	if _, ok := z.domains[strings.TrimPrefix(below, "_tls.")]; ok {
		n.exists = true
	}
	if domain, ok := strings.CutPrefix(below, "mta-sts."); ok {
		if _, ok := z.domains[domain]; ok {
			n.exists = true
			n.records = append(n.records, z.host(name, kind)...)
		}
	}
	if domain, ok := strings.CutPrefix(below, "_mta-sts."); ok {
		if s, ok := z.domains[domain]; ok && s.ID != "" {
			n.exists = true
			n.records = append(n.records, z.txt(name, kind, mtasts.Record{ID: s.ID}.String())...)
		}
	}
	if domain, ok := strings.CutPrefix(below, "_smtp._tls."); ok {
		if s, ok := z.domains[domain]; ok && len(s.RUA) > 0 {
			n.exists = true
			n.records = append(n.records, z.txt(name, kind, tlsrpt.Record{RUA: s.RUA}.String())...)
		}
	}
	return n
}

func (z *Zone) atApex(kind uint16) []dns.RR {
	switch kind {
	case dns.TypeSOA, dns.TypeANY:
		return []dns.RR{z.soa()}
	case dns.TypeNS:
		return z.apex
	}
	return nil
}

// soa is the zone's SOA record, also for the authority section of a denial.
func (z *Zone) soa() *dns.SOA {
	z.mu.RLock()
	serial := z.serial
	z.mu.RUnlock()
	local, domain, _ := strings.Cut(z.o.Hostmaster, "@")
	if domain == "" {
		local, domain = "hostmaster", z.name
	}
	negative := uint32(min(z.o.TTL, maxNegative).Seconds())
	soa := &dns.SOA{
		Hdr: z.header(z.name, dns.TypeSOA), Ns: z.apex[0].(*dns.NS).Ns,
		Mbox:   dns.Fqdn(strings.ReplaceAll(local, ".", `\.`) + "." + domain),
		Serial: serial, Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: negative,
	}
	soa.Hdr.Ttl = negative // RFC 2308 §5
	return soa
}

// host is the record of a policy host.
func (z *Zone) host(name string, kind uint16) []dns.RR {
	if z.o.Host != "" { // whatever is asked for (RFC 1034 §4.3.2)
		return []dns.RR{&dns.CNAME{Hdr: z.header(name, dns.TypeCNAME), Target: dns.CanonicalName(z.o.Host)}}
	}
	return z.addresses(name, kind)
}

func (z *Zone) addresses(name string, kind uint16) (rrs []dns.RR) {
	for _, addr := range z.o.Addresses {
		switch {
		case addr.Is4() && (kind == dns.TypeA || kind == dns.TypeANY):
			rrs = append(rrs, &dns.A{Hdr: z.header(name, dns.TypeA), A: addr.AsSlice()})
		case addr.Is6() && (kind == dns.TypeAAAA || kind == dns.TypeANY && len(rrs) == 0):
			rrs = append(rrs, &dns.AAAA{Hdr: z.header(name, dns.TypeAAAA), AAAA: addr.AsSlice()})
		}
	}
	return rrs
}

func (z *Zone) txt(name string, kind uint16, text string) []dns.RR {
	if kind != dns.TypeTXT && kind != dns.TypeANY {
		return nil
	}
	return []dns.RR{&dns.TXT{Hdr: z.header(name, dns.TypeTXT), Txt: split(text)}}
}

// split cuts a text into the strings of a TXT record (RFC 1035 §3.3), escaped.
func split(txt string) []string {
	var parts []string
	for first := true; first || txt != ""; first = false {
		n := min(len(txt), maxString)
		parts = append(parts, escapes.Replace(txt[:n]))
		txt = txt[n:]
	}
	return parts
}
