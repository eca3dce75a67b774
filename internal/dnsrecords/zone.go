package dnsrecords

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// ZoneOptions describe a zone of ours, to which domains delegate by CNAME (RFC 8461 §8.2).
type ZoneOptions struct {
	Name        string        // "sts.example.net"
	NameServers []string      // names by which the zone is delegated; those within it have Addresses
	Hostmaster  string        // mail address for the SOA record; "" for hostmaster@Name
	Addresses   []netip.Addr  // of the policy hosts
	Host        string        // or the name that they are aliases of, outside of the zone
	TTL         time.Duration // 0: an hour
	Log         *slog.Logger
	Now         func() time.Time
}

// Zone answers for a zone of ours, from what is announced. For a domain D it has
//
//	mta-sts.D.<zone>     the policy host
//	_mta-sts.D.<zone>    the record that announces the policy, when there is an id
//	_smtp._tls.D.<zone>  where to report to, if anywhere
//
// The zone is not signed: it is to be delegated without DS records. It may be used by
// several goroutines, and no question waits for a change.
type Zone struct {
	o      ZoneOptions
	name   string              // lower case, final dot
	ttl    uint32              // seconds
	fixed  map[string][]dns.RR // names below the zone that are no domain's; none: it has names below it
	ns     []string
	mbox   string
	table  *table
	serial atomic.Uint32

	limit   *limiter
	metrics zoneMetrics
	servers servers
}

const (
	// The times of the SOA record. Nobody transfers the zone; what counts is the last,
	// for how long resolvers believe that something is not there (RFC 2308 §4), which
	// should be short for who has just been added.
	soaRefresh, soaRetry, soaExpire = 3600, 600, 604800
	maxNegative                     = 5 * time.Minute

	// maxReports bounds the record that says where to report to. It does not fit into a
	// datagram then, and has more addresses than any sender tries.
	maxReports = 8 << 10
)

// NewZone returns a Zone without domains.
func NewZone(o ZoneOptions) (*Zone, error) {
	z := &Zone{
		o: o, name: dns.CanonicalName(o.Name), ttl: uint32(cmp.Or(o.TTL, time.Hour).Seconds()),
		fixed: map[string][]dns.RR{}, table: newTable(), limit: newLimiter(),
	}
	z.o.Addresses = nil
	for _, addr := range o.Addresses {
		z.o.Addresses = append(z.o.Addresses, addr.Unmap())
	}
	if o.Now == nil {
		z.o.Now = time.Now
	}
	if o.Log == nil {
		z.o.Log = slog.New(slog.DiscardHandler)
	}
	if _, ok := dns.IsDomainName(z.name); !ok || z.name == "." {
		return nil, fmt.Errorf("zone %q is no name", o.Name)
	}
	if o.TTL < 0 || o.TTL > 0 && z.ttl == 0 {
		return nil, fmt.Errorf("a TTL of %s is none: it is whole seconds", o.TTL)
	}
	if len(o.NameServers) == 0 {
		return nil, errors.New("a zone needs name servers")
	}
	if (len(o.Addresses) == 0) == (o.Host == "") {
		return nil, errors.New("a zone needs addresses for policy hosts, or a name")
	}
	if z.below(dns.CanonicalName(o.Host)) {
		return nil, fmt.Errorf("policy hosts cannot be aliases of %q: it lies in the zone, which has no record of it", o.Host)
	}
	for _, ns := range o.NameServers {
		if err := z.addNameServer(dns.CanonicalName(ns)); err != nil {
			return nil, fmt.Errorf("the name server %q %w", ns, err)
		}
	}
	if err := z.setHostmaster(o.Hostmaster); err != nil {
		return nil, err
	}
	z.serial.Store(uint32(z.o.Now().Unix()))
	return z, nil
}

// below reports whether name, in lower case, is the zone's, or below it.
func (z *Zone) below(name string) bool {
	if strings.Contains(name, `\`) { // a dot within a label is no end of it
		return dns.IsSubDomain(z.name, name)
	}
	above, ok := strings.CutSuffix(name, z.name)
	return ok && (above == "" || above[len(above)-1] == '.')
}

// addNameServer takes up a name server, and if it lies in the zone its addresses.
func (z *Zone) addNameServer(name string) error {
	if _, ok := dns.IsDomainName(name); !ok || name == "." {
		return errors.New("is no name")
	}
	z.ns = append(z.ns, name)
	if !z.below(name) {
		return nil
	}
	rel := z.relative(name)
	switch {
	case len(z.o.Addresses) == 0:
		return errors.New("lies in the zone, and has no address: name one outside of it")
	case strings.HasPrefix(rel, "mta-sts."), strings.HasPrefix(rel, "_"):
		return errors.New("is where the records of a domain may be: give it another name")
	}
	z.fixed[rel] = z.addresses("", dns.TypeANY)
	for _, above, more := strings.Cut(rel, "."); more; _, above, more = strings.Cut(above, ".") {
		if _, known := z.fixed[above]; !known {
			z.fixed[above] = nil
		}
	}
	return nil
}

// setHostmaster makes a name of a mail address (RFC 1035 §8).
func (z *Zone) setHostmaster(address string) error {
	local, domain, found := strings.Cut(address, "@")
	if address == "" {
		local, domain, found = "hostmaster", z.name, true
	}
	z.mbox = dns.Fqdn(strings.NewReplacer(`\`, `\\`, ".", `\.`).Replace(local) + "." + domain)
	if _, ok := dns.IsDomainName(z.mbox); !ok || !found || local == "" || domain == "" {
		return fmt.Errorf("the hostmaster %q is no mail address", address)
	}
	return nil
}

// relative is a name in the zone without the zone's.
func (z *Zone) relative(name string) string {
	if name == z.name {
		return ""
	}
	return name[:len(name)-len(z.name)-len(".")]
}

// Set takes in what domains announce now, and takes out those that are removed. One of
// whose names does not fit below the zone is left out, and told of.
func (z *Zone) Set(changed []Set, removed []string) {
	fit := changed[:0:0]
	for _, s := range changed {
		if len(tlsrpt.RecordName(s.Domain))+len(z.name) > 253 { // the final dot is the one between
			z.o.Log.Error("a domain's name is too long to be answered for below the zone", "domain", s.Domain, "zone", z.o.Name)
			continue
		}
		if n := len(reportText(s)); n > maxReports {
			z.o.Log.Error("a domain has reports sent to more than fits into a record", "domain", s.Domain, "bytes", n, "limit", maxReports)
			s.RUA = nil
		}
		fit = append(fit, s)
	}
	z.table.set(fit, removed)
	// It grows with each change, and over restarts as long as the clock does, and there
	// are not more changes than seconds. Nobody transfers the zone, so that is for people.
	for {
		old := z.serial.Load()
		if z.serial.CompareAndSwap(old, max(old+1, uint32(z.o.Now().Unix()))) {
			return
		}
	}
}

// find returns the records of a kind at name, which is in lower case, in or below the zone;
// owner is how it was asked for. dns.TypeANY is for records of one kind, whichever (RFC
// 8482 §4.1). A name exists also if only others below it do (RFC 8020 §2).
func (z *Zone) find(name, owner string, kind uint16) (rrs []dns.RR, exists bool) {
	rel := z.relative(name)
	fixed, exists := z.fixed[rel]
	for _, rr := range fixed {
		if rr.Header().Rrtype == kind || kind == dns.TypeANY && rr.Header().Rrtype == fixed[0].Header().Rrtype {
			rr = dns.Copy(rr)
			rr.Header().Name = owner
			rrs = append(rrs, rr)
		}
	}
	if rel == "" && kind == dns.TypeANY {
		return []dns.RR{z.soa(owner)}, true
	} else if rel == "" {
		return append(z.atApex(owner, kind), rrs...), true
	}
	if len(rrs) > 0 {
		return rrs, true
	}
	if domain, ok := strings.CutPrefix(rel, "_mta-sts."); ok {
		if e := z.domain(domain); e != nil && e.id != "" {
			return z.txt(owner, kind, mtasts.Record{ID: e.id}.String()), true
		}
	}
	if domain, ok := strings.CutPrefix(rel, "_smtp._tls."); ok {
		if e := z.domain(domain); e != nil && e.reports != noReports {
			return z.txt(owner, kind, e.reports.Value()), true
		}
	}
	if domain, ok := strings.CutPrefix(rel, "_tls."); ok {
		if e := z.domain(domain); e != nil && e.reports != noReports {
			return nil, true
		}
	}
	if domain, ok := strings.CutPrefix(rel, "mta-sts."); ok {
		if z.domain(domain) != nil {
			return z.host(owner, kind), true
		}
	}
	return nil, exists || z.table.get(rel) != nil
}

// domain is a domain's entry, nil if it is none of ours.
func (z *Zone) domain(name string) *entry {
	if e := z.table.get(name); e != nil && e.domain {
		return e
	}
	return nil
}

func (z *Zone) header(owner string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: z.ttl}
}

func (z *Zone) atApex(owner string, kind uint16) (rrs []dns.RR) {
	switch kind {
	case dns.TypeSOA:
		return []dns.RR{z.soa(owner)}
	case dns.TypeNS:
		for _, ns := range z.ns {
			rrs = append(rrs, &dns.NS{Hdr: z.header(owner, dns.TypeNS), Ns: ns})
		}
	}
	return rrs
}

// soa is the zone's SOA record, also for the authority section of a denial.
func (z *Zone) soa(owner string) *dns.SOA {
	negative := min(z.ttl, uint32(maxNegative.Seconds()))
	soa := &dns.SOA{
		Hdr: z.header(owner, dns.TypeSOA), Ns: z.ns[0], Mbox: z.mbox, Serial: z.serial.Load(),
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: negative,
	}
	soa.Hdr.Ttl = negative // RFC 2308 §5
	return soa
}

// host is the record of a policy host.
func (z *Zone) host(owner string, kind uint16) []dns.RR {
	if z.o.Host != "" { // whatever is asked for (RFC 1034 §4.3.2)
		return []dns.RR{&dns.CNAME{Hdr: z.header(owner, dns.TypeCNAME), Target: dns.CanonicalName(z.o.Host)}}
	}
	rrs := z.addresses(owner, kind)
	for i, rr := range rrs {
		if rr.Header().Rrtype != rrs[0].Header().Rrtype {
			return rrs[:i] // what is left of ANY
		}
	}
	return rrs
}

// addresses are those of one kind, or the IPv4 ones before the others.
func (z *Zone) addresses(owner string, kind uint16) (rrs []dns.RR) {
	for _, addr := range z.o.Addresses {
		if addr.Is4() && (kind == dns.TypeA || kind == dns.TypeANY) {
			rrs = append(rrs, &dns.A{Hdr: z.header(owner, dns.TypeA), A: addr.AsSlice()})
		}
	}
	for _, addr := range z.o.Addresses {
		if addr.Is6() && (kind == dns.TypeAAAA || kind == dns.TypeANY) {
			rrs = append(rrs, &dns.AAAA{Hdr: z.header(owner, dns.TypeAAAA), AAAA: addr.AsSlice()})
		}
	}
	return rrs
}

func (z *Zone) txt(owner string, kind uint16, text string) []dns.RR {
	if kind != dns.TypeTXT && kind != dns.TypeANY {
		return nil
	}
	return []dns.RR{&dns.TXT{Hdr: z.header(owner, dns.TypeTXT), Txt: split(text)}}
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
