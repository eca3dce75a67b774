package dnsrecords

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

const (
	// maxUDP is what passes everywhere in one piece (DNS flag day 2020); minUDP is what
	// whoever sends no EDNS can take (RFC 1035 §4.2.1).
	maxUDP, minUDP = 1232, 512

	// headerSize is that of a message without anything.
	headerSize = 12
)

// respond makes the answer to a message in the memory of buf, for a datagram or for TCP.
// Nothing is said to what is no question: whoever answers answers could do so for ever.
func (z *Zone) respond(buf, text []byte, from netip.Addr, udp bool) (answer []byte) {
	defer func() {
		if fault := recover(); fault != nil { // of ours, and no reason to stop serving policies
			z.metrics.count(outcomeFault)
			z.o.Log.Error("a question to the zone made a fault", "fault", fault)
			answer = nil
		}
	}()
	if len(text) < headerSize || text[2]&0x80 != 0 {
		z.metrics.count(outcomeIgnored)
		return nil
	}
	verdict := pass
	if udp {
		if verdict = z.limit.take(from, z.o.Now()); verdict == drop {
			z.metrics.count(outcomeDropped)
			return nil
		}
	}
	m, outcome := z.reply(text, udp)
	if verdict == slip { // a resolver comes again by TCP, a forged sender does not
		m.Answer, m.Ns, m.Truncated = nil, nil, true
		outcome = outcomeTruncated
	}
	answer, err := m.PackBuffer(buf)
	if err != nil {
		z.o.Log.Error("an answer of the zone cannot be written", "err", err)
		answer, outcome = bare(text, dns.RcodeServerFailure, buf), outcomeFault
	}
	z.metrics.count(outcome)
	return answer
}

// bare is an answer of nothing but a header, in place of one that cannot be made.
func bare(text []byte, rcode byte, buf []byte) []byte {
	return append(buf[:0], text[0], text[1], 0x80|text[2]&0x79, rcode, 0, 0, 0, 0, 0, 0, 0, 0)
}

// reply reads a message, and answers it.
func (z *Zone) reply(text []byte, udp bool) (*dns.Msg, outcome) {
	flags := binary.BigEndian.Uint16(text[2:])
	m := &dns.Msg{MsgHdr: dns.MsgHdr{
		Id: binary.BigEndian.Uint16(text), Response: true, Opcode: int(flags >> 11 & 0xf), RecursionDesired: flags&0x100 != 0,
	}}
	count := func(section int) uint16 { return binary.BigEndian.Uint16(text[4+2*section:]) }
	switch {
	case m.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m, outcomeRefused
	// One question (RFC 9619 §4), perhaps with the SOA record of an IXFR (RFC 1995 §3), an
	// OPT record and a TSIG. What is more is work for nothing.
	case count(0) != 1, count(1) != 0, count(2) > 1, count(3) > 2:
		m.Rcode = dns.RcodeFormatError
		return m, outcomeMalformed
	}
	var q dns.Msg
	// The library takes a question that ends before its type or class.
	if err := q.Unpack(text); err != nil || len(q.Question) != 1 || q.Question[0].Qtype == 0 || q.Question[0].Qclass == 0 {
		m.Rcode = dns.RcodeFormatError
		return m, outcomeMalformed
	}
	m = z.Answer(&q, udp)
	return m, outcomeOf(m)
}

// Answer makes the answer to q, for a datagram or for TCP.
func (z *Zone) Answer(q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Compress = true
	size := dns.MaxMsgSize
	if udp {
		size = minUDP
	}
	opts := 0
	for _, rr := range q.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		if opts++; opts > 1 || opt.Hdr.Name != "." { // RFC 6891 §6.1.1
			m.Rcode = dns.RcodeFormatError
			return m
		}
		m.SetEdns0(maxUDP, opt.Do())
		if udp {
			size = min(max(int(opt.UDPSize()), minUDP), maxUDP)
		}
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers // RFC 6891 §6.1.3
		}
	}
	switch {
	case m.Rcode != dns.RcodeSuccess:
		return m
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
		return m
	}
	z.fill(m, q.Question[0])
	if !fits(m, size) { // all or nothing: parts of a set are of no use (RFC 2181 §9)
		m.Answer, m.Ns, m.Truncated = nil, nil, true
	}
	return m
}

// fits reports whether m has at most size bytes.
func fits(m *dns.Msg, size int) bool {
	n := headerSize + len(m.Question[0].Name) + 5
	for _, rrs := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range rrs {
			n += dns.Len(rr)
		}
	}
	return n <= size || m.Len() <= size // the latter with names written once
}

// fill answers one question.
func (z *Zone) fill(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	if q.Qclass != dns.ClassINET || !z.below(name) || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		m.Rcode = dns.RcodeRefused
		return
	}
	m.Authoritative = true
	exists := false
	if m.Answer, exists = z.find(name, q.Name, q.Qtype); len(m.Answer) > 0 {
		return
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	// Its name is the end of what was asked for, in the same letters: so it is written once.
	m.Ns = []dns.RR{z.soa(q.Name[len(q.Name)-len(z.name):])}
}
