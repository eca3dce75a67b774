// Package lookup asks DNS what a stranger will find there: it reads no hosts file, adds no
// search domain, keeps what it is told for minutes at most, and tells what is not there
// from what nobody knows. It is a client of recursive name servers, and takes their word
// for it. The rooms certs, sendercheck and dnsrecords ask through it.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// serverLimit is how long one name server may take, questionLimit all of them
	// together: a recursive resolver that knows nothing yet needs a second or so.
	serverLimit   = 2 * time.Second
	questionLimit = 5 * time.Second

	// maxServers is how many name servers are asked, as the C library does.
	maxServers = 3

	// maxAliases bounds a chain of CNAMEs. Resolvers give up after 8 to 17.
	maxAliases = 8

	// maxAnswerSize bounds what is believed, and kept: the addresses of a host, or a
	// CAA set, take some hundred bytes.
	maxAnswerSize = 4 << 10

	// udpSize is what passes everywhere in one piece (DNS flag day 2020).
	udpSize = 1232

	// maxKnown bounds the answers kept, for names that many hosts have in common, as
	// the CAA set of "com": 4 MiB if each is as big as can be.
	maxKnown = 1024

	// freshAnswer and freshDenial bound how long an answer is kept. What is not there
	// is what somebody is about to publish.
	freshAnswer = 5 * time.Minute
	freshDenial = 30 * time.Second

	// rereadServers is how often the system's name servers are read: a laptop, or a
	// container that starts early, gets others.
	rereadServers = time.Minute
)

// Resolver asks recursive name servers, and keeps their answers for a while. It may be used
// by several goroutines.
type Resolver struct {
	exchange func(ctx context.Context, question *dns.Msg) (*dns.Msg, error)
	now      func() time.Time

	asking singleflight.Group
	mu     sync.Mutex
	known  map[dns.Question]known
}

type known struct {
	Answer
	until time.Time
}

// Answer is what DNS has for a name and a type.
type Answer struct {
	Name      string        // that the records belong to: an alias leads to another one. Lower case, final dot
	Exists    bool          // the name, whatever there is to it; else NXDOMAIN
	Records   []dns.RR      // of the type asked for
	Aliases   []string      // names that were aliases on the way from the name asked for, which is the first
	Authentic bool          // the name server says that DNSSEC proves all of it (RFC 6840 §5.7)
	TTL       time.Duration // the shortest on the way, at most some minutes
}

// Addresses are those of the records, which are A or AAAA.
func (a Answer) Addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range a.Records {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A)
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		}
		addrs = append(addrs, addr.Unmap())
	}
	return addrs
}

// RcodeError is a name server that answers, and does not say what there is.
type RcodeError struct {
	Server string
	Rcode  int // SERVFAIL, REFUSED, ...
}

func (e *RcodeError) Error() string { return e.Server + " says " + dns.RcodeToString[e.Rcode] }

// New returns a Resolver that asks servers, "address:port" each, one after the other until
// one knows; those of the system for none. now tells the time; nil is time.Now.
func New(servers []string, now func() time.Time) *Resolver {
	if now == nil {
		now = time.Now
	}
	ns := &nameServers{fixed: servers, file: "/etc/resolv.conf", now: now}
	return Over(ns.exchange, now)
}

// Over returns a Resolver that asks by exchange, as tests do.
func Over(exchange func(ctx context.Context, question *dns.Msg) (*dns.Msg, error), now func() time.Time) *Resolver {
	return &Resolver{exchange: exchange, now: now, known: map[dns.Question]known{}}
}

// ErrAliasLoop is for a name whose aliases do not come to an end.
var ErrAliasLoop = errors.New("an alias of an alias, and so on")

// Lookup returns what there is for name, at the end of its aliases. An error means
// that nobody knows.
func (r *Resolver) Lookup(ctx context.Context, name string, kind uint16) (Answer, error) {
	name = dns.CanonicalName(name)
	var before []string
	authentic, ttl := true, freshAnswer
	for range maxAliases {
		a, err := r.ask(ctx, dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET})
		if err != nil {
			return Answer{}, err
		}
		if len(a.Aliases) >= maxAliases {
			break
		}
		authentic, ttl = authentic && a.Authentic, min(ttl, a.TTL)
		if a.Name == name || !a.Exists || len(a.Records) > 0 {
			a.Aliases, a.Authentic, a.TTL = append(before, a.Aliases...), authentic, ttl
			return a, nil
		}
		before = append(before, a.Aliases...)
		name = a.Name // which the name server may not have looked at
	}
	return Answer{}, fmt.Errorf("%s is %w", name, ErrAliasLoop)
}

// ask returns what is known of q, or asks. Those who ask at the same time share the
// answer.
func (r *Resolver) ask(ctx context.Context, q dns.Question) (Answer, error) {
	r.mu.Lock()
	k, ok := r.known[q]
	r.mu.Unlock()
	if left := k.until.Sub(r.now()); ok && left > 0 && left <= freshAnswer { // or the clock was set back
		return k.Answer, nil
	}
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	v, err, _ := r.asking.Do(dns.Type(q.Qtype).String()+q.Name, func() (any, error) {
		// Not with the context of one of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionLimit)
		defer cancel()
		question := new(dns.Msg).SetQuestion(q.Name, q.Qtype).SetEdns0(udpSize, false)
		question.AuthenticatedData = true
		m, err := r.exchange(ctx, question)
		if err != nil {
			return Answer{}, fmt.Errorf("asking DNS for %s of %s: %w", dns.Type(q.Qtype), q.Name, err)
		}
		if !says(m) {
			return Answer{}, fmt.Errorf("asking DNS for %s of %s: %w", dns.Type(q.Qtype), q.Name, &RcodeError{"the name server", m.Rcode})
		}
		a := readAnswer(m, q)
		r.keep(q, known{a, r.now().Add(a.TTL)})
		return a, nil
	})
	return v.(Answer), err
}

// keep notes an answer, in the place of some other if there are too many.
func (r *Resolver) keep(q dns.Question, k known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for old := range r.known {
		if len(r.known) < maxKnown {
			break
		}
		delete(r.known, old)
	}
	r.known[q] = k
}

// readAnswer follows the aliases in m, and returns what is at their end.
func readAnswer(m *dns.Msg, q dns.Question) Answer {
	a := Answer{Name: dns.CanonicalName(q.Name), Exists: m.Rcode != dns.RcodeNameError, Authentic: m.AuthenticatedData}
	ttl := freshAnswer
	of := func(name string, kind uint16) (found []dns.RR) {
		for _, rr := range m.Answer {
			if h := rr.Header(); h.Rrtype == kind && dns.CanonicalName(h.Name) == name {
				found = append(found, rr)
				ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
			}
		}
		return found
	}
	for range maxAliases {
		if a.Records = of(a.Name, q.Qtype); len(a.Records) > 0 {
			a.TTL = ttl
			return a
		}
		aliases := of(a.Name, dns.TypeCNAME)
		if len(aliases) != 1 || q.Qtype == dns.TypeCNAME {
			break
		}
		a.Aliases = append(a.Aliases, a.Name)
		a.Name = dns.CanonicalName(aliases[0].(*dns.CNAME).Target)
	}
	a.TTL = min(ttl, freshDenial)
	return a
}

// nameServers are the recursive name servers to ask.
type nameServers struct {
	fixed []string // addresses with ports; empty: those of the system
	file  string   // where the system names them
	now   func() time.Time

	mu   sync.Mutex
	list []string
	read time.Time
}

// exchange asks one after the other until one knows.
func (ns *nameServers) exchange(ctx context.Context, question *dns.Msg) (*dns.Msg, error) {
	servers, err := ns.servers()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, server := range servers {
		m, err := askServer(ctx, server, question)
		if err == nil {
			return m, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (ns *nameServers) servers() ([]string, error) {
	if len(ns.fixed) > 0 {
		return ns.fixed, nil
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	now := ns.now()
	if age := now.Sub(ns.read); len(ns.list) > 0 && age >= 0 && age < rereadServers {
		return ns.list, nil
	}
	c, err := dns.ClientConfigFromFile(ns.file)
	if err != nil {
		return nil, fmt.Errorf("reading which name servers there are: %w", err)
	}
	if len(c.Servers) == 0 {
		return nil, fmt.Errorf("%s names no name server", ns.file)
	}
	ns.list, ns.read = nil, now
	for _, server := range c.Servers[:min(len(c.Servers), maxServers)] {
		ns.list = append(ns.list, net.JoinHostPort(server, c.Port))
	}
	return ns.list, nil
}

// askServer asks one name server, by TCP what does not fit into a datagram.
func askServer(ctx context.Context, server string, question *dns.Msg) (*dns.Msg, error) {
	var m *dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: serverLimit}
		var err error
		m, _, err = client.ExchangeContext(ctx, question, server)
		if err != nil {
			return nil, err // it names the server
		}
		if !m.Truncated {
			break
		}
	}
	q := question.Question[0]
	switch {
	case !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != q.Qtype || !strings.EqualFold(m.Question[0].Name, q.Name):
		return nil, fmt.Errorf("%s answers another question", server)
	case !says(m):
		return nil, &RcodeError{server, m.Rcode}
	case m.Truncated || m.Len() > maxAnswerSize:
		return nil, fmt.Errorf("%s has more to say than %d bytes", server, maxAnswerSize)
	}
	return m, nil
}

// says reports whether m tells what there is, or that there is nothing.
func says(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError }
