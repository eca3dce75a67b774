package dnsrecords

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// zoneOf is the zone that name lies in, as the server has it. Where name is an alias, which
// would be followed, the name above it is asked for.
func (u *Updater) zoneOf(ctx context.Context, name string) (string, error) {
	said := ""
	for above := name; strings.Contains(above, "."); _, above, _ = strings.Cut(above, ".") {
		m, err := u.exchange(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(above), dns.TypeSOA))
		if err != nil {
			return "", err
		}
		said = dns.RcodeToString[m.Rcode]
		if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError || !m.Authoritative {
			break
		}
		if slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeCNAME }) {
			continue // what follows is of the zone that the alias leads to
		}
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(name)) {
				return dns.CanonicalName(soa.Hdr.Name), nil
			}
		}
	}
	return "", u.notIts(name, said)
}

// ErrOtherZone is for a name that lies in none of the server's zones.
var ErrOtherZone = errors.New("leave the domain out by dns.update.zones, or delegate it there")

func (u *Updater) notIts(name, said string) error {
	return fmt.Errorf("%s does not answer for a zone that %s lies in (%s): %w", u.o.Server, name, said, ErrOtherZone)
}

// ask returns the records of a kind at name, or the alias that stands there.
func (u *Updater) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	m, err := u.exchange(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), kind))
	if err != nil {
		return nil, err
	}
	good := m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError
	// A referral to others is no answer that there is nothing.
	if m.Rcode == dns.RcodeRefused || m.Rcode == dns.RcodeNotAuth || good && !m.Authoritative {
		return nil, u.notIts(name, dns.RcodeToString[m.Rcode])
	}
	if !good {
		return nil, fmt.Errorf("asking %s for %s of %s: %s", u.o.Server, dns.TypeToString[kind], name, dns.RcodeToString[m.Rcode])
	}
	var there []dns.RR
	for _, rr := range m.Answer {
		h := rr.Header()
		if strings.EqualFold(h.Name, dns.Fqdn(name)) && (h.Rrtype == kind || h.Rrtype == dns.TypeCNAME) {
			there = append(there, rr)
		}
	}
	return there, nil
}

// send sends the update, if it changes anything.
func (u *Updater) send(ctx context.Context, c *change) error {
	for _, message := range c.messages {
		zone := message.Question[0].Name
		if u.o.DryRun {
			u.o.Log.Info("would update", "server", u.o.Server, "zone", zone, "records", c.outcome.Changed)
			continue
		}
		// Whether it was done is not known until the answer is there, and then not either
		// if that is lost.
		for _, l := range c.texts {
			u.place(l.name, l.want, false)
		}
		m, err := u.exchange(ctx, message)
		if err != nil {
			return err
		}
		if m.Rcode != dns.RcodeSuccess {
			return fmt.Errorf("%s says %s to an update of %s: %s", u.o.Server, dns.RcodeToString[m.Rcode], zone, updateHint(m.Rcode))
		}
	}
	if u.o.DryRun || len(c.messages) == 0 {
		return nil
	}
	for _, l := range c.texts {
		u.place(l.name, l.want, true)
	}
	u.o.Log.Info("updated", "server", u.o.Server, "records", c.outcome.Changed)
	return nil
}

// updateHint is what to do about a refusal (RFC 2136 §2.2, RFC 8945 §5.2).
func updateHint(rcode int) string {
	switch rcode {
	case dns.RcodeRefused:
		return "allow the key, or our address, to update _mta-sts, _smtp._tls and mta-sts (update-policy, acl), and see its log"
	case dns.RcodeNotAuth:
		return "it is no primary of the zone, or does not know the key: check dns.update.server and key"
	case dns.RcodeNotZone:
		return "a name lies outside of the zone"
	case dns.RcodeNXRrset, dns.RcodeYXRrset, dns.RcodeYXDomain, dns.RcodeNameError:
		return "somebody changed the records meanwhile; it is tried again"
	case dns.RcodeNotImplemented:
		return "it takes no dynamic updates"
	}
	return "see its log"
}

// exchange asks the server, by TCP what does not fit.
func (u *Updater) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		if network == "udp" && q.Len() > minUDP {
			continue
		}
		m := q.Copy()
		m.Id = dns.Id()
		if m.Opcode == dns.OpcodeQuery {
			m.SetEdns0(maxUDP, false)
			m.RecursionDesired = false
		}
		client := &dns.Client{Net: network, Timeout: u.o.Timeout}
		if u.tsig != "" {
			client.TsigSecret = map[string]string{u.tsig: u.o.TSIG.Secret}
			m.SetTsig(u.tsig, dns.CanonicalName(u.o.TSIG.Algorithm), tsigFudge, time.Now().Unix())
		}
		answer, _, err := client.ExchangeContext(ctx, m, u.o.Server)
		if err != nil {
			return nil, u.explain(answer, err)
		}
		if err := u.believe(m, answer); err != nil {
			return nil, err
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("%s has more to say than fits", u.o.Server)
}

// tsigFudge is by how many seconds clocks may differ (RFC 8945 §10).
const tsigFudge = 300

// believe checks that answer is one to q, by whoever has the key. The library verifies a
// signature that is there, and does not miss one that is not; without it anybody could tell
// us that there are no records, or that an update was done. That something went wrong is
// believed: it changes nothing.
func (u *Updater) believe(q, answer *dns.Msg) error {
	if !answer.Response || answer.Opcode != q.Opcode || len(answer.Question) > 0 && (len(answer.Question) != 1 ||
		answer.Question[0].Qtype != q.Question[0].Qtype || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name)) {
		return fmt.Errorf("%s answers another question", u.o.Server)
	}
	good := answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError
	if u.tsig == "" || !good {
		return nil
	}
	if t := answer.IsTsig(); t == nil || dns.CanonicalName(t.Hdr.Name) != u.tsig {
		return fmt.Errorf("%s answers, and does not sign it with the key %q: it is not believed", u.o.Server, u.o.TSIG.Name)
	}
	return nil
}

// explain says what a failed exchange means.
func (u *Updater) explain(answer *dns.Msg, err error) error {
	if answer == nil || u.tsig == "" {
		return fmt.Errorf("asking %s: %w", u.o.Server, err)
	}
	t := answer.IsTsig()
	switch {
	case t != nil && t.Error != dns.RcodeSuccess:
		hint := map[uint16]string{
			dns.RcodeBadKey:  "it does not know the key: check its name",
			dns.RcodeBadSig:  "the key's secret or algorithm differs",
			dns.RcodeBadTime: "its clock and ours differ" + clockOf(t),
		}[t.Error]
		return fmt.Errorf("%s refuses the key %q (%s): %s", u.o.Server, u.o.TSIG.Name, dns.RcodeToString[int(t.Error)], hint)
	case errors.Is(err, dns.ErrTime):
		return fmt.Errorf("%s signs with the key %q, and its clock and ours differ", u.o.Server, u.o.TSIG.Name)
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return fmt.Errorf("%s signs its answer with something else than the key %q: it is not believed", u.o.Server, u.o.TSIG.Name)
	case errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrNoSig):
		return fmt.Errorf("%s says %s, unsigned: it may not know the key %q", u.o.Server, dns.RcodeToString[answer.Rcode], u.o.TSIG.Name)
	}
	return fmt.Errorf("asking %s: %w", u.o.Server, err)
}

// clockOf is what a server says of its clock where it finds ours wrong (RFC 8945 §5.2.3).
func clockOf(t *dns.TSIG) string {
	seconds, err := strconv.ParseUint(t.OtherData, 16, 48)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(": it says %s, and we %s", time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
}
