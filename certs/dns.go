package certs

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// resolver asks DNS what a CA will find there. It does not read the hosts file, and
// adds no search domain, as no CA does. It relies on recursive name servers, whose
// word is good for deciding when to order, and for nothing else.
type resolver struct {
	exchange func(ctx context.Context, question *dns.Msg) (*dns.Msg, error)
	now      func() time.Time

	asking singleflight.Group
	mu     sync.Mutex
	known  map[dns.Question]known
}

type known struct {
	answer
	until time.Time
}

// answer is what DNS has for a name and a type.
type answer struct {
	name    string   // that the records belong to: an alias leads to another one
	exists  bool     // the name, whatever there is to it
	records []dns.RR // of the type asked for
}

func newResolver(servers []string, now func() time.Time) *resolver {
	ns := &nameServers{fixed: servers, file: "/etc/resolv.conf", now: now}
	return &resolver{exchange: ns.exchange, now: now, known: map[dns.Question]known{}}
}

// lookup returns what there is for name, at the end of its aliases. An error means
// that nobody knows.
func (r *resolver) lookup(ctx context.Context, name string, kind uint16) (answer, error) {
	name = dns.CanonicalName(name)
	for range maxAliases {
		a, err := r.ask(ctx, dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET})
		if err != nil || a.name == name || !a.exists || len(a.records) > 0 {
			return a, err
		}
		name = a.name // which the name server may not have looked at
	}
	return answer{}, fmt.Errorf("%s is an alias of an alias, and so on", name)
}

// ask returns what is known of q, or asks. Those who ask at the same time share the
// answer.
func (r *resolver) ask(ctx context.Context, q dns.Question) (answer, error) {
	r.mu.Lock()
	k, ok := r.known[q]
	r.mu.Unlock()
	if left := k.until.Sub(r.now()); ok && left > 0 && left <= freshAnswer { // or the clock was set back
		return k.answer, nil
	}
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	v, err, _ := r.asking.Do(dns.Type(q.Qtype).String()+q.Name, func() (any, error) {
		// Not with the context of one of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionLimit)
		defer cancel()
		question := new(dns.Msg).SetQuestion(q.Name, q.Qtype).SetEdns0(udpSize, false)
		m, err := r.exchange(ctx, question)
		if err != nil {
			return answer{}, fmt.Errorf("asking DNS for %s of %s: %w", dns.Type(q.Qtype), q.Name, err)
		}
		a, ttl := readAnswer(m, q)
		r.keep(q, known{a, r.now().Add(ttl)})
		return a, nil
	})
	return v.(answer), err
}

// keep notes an answer, in the place of some other if there are too many.
func (r *resolver) keep(q dns.Question, k known) {
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

// readAnswer follows the aliases in m, and returns what is at their end, and how long
// that may be kept.
func readAnswer(m *dns.Msg, q dns.Question) (answer, time.Duration) {
	a := answer{name: dns.CanonicalName(q.Name), exists: m.Rcode != dns.RcodeNameError}
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
		if a.records = of(a.name, q.Qtype); len(a.records) > 0 {
			return a, ttl
		}
		aliases := of(a.name, dns.TypeCNAME)
		if len(aliases) != 1 {
			break
		}
		a.name = dns.CanonicalName(aliases[0].(*dns.CNAME).Target)
	}
	return a, min(ttl, freshDenial)
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
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("%s says %s", server, dns.RcodeToString[m.Rcode])
	case m.Truncated || m.Len() > maxAnswerSize:
		return nil, fmt.Errorf("%s has more to say than %d bytes", server, maxAnswerSize)
	}
	return m, nil
}
