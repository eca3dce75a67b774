package sendercheck

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
)

const (
	// maxMX bounds the MX hosts of a domain. Large providers have five.
	maxMX = 20

	// perFamily is how many addresses of an MX host are connected to, IPv4 and IPv6
	// each: what answers there is mostly one farm.
	perFamily = 2

	// maxTLSA bounds the TLSA records that are looked at: a roll-over has two or three.
	maxTLSA = 16
)

// mxSet asks where the domain's mail goes.
func (c *Checker) mxSet(ctx context.Context, domain string) MXSet {
	a, err := c.lookup(ctx, domain, dns.TypeMX)
	set := MXSet{Exists: a.Exists, Authentic: a.Authentic, Hosts: []*MXHost{}}
	switch {
	case err != nil:
		set.Error, set.err = errorText(err), err
		return set
	case !a.Exists:
		return set
	case len(a.Records) == 0:
		set.Implicit = true
		set.Hosts = append(set.Hosts, &MXHost{Name: domain})
		return set
	}
	for _, rr := range a.Records {
		mx := rr.(*dns.MX)
		h := &MXHost{Name: trimDot(strings.ToLower(mx.Mx)), Preference: mx.Preference}
		if h.Name == "" && len(a.Records) == 1 {
			set.Null = true
			return set
		}
		if h.bad = badHost(h.Name); h.Name == "" {
			h.Name = "."
		}
		set.Hosts = append(set.Hosts, h)
	}
	slices.SortFunc(set.Hosts, func(a, b *MXHost) int {
		return cmp.Or(cmp.Compare(a.Preference, b.Preference), cmp.Compare(a.Name, b.Name))
	})
	set.Hosts = slices.CompactFunc(set.Hosts, func(a, b *MXHost) bool { return a.Name == b.Name })
	if set.More = max(0, len(set.Hosts)-maxMX); set.More > 0 {
		set.Hosts = set.Hosts[:maxMX]
	}
	return set
}

// badHost says why a name in an MX record is none of a host, "" if it is one.
func badHost(name string) string {
	if name == "" {
		return "the root is no host"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return quote(name) + " is an address"
	}
	if !strings.Contains(name, ".") {
		return "" // as odd as it is, it may exist
	}
	if _, err := mtasts.ParseMXPattern(name); err != nil || strings.HasPrefix(name, "*.") {
		return quote(name) + " is no host name"
	}
	return ""
}

// probeHost looks at one MX host: its addresses, TLSA records, and sessions.
func (r *Run) probeHost(ctx context.Context, host string) *HostProbe {
	c := r.c
	p := &HostProbe{skipped: c.skipMX}
	var addrs []netip.Addr
	var n name
	var records []*dns.TLSA
	var wg sync.WaitGroup
	wg.Go(func() { addrs, n, p.err = c.addresses(ctx, host) })
	wg.Go(func() { records, p.DANE, p.tlsaErr = c.tlsa(ctx, host) })
	wg.Wait()
	p.Aliases, p.Exists, p.Addresses, p.Error = n.aliases, n.exists, addrs, errorText(p.err)
	for _, rr := range records {
		p.TLSA = append(p.TLSA, fmt.Sprintf("%d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, strings.ToLower(rr.Certificate)))
	}
	if c.skipMX {
		return p
	}
	some := sample(addrs)
	p.Probes = make([]Probe, len(some))
	for i, addr := range some {
		wg.Go(func() {
			p.Probes[i] = r.probe(ctx, host, addr, records, p.DANE)
		})
	}
	wg.Wait()
	return p
}

// sample is which of the addresses, sorted, are connected to.
func sample(addrs []netip.Addr) (some []netip.Addr) {
	var n [2]int
	for _, addr := range addrs {
		family := 0
		if addr.Is6() {
			family = 1
		}
		if n[family]++; n[family] <= perFamily {
			some = append(some, addr)
		}
	}
	return some
}

// tlsa returns the TLSA records for port 25 of an MX host, and whether DNSSEC proves
// them (RFC 7672 §2.2). The port is that of the internet also where tests use another.
func (c *Checker) tlsa(ctx context.Context, host string) (records []*dns.TLSA, proved bool, err error) {
	a, err := c.lookup(ctx, "_25._tcp."+host, dns.TypeTLSA)
	if err != nil {
		return nil, false, err
	}
	for _, rr := range a.Records[:min(len(a.Records), maxTLSA)] {
		records = append(records, rr.(*dns.TLSA))
	}
	return records, a.Authentic && len(records) > 0, nil
}

// fitsTLSA reports whether a certificate of the chain fits one of the records that
// count for SMTP, DANE-TA(2) and DANE-EE(3) (RFC 7672 §3.1). Of a DANE-TA record it is
// enough here that the server sends that certificate.
func fitsTLSA(records []*dns.TLSA, chain []*certificate) (fits, usable bool) {
	for _, rr := range records {
		if _, err := hex.DecodeString(rr.Certificate); err != nil || rr.Usage != 2 && rr.Usage != 3 || rr.Selector > 1 || rr.MatchingType > 2 {
			continue
		}
		usable = true
		candidates := chain
		if rr.Usage == 3 {
			candidates = chain[:1]
		}
		for _, cert := range candidates {
			if rr.Verify(cert) == nil {
				return true, true
			}
		}
	}
	return false, usable
}

func trimDot(name string) string { return strings.TrimSuffix(name, ".") }
