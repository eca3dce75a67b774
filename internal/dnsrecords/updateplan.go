package dnsrecords

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
)

// change is an update while it is made: a message for each zone that it touches. Nearly
// always that is one, and then all of it happens or nothing.
type change struct {
	messages []*dns.Msg
	texts    []label // those that are changed
	outcome  Outcome
}

// messageFor is the message for the zone of name.
func (u *Updater) messageFor(ctx context.Context, c *change, name string) (*dns.Msg, error) {
	zone, err := u.zoneOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, m := range c.messages {
		if m.Question[0].Name == zone {
			return m, nil
		}
	}
	c.messages = append(c.messages, new(dns.Msg).SetUpdate(zone))
	return c.messages[len(c.messages)-1], nil
}

func (c *change) remove(m *dns.Msg, rr dns.RR) {
	m.Remove([]dns.RR{dns.Copy(rr)})
	c.outcome.Changed = append(c.outcome.Changed, "- "+line(rr))
}

func (c *change) add(m *dns.Msg, rr dns.RR) {
	m.Insert([]dns.RR{rr})
	c.outcome.Changed = append(c.outcome.Changed, "+ "+line(rr))
}

// line is a record for people.
func line(rr dns.RR) string { return escape(strings.ReplaceAll(rr.String(), "\t", " "), maxValue) }

// adds reports whether a record is added at name.
func (c *change) adds(name string) bool {
	for _, m := range c.messages {
		for _, rr := range m.Ns {
			if rr.Header().Class == dns.ClassINET && rr.Header().Name == dns.Fqdn(name) {
				return true
			}
		}
	}
	return false
}

// planText plans the change of one text.
func (u *Updater) planText(ctx context.Context, c *change, l label) error {
	there, err := u.ask(ctx, l.name, dns.TypeTXT)
	if err != nil {
		return err
	}
	s := u.sort(l, there)
	if l.want != "" && len(s.foreign) > 0 {
		c.outcome.Foreign = append(c.outcome.Foreign, s.foreign...)
		return nil
	}
	if len(s.ours) == 0 && (s.present || l.want == "") {
		return nil
	}
	m, err := u.messageFor(ctx, c, l.name)
	if err != nil {
		return err
	}
	synthetic, err := u.synthetic(ctx, l.name, there, func(ctx context.Context, name string) ([]dns.RR, error) { return u.ask(ctx, name, dns.TypeTXT) })
	if err != nil {
		return err
	}
	// If somebody changes the records meanwhile, the update comes to nothing.
	if len(there) == 0 || synthetic {
		absent(m, l.name, dns.TypeTXT, dns.TypeCNAME)
	} else {
		same := make([]dns.RR, len(there))
		for i, rr := range there {
			same[i] = dns.Copy(rr)
		}
		m.Used(same)
	}
	c.texts = append(c.texts, l)
	for _, rr := range s.ours {
		c.remove(m, rr)
	}
	if l.want != "" && !s.present {
		r := Record{l.name, "TXT", l.want, u.o.TTL}.rr()
		if len(there) > len(s.ours) && !synthetic { // records of one name and type have one TTL (RFC 2181 §5.2): that of others stays
			r.Header().Ttl = there[0].Header().Ttl
		}
		c.add(m, r)
	}
	return nil
}

// sorted are the records at a name by whose they are.
type sorted struct {
	present bool     // the text that is wanted, or one that senders read the same from
	ours    []dns.RR // to be removed
	foreign []string // of others, that senders would take for ours
}

// sort tells the records at a name apart.
func (u *Updater) sort(l label, there []dns.RR) (s sorted) {
	placed := u.ours(l)
	mine := func(t string) bool {
		return l.want != "" && isOurs(t) || l.before != "" && sameTXT(t, l.before) || slices.ContainsFunc(placed, func(p string) bool { return sameTXT(t, p) })
	}
	s.present = slices.ContainsFunc(there, func(rr dns.RR) bool { return l.want != "" && text(rr) == l.want })
	for _, rr := range there {
		t := text(rr)
		switch {
		case rr.Header().Rrtype == dns.TypeCNAME:
			s.foreign = append(s.foreign, escape(fmt.Sprintf("%s is an alias of %s", l.name, rr.(*dns.CNAME).Target), maxValue))
		case !strings.HasPrefix(t, l.version): // others' business
		case t == l.want:
		case l.want != "" && !s.present && sameTXT(t, l.want):
			s.present = true
		case mine(t), u.o.Adopt && l.want != "":
			s.ours = append(s.ours, rr)
		default:
			s.foreign = append(s.foreign, escape(fmt.Sprintf("%s has %q", l.name, t), maxValue))
		}
	}
	return s
}

// isOurs reports whether a record announces an id as only this program makes them: it was
// killed before it could note that, or its ledger was lost. Another one takes its place; it
// is not for removing.
func isOurs(txt string) bool {
	r, err := mtasts.ParseRecord(txt)
	return err == nil && mtasts.IsHashID(r.ID)
}

// absent has the update come to nothing where there are records of these kinds.
func absent(m *dns.Msg, name string, kinds ...uint16) {
	for _, kind := range kinds {
		m.RRsetNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind}}})
	}
}

// planHost adds the record of the policy host where there is none.
func (u *Updater) planHost(ctx context.Context, c *change, host string) error {
	records := hostRecords(host, u.o.Target, u.o.TTL)
	if len(records) == 0 {
		return nil
	}
	there, err := u.hostRecords(ctx, host)
	if err != nil {
		return err
	}
	synthetic, err := u.synthetic(ctx, host, there, u.hostRecords)
	if err != nil || len(there) > 0 && !synthetic {
		return err // whether it leads here is seen by the policy
	}
	m, err := u.messageFor(ctx, c, host)
	if err != nil {
		return err
	}
	absent(m, host, dns.TypeCNAME, dns.TypeA, dns.TypeAAAA)
	for _, r := range records {
		c.add(m, r.rr())
	}
	return nil
}

// synthetic reports whether what is there at name is made of a wildcard above it (RFC 4592),
// as many zones have one against mail in their name. Then nothing is at the name itself, and
// prerequisites, which no wildcard meets, must say so.
func (u *Updater) synthetic(ctx context.Context, name string, there []dns.RR, ask func(context.Context, string) ([]dns.RR, error)) (bool, error) {
	if len(there) == 0 {
		return false, nil
	}
	for _, above, _ := strings.Cut(name, "."); strings.Contains(above, "."); _, above, _ = strings.Cut(above, ".") {
		star, err := ask(ctx, "*."+above)
		if errors.Is(err, ErrOtherZone) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if len(star) > 0 {
			same := func(a dns.RR) func(dns.RR) bool {
				return func(b dns.RR) bool {
					b = dns.Copy(b)
					b.Header().Name = a.Header().Name
					return dns.IsDuplicate(a, b)
				}
			}
			return len(star) == len(there) && !slices.ContainsFunc(there, func(rr dns.RR) bool { return !slices.ContainsFunc(star, same(rr)) }), nil
		}
	}
	return false, nil
}

// seeText checks that senders find the text now, and nothing else that they take for it.
func (u *Updater) seeText(ctx context.Context, l label) error {
	if l.want == "" {
		return nil
	}
	there, err := u.ask(ctx, l.name, dns.TypeTXT)
	if err != nil {
		return err
	}
	var found []string
	for _, rr := range there {
		if t := text(rr); strings.HasPrefix(t, l.version) {
			found = append(found, t)
		}
	}
	if len(found) != 1 || !sameTXT(found[0], l.want) {
		return fmt.Errorf("%s took the update, and has %d records at %s, not the one that was added: somebody else may change the zone too", u.o.Server, len(found), l.name)
	}
	return nil
}

// seeHost checks that the policy host's record is there: a CNAME that would stand beside
// other records is left out without a word (RFC 2136 §3.4.2.2).
func (u *Updater) seeHost(ctx context.Context, host string) error {
	there, err := u.hostRecords(ctx, host)
	if err == nil && len(there) == 0 {
		err = fmt.Errorf("%s took the update, and has no record of %s: are there others at that name, which allow no CNAME?", u.o.Server, host)
	}
	return err
}

func (u *Updater) hostRecords(ctx context.Context, host string) ([]dns.RR, error) {
	var all []dns.RR
	for _, kind := range []uint16{dns.TypeCNAME, dns.TypeA, dns.TypeAAAA} {
		there, err := u.ask(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		if all = append(all, there...); len(there) > 0 && kind == dns.TypeCNAME {
			break
		}
	}
	return all, nil
}

// rr is the record for a message.
func (r Record) rr() dns.RR {
	rr, err := dns.NewRR(r.String())
	if err != nil { // names and addresses are checked, texts are escaped
		panic(fmt.Sprintf("the record %q cannot be read back: %v", r, err))
	}
	return rr
}

// text is the text of a TXT record.
func text(rr dns.RR) string {
	if txt, ok := rr.(*dns.TXT); ok {
		return unescapes.Replace(strings.Join(txt.Txt, ""))
	}
	return ""
}
