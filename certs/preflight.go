package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
)

const (
	// maxClimb bounds the questions for one host's CAA set: "mta-sts", the policy
	// domain and what is above it. Nobody's mail domain has so many labels; who has
	// them is left to the CA.
	maxClimb = 12

	// directoryLimit ends a question to the CA how it calls itself, maxDirectory
	// bounds the answer, some 1,000 bytes.
	directoryLimit = 5 * time.Second
	maxDirectory   = 64 << 10

	// freshDirectory is how long the CA's answer is believed, as acmez does, and
	// staleDirectory how long after a failure it is asked again.
	freshDirectory = 12 * time.Hour
	staleDirectory = 10 * time.Minute
)

// Preflight is how to find out, before a CA is asked, that an order would be in vain:
// where the host has no address, where its addresses are not ours, where CAA forbids
// the CA to issue. What cannot be found out holds no order back.
type Preflight struct {
	// Off leaves everything to the CA.
	Off bool

	// Addresses and Names say where our hosts lead to when they lead here: networks,
	// and names that have the right addresses. Where both are empty every address
	// will do: behind a load balancer nobody tells us which are ours.
	Addresses []netip.Prefix
	Names     []string

	// Resolvers are recursive name servers, as "192.0.2.53:53"; none means those of
	// /etc/resolv.conf.
	Resolvers []string
}

// check reports what is wrong with p.
func (p Preflight) check() error {
	for _, server := range p.Resolvers {
		if _, err := netip.ParseAddrPort(server); err != nil {
			return fmt.Errorf("preflight: the name server %q is no address with a port", server)
		}
	}
	for _, name := range p.Names {
		if !validHost(name) {
			return fmt.Errorf("preflight: %q is neither an address nor a host name in its normal form", name)
		}
	}
	return nil
}

// outcome is what preflight came to.
type outcome int

const (
	outcomePassed    outcome = iota // nothing speaks against an order
	outcomeUnknown                  // nobody knows: DNS does not answer
	outcomeNoAddress                // the host does not exist, or has no address
	outcomeElsewhere                // its addresses are not ours
	outcomeForbidden                // CAA allows none of our CAs
	outcomeCount
)

func (o outcome) String() string {
	return [outcomeCount]string{"passed", "unknown", "no_address", "elsewhere", "caa"}[o]
}

// verdict is what preflight says of a host.
type verdict struct {
	outcome outcome
	finding string // why an order would be in vain, and what to do; parts are from outside
	refused []bool // by CAA, in the order of the CAs; nil: none is
}

// preflight looks at a host as a CA will.
type preflight struct {
	dns     *lookup.Resolver
	ours    Preflight
	methods []string // by which a CA may check our hosts
	cas     []*directory
}

func newPreflight(o *Options) *preflight {
	p := &preflight{dns: lookup.New(o.Preflight.Resolvers, o.Now), ours: o.Preflight}
	if !o.DisableHTTP01 {
		p.methods = append(p.methods, "http-01")
	}
	if !o.DisableTLSALPN01 {
		p.methods = append(p.methods, "tls-alpn-01")
	}
	for _, ca := range o.CAs {
		p.cas = append(p.cas, newDirectory(ca, o.Now))
	}
	return p
}

// look says whether an order for host could succeed.
func (p *preflight) look(ctx context.Context, host string) verdict {
	if v := p.leadsHere(ctx, host); v.outcome != outcomePassed {
		return v
	}
	return p.mayIssue(ctx, host)
}

// leadsHere looks at host's addresses. A CA that finds several tries one or two of
// them, so it is enough that one is ours.
func (p *preflight) leadsHere(ctx context.Context, host string) verdict {
	anywhere := len(p.ours.Addresses)+len(p.ours.Names) == 0
	addrs, a, err := p.addresses(ctx, host, !anywhere)
	if errors.Is(err, lookup.ErrAliasLoop) {
		return verdict{outcome: outcomeNoAddress, finding: host + " is an alias of an alias, and so on, in DNS: correct the CNAME, so that it leads to this server"}
	}
	if err != nil {
		return verdict{outcome: outcomeUnknown}
	}
	if len(addrs) == 0 {
		return verdict{outcome: outcomeNoAddress, finding: noAddress(host, a)}
	}
	if anywhere {
		return verdict{}
	}
	here := func(addr netip.Addr) bool {
		return slices.ContainsFunc(p.ours.Addresses, func(n netip.Prefix) bool { return n.Contains(addr) })
	}
	if slices.ContainsFunc(addrs, here) {
		return verdict{}
	}
	for _, name := range p.ours.Names {
		ours, _, err := p.addresses(ctx, name, true)
		if err != nil || len(ours) == 0 {
			return verdict{outcome: outcomeUnknown} // a mistake of ours is nobody else's trouble
		}
		if slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return slices.Contains(ours, addr) }) {
			return verdict{}
		}
	}
	return verdict{outcome: outcomeElsewhere, finding: fmt.Sprintf(
		"%s leads to %s, which is not this server (certificates.preflight.addresses): correct its CNAME, or its A and AAAA", host, addrs[0])}
}

// noAddress says what is wrong with a host without an address.
func noAddress(host string, a lookup.Answer) string {
	what := "has no address"
	if !a.Exists {
		what = "does not exist"
	}
	name := strings.TrimSuffix(a.Name, ".")
	if name != host {
		return fmt.Sprintf("%s is an alias of %q, which %s in DNS: correct the CNAME, so that it leads to this server", host, name, what)
	}
	return fmt.Sprintf("%s %s in DNS: publish a CNAME, or A and AAAA, that leads to this server", host, what)
}

// addresses returns addresses of name, all of them or enough to see that there are
// some, and the last answer.
func (p *preflight) addresses(ctx context.Context, name string, all bool) (addrs []netip.Addr, a lookup.Answer, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if len(addrs) > 0 && !all {
			break
		}
		if a, err = p.dns.Lookup(ctx, name, kind); err != nil || !a.Exists {
			return addrs, a, err
		}
		addrs = append(addrs, a.Addresses()...)
	}
	return addrs, a, nil
}

// mayIssue looks at host's CAA set, on behalf of those CAs that say how they are
// called there (caaIdentities, RFC 8555 §7.1.1).
func (p *preflight) mayIssue(ctx context.Context, host string) verdict {
	identities := make([][]string, len(p.cas))
	known := false
	for i, ca := range p.cas {
		identities[i] = ca.identities(ctx)
		known = known || len(identities[i]) > 0
	}
	if !known {
		return verdict{}
	}
	set, err := p.caa(ctx, host)
	if err != nil {
		return verdict{outcome: outcomeUnknown}
	}
	v := verdict{refused: make([]bool, len(p.cas))}
	for i, ids := range identities {
		v.refused[i] = len(ids) > 0 && !set.allows(ids, p.methods)
	}
	if !slices.Contains(v.refused, false) {
		v.outcome, v.finding = outcomeForbidden, set.finding(slices.Concat(identities...), p.methods)
	}
	return v
}

// caa returns the relevant set: that of the host, or of the first name above it that
// has one (RFC 8659 §3).
func (p *preflight) caa(ctx context.Context, host string) (caaSet, error) {
	name := host
	for range maxClimb {
		a, err := p.dns.Lookup(ctx, name, dns.TypeCAA)
		if err != nil {
			return nil, err
		}
		if len(a.Records) > 0 {
			set := make(caaSet, len(a.Records))
			for i, rr := range a.Records {
				set[i] = rr.(*dns.CAA)
			}
			return set, nil
		}
		var more bool
		if _, name, more = strings.Cut(name, "."); !more {
			return nil, nil
		}
	}
	return nil, errors.New("a name of so many labels is left to the CA")
}

// directory is what a CA says of itself (RFC 8555 §7.1.1). It is read here once more
// than by the ACME clients, since theirs lock each other out while the CA hangs.
type directory struct {
	url  string
	http *http.Client
	now  func() time.Time

	mu    sync.Mutex // held while the CA is asked: all others would ask the same
	names []string
	until time.Time
}

func newDirectory(ca CA, now func() time.Time) *directory {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // it is asked twice a day
	if ca.Roots != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.Roots}
	}
	return &directory{url: ca.Directory, http: &http.Client{Transport: transport, Timeout: directoryLimit}, now: now}
}

// identities is how the CA calls itself in CAA records; none where it does not say.
func (d *directory) identities(ctx context.Context) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if left := d.until.Sub(now); left > 0 && left <= freshDirectory { // or the clock was set
		return d.names
	}
	names, err := d.ask(ctx)
	if err == nil {
		d.names, d.until = names, now.Add(freshDirectory)
	} else if ctx.Err() == nil {
		d.until = now.Add(staleDirectory) // what it said before it says still
	}
	return d.names
}

func (d *directory) ask(ctx context.Context) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "mtasts-server")
	res, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	var dir struct {
		Meta struct {
			CAAIdentities []string `json:"caaIdentities"`
		} `json:"meta"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxDirectory)).Decode(&dir); err != nil {
		return nil, err
	}
	return dir.Meta.CAAIdentities, nil
}
