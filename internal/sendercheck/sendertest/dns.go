package sendertest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Zone is all that there is in DNS.
type Zone struct {
	mu    sync.Mutex
	rrs   map[string][]dns.RR // by name, canonical
	fails map[string]int      // "TYPE name" -> rcode
	drops map[string]bool     // "TYPE name": no answer
	ad    []string            // what DNSSEC proves: these names, and all below

	// Synthesize makes records for names that are not there, for worlds too large to
	// be written down. It may be nil, and must not be changed once there are questions.
	Synthesize func(q dns.Question) []dns.RR
}

func newZone() *Zone {
	return &Zone{rrs: map[string][]dns.RR{}, fails: map[string]int{}, drops: map[string]bool{}}
}

// Publish adds records, as zone files have them; or "SERVFAIL name TYPE" and "REFUSED
// name TYPE", for questions that fail; "DROP name TYPE", for those that are not answered;
// "AD name", for what DNSSEC proves with all below it.
func (z *Zone) Publish(lines ...string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, line := range lines {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && (f[0] == "SERVFAIL" || f[0] == "REFUSED"):
			z.fails[f[2]+" "+dns.CanonicalName(f[1])] = dns.StringToRcode[f[0]]
		case len(f) == 3 && f[0] == "DROP":
			z.drops[f[2]+" "+dns.CanonicalName(f[1])] = true
		case len(f) == 2 && f[0] == "AD":
			z.ad = append(z.ad, dns.CanonicalName(f[1]))
		default:
			rr, err := dns.NewRR(line)
			if err != nil || rr == nil {
				return fmt.Errorf("%q: %w", line, errors.Join(err, errUsage))
			}
			name := dns.CanonicalName(rr.Header().Name)
			z.rrs[name] = append(z.rrs[name], rr)
		}
	}
	return nil
}

// Withdraw removes all records of a name.
func (z *Zone) Withdraw(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.rrs, dns.CanonicalName(name))
}

// maxAliases is where this name server gives up.
const maxAliases = 12

func (z *Zone) answer(question *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	q := question.Question[0]
	name, kind := dns.CanonicalName(q.Name), dns.Type(q.Qtype).String()
	if z.drops[kind+" "+name] {
		return nil
	}
	m := new(dns.Msg).SetReply(question)
	m.RecursionAvailable = true
	m.AuthenticatedData = true
	for range maxAliases {
		if rcode, fails := z.fails[kind+" "+name]; fails {
			return new(dns.Msg).SetRcode(question, rcode)
		}
		m.AuthenticatedData = m.AuthenticatedData && slices.ContainsFunc(z.ad, func(top string) bool { return dns.IsSubDomain(top, name) })
		alias := ""
		found := false
		for _, rr := range z.at(name, q) {
			switch {
			case rr.Header().Rrtype == q.Qtype:
				m.Answer = append(m.Answer, rr)
				found = true
			case rr.Header().Rrtype == dns.TypeCNAME:
				if !slices.Contains(m.Answer, rr) { // a circle is told once
					m.Answer = append(m.Answer, rr)
				}
				alias = dns.CanonicalName(rr.(*dns.CNAME).Target)
			}
		}
		if found || alias == "" {
			if !z.exists(name) && len(z.at(name, q)) == 0 {
				m.Rcode = dns.RcodeNameError
			}
			return m
		}
		name = alias
	}
	return m
}

func (z *Zone) at(name string, q dns.Question) []dns.RR {
	if rrs := z.rrs[name]; len(rrs) > 0 || z.Synthesize == nil {
		return rrs
	}
	return z.Synthesize(dns.Question{Name: name, Qtype: q.Qtype, Qclass: q.Qclass})
}

// exists reports whether there is anything at name or below.
func (z *Zone) exists(name string) bool {
	for have := range z.rrs {
		if dns.IsSubDomain(name, have) {
			return true
		}
	}
	return false
}

// listenDNS finds a port that is free for both UDP and TCP.
func listenDNS() (net.PacketConn, net.Listener, error) {
	var errs []error
	for range 10 {
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		l, err := net.Listen("tcp", p.LocalAddr().String())
		if err == nil {
			return p, l, nil
		}
		errs = append(errs, err, p.Close())
	}
	return nil, nil, errors.Join(errs...)
}

func (w *World) startDNS() error {
	p, l, err := listenDNS()
	if err != nil {
		return err
	}
	w.Resolver = p.LocalAddr().String()
	handler := dns.HandlerFunc(func(out dns.ResponseWriter, q *dns.Msg) {
		m := w.answer(q)
		if m == nil {
			return
		}
		if _, udp := out.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(1232)
		}
		_ = out.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: p, Handler: handler}, {Listener: l, Handler: handler}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-ended:
			return err
		}
		w.atEnd(func() error { return errors.Join(s.Shutdown(), <-ended) })
	}
	return nil
}
