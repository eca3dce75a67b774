package dnsrecords

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
)

const (
	// maxUDP is what passes everywhere in one piece (DNS flag day 2020); minUDP is what
	// whoever sends no EDNS can take (RFC 1035 §4.2.1).
	maxUDP, minUDP = 1232, 512

	// Limits of TCP, which resolvers use for what is truncated: a question or a few.
	maxTCPConnections = 256
	maxTCPQueries     = 64
	tcpIdle           = 5 * time.Second
	tcpRead           = 2 * time.Second
)

// ServeDNS implements dns.Handler.
func (z *Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	defer func() {
		if fault := recover(); fault != nil { // of ours, and no reason to stop serving policies
			z.o.Log.Error("a question to the zone made a fault", "fault", fault)
		}
	}()
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	verdict := pass
	if udp {
		verdict = z.limit.take(addrOf(w.RemoteAddr()), z.o.Now())
	}
	if verdict == drop {
		z.metrics.count("dropped")
		return
	}
	m := z.Answer(q, udp)
	if verdict == slip { // a resolver comes again by TCP, a forged sender does not
		m.Answer, m.Ns, m.Truncated = nil, nil, true
		z.metrics.count("truncated")
	} else {
		z.metrics.count(outcomes[m.Rcode])
	}
	_ = w.WriteMsg(m) // whoever asked is gone
}

// addrOf is the address that a question comes from.
func addrOf(a net.Addr) netip.Addr {
	addr, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

// Answer makes the answer to q, for a datagram or for TCP.
func (z *Zone) Answer(q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Compress = false, true
	size := minUDP
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
		size = min(max(int(opt.UDPSize()), minUDP), maxUDP)
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers // RFC 6891 §6.1.3
			return m
		}
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
		return m
	}
	z.fill(m, q.Question[0])
	if !udp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size)
	return m
}

// fill answers one question.
func (z *Zone) fill(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	switch {
	case q.Qclass != dns.ClassINET, !dns.IsSubDomain(z.name, name), q.Qtype == dns.TypeAXFR, q.Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
		return
	}
	m.Authoritative = true
	n := z.find(name, q.Qtype)
	if len(n.records) > 0 {
		if q.Qtype == dns.TypeANY {
			n.records = n.records[:1] // RFC 8482 §4.1
		}
		for _, rr := range n.records {
			rr = dns.Copy(rr)
			rr.Header().Name = q.Name // in the letters of who asked
			m.Answer = append(m.Answer, rr)
		}
		return
	}
	if !n.exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = []dns.RR{z.soa()}
}

// servers are those that answer for a zone.
type servers struct {
	mu      sync.Mutex
	running []*dns.Server
	closed  bool
}

var errClosed = errors.New("the zone is not served any more")

func (s *servers) run(server *dns.Server) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	select {
	case <-started:
		s.running = append(s.running, server)
		s.mu.Unlock()
		return <-ended
	case err := <-ended:
		s.mu.Unlock()
		return err
	}
}

// ServeUDP answers questions on p until Shutdown.
func (z *Zone) ServeUDP(p net.PacketConn) error {
	defer p.Close()
	return z.servers.run(&dns.Server{PacketConn: p, Handler: z, UDPSize: maxUDP})
}

// ServeTCP answers questions on l until Shutdown.
func (z *Zone) ServeTCP(l net.Listener) error {
	defer l.Close()
	return z.servers.run(&dns.Server{
		Listener: netutil.LimitListener(l, maxTCPConnections), Handler: z,
		MaxTCPQueries: maxTCPQueries, ReadTimeout: tcpRead, WriteTimeout: tcpRead,
		IdleTimeout: func() time.Duration { return tcpIdle },
	})
}

// Shutdown ends all servers, after the questions under way.
func (z *Zone) Shutdown(ctx context.Context) error {
	z.servers.mu.Lock()
	z.servers.closed = true
	running := z.servers.running
	z.servers.running = nil
	z.servers.mu.Unlock()
	var errs []error
	for _, s := range running {
		errs = append(errs, s.ShutdownContext(ctx))
	}
	return errors.Join(errs...)
}
