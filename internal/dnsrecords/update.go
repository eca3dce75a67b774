package dnsrecords

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// TSIG is a key that is shared with a name server (RFC 8945).
type TSIG struct {
	Name, Algorithm string // "hmac-sha256"
	Secret          string // base64
}

// UpdaterOptions say which name server takes updates.
type UpdaterOptions struct {
	Server  string // of the primary, "address:port"
	TSIG    *TSIG  // nil: it knows us by our address
	TTL     time.Duration
	Target  []string      // where policy hosts lead to, one name or addresses; empty: their records are left alone
	Adopt   bool          // replace records that announce a policy, or where to report to, although we did not make them
	DryRun  bool          // say what would be changed, and change nothing
	Timeout time.Duration // of one question; 0: five seconds
	Log     *slog.Logger
}

// Updater changes zones of others by dynamic update (RFC 2136).
type Updater struct {
	o    UpdaterOptions
	tsig string // the key's name, "" for none
}

// Outcome is what an update came to.
type Outcome struct {
	Changed []string // records removed ("-") and added ("+")
	Foreign []string // records of others that stand in the way, and were left
}

// NewUpdater returns an Updater. It asks nobody yet.
func NewUpdater(o UpdaterOptions) (*Updater, error) {
	u := &Updater{o: o}
	if o.Timeout == 0 {
		u.o.Timeout = 5 * time.Second
	}
	if o.Log == nil {
		u.o.Log = slog.New(slog.DiscardHandler)
	}
	if o.TSIG != nil {
		if u.tsig = dns.CanonicalName(o.TSIG.Name); u.tsig == "." {
			return nil, errors.New("the TSIG key has no name")
		}
	}
	return u, nil
}

// Apply brings about what want announces, where before is what we announced last. Only
// what we announced is removed; a record of others at the same name that senders would
// take for ours is told of in the outcome, and then nothing is added beside it: with two
// records senders see none (RFC 8461 §3.1). That the records are there is seen by asking for
// them once more.
func (u *Updater) Apply(ctx context.Context, want, before Set) (Outcome, error) {
	zone, err := u.zoneOf(ctx, mtasts.RecordName(want.Domain))
	if err != nil {
		return Outcome{}, err
	}
	c := &change{update: new(dns.Msg).SetUpdate(zone)}
	texts := []struct{ name, version, want, before string }{
		{tlsrpt.RecordName(want.Domain), "v=" + tlsrpt.Version, reportText(want), reportText(before)},
		{mtasts.RecordName(want.Domain), "v=" + mtasts.Version, policyText(want), policyText(before)},
	}
	if err := u.planHost(ctx, c, want.Domain); err != nil {
		return Outcome{}, err
	}
	for _, t := range texts {
		if err := u.planText(ctx, c, t.name, t.version, t.want, t.before); err != nil {
			return Outcome{}, err
		}
	}
	if err := u.send(ctx, c); err != nil || u.o.DryRun || len(c.outcome.Foreign) > 0 {
		return c.outcome, err
	}
	for _, t := range texts {
		there, err := u.ask(ctx, t.name, dns.TypeTXT)
		if err != nil {
			return c.outcome, err
		}
		if t.want != "" && !slices.ContainsFunc(there, func(rr dns.RR) bool { return text(rr) == t.want }) {
			return c.outcome, fmt.Errorf("%s took the update, and does not have the record of %s: somebody else may change the zone too", u.o.Server, t.name)
		}
	}
	return c.outcome, nil
}

// Leave removes the record of a domain's policy host, if it is as we would make it.
func (u *Updater) Leave(ctx context.Context, domain string) (Outcome, error) {
	host := mtasts.PolicyHost(domain)
	zone, err := u.zoneOf(ctx, host)
	if err != nil {
		return Outcome{}, err
	}
	c := &change{update: new(dns.Msg).SetUpdate(zone)}
	there, err := u.hostRecords(ctx, host)
	if err != nil {
		return Outcome{}, err
	}
	for _, r := range hostRecords(host, u.o.Target, u.o.TTL) {
		for _, rr := range there {
			if wanted := r.rr(); dns.IsDuplicate(rr, wanted) {
				c.remove(rr)
			}
		}
	}
	return c.outcome, u.send(ctx, c)
}

func policyText(s Set) string {
	if s.ID == "" {
		return ""
	}
	return mtasts.Record{ID: s.ID}.String()
}

func reportText(s Set) string {
	if len(s.RUA) == 0 {
		return ""
	}
	return tlsrpt.Record{RUA: s.RUA}.String()
}

// change is an update while it is made.
type change struct {
	update  *dns.Msg
	outcome Outcome
}

func (c *change) remove(rr dns.RR) {
	c.update.Remove([]dns.RR{dns.Copy(rr)})
	c.outcome.Changed = append(c.outcome.Changed, "- "+escape(strings.ReplaceAll(rr.String(), "\t", " "), maxValue))
}

func (c *change) add(rr dns.RR) {
	c.update.Insert([]dns.RR{rr})
	c.outcome.Changed = append(c.outcome.Changed, "+ "+escape(strings.ReplaceAll(rr.String(), "\t", " "), maxValue))
}

// planText plans the change of one text at name.
func (u *Updater) planText(ctx context.Context, c *change, name, version, want, before string) error {
	there, err := u.ask(ctx, name, dns.TypeTXT)
	if err != nil {
		return err
	}
	var ours []dns.RR
	present, foreign := false, len(c.outcome.Foreign)
	for _, rr := range there {
		t := text(rr)
		switch {
		case rr.Header().Rrtype == dns.TypeCNAME:
			if want != "" {
				c.outcome.Foreign = append(c.outcome.Foreign, escape(fmt.Sprintf("%s is an alias of %s", name, rr.(*dns.CNAME).Target), maxValue))
			}
			return nil
		case t == want:
			present = true
		case t == before && before != "", isOurs(t):
			ours = append(ours, rr)
		case !strings.HasPrefix(t, version+";"):
			// Others' business.
		case u.o.Adopt && want != "":
			ours = append(ours, rr)
		case want != "":
			c.outcome.Foreign = append(c.outcome.Foreign, escape(fmt.Sprintf("%s has %q", name, t), maxValue))
		}
	}
	if len(c.outcome.Foreign) > foreign || len(ours) == 0 && (present || want == "") {
		return nil
	}
	// If somebody changes the records meanwhile, the update comes to nothing.
	if len(there) == 0 {
		c.update.RRsetNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT}}})
	} else {
		same := make([]dns.RR, len(there))
		for i, rr := range there {
			same[i] = dns.Copy(rr)
			same[i].Header().Ttl = 0 // RFC 2136 §2.4.2
		}
		c.update.Used(same)
	}
	for _, rr := range ours {
		c.remove(rr)
	}
	if want != "" && !present {
		c.add(Record{name, "TXT", want, u.o.TTL}.rr())
	}
	return nil
}

// isOurs reports whether a record announces an id as only this program makes them: it was
// killed before it could note that, or its ledger was lost.
func isOurs(txt string) bool {
	r, err := mtasts.ParseRecord(txt)
	return err == nil && mtasts.IsHashID(r.ID)
}

// planHost adds the record of the policy host where there is none.
func (u *Updater) planHost(ctx context.Context, c *change, domain string) error {
	host := mtasts.PolicyHost(domain)
	records := hostRecords(host, u.o.Target, u.o.TTL)
	if len(records) == 0 {
		return nil
	}
	there, err := u.hostRecords(ctx, host)
	if err != nil || len(there) > 0 {
		return err // whether it leads here is seen by the policy
	}
	for _, kind := range []uint16{dns.TypeCNAME, dns.TypeA, dns.TypeAAAA} {
		c.update.RRsetNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(host), Rrtype: kind}}})
	}
	for _, r := range records {
		c.add(r.rr())
	}
	return nil
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
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(name)) {
				return dns.CanonicalName(soa.Hdr.Name), nil
			}
		}
	}
	return "", fmt.Errorf("%s does not answer for a zone that %s lies in (%s): leave the domain out by dns.update.zones, or delegate it there", u.o.Server, name, said)
}

// ask returns the records of a kind at name, or the alias that stands there.
func (u *Updater) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	m, err := u.exchange(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), kind))
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
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
	if len(c.outcome.Changed) == 0 {
		return nil
	}
	if u.o.DryRun {
		u.o.Log.Info("would update", "server", u.o.Server, "zone", c.update.Question[0].Name, "records", c.outcome.Changed)
		return nil
	}
	m, err := u.exchange(ctx, c.update)
	if err != nil {
		return err
	}
	if m.Rcode == dns.RcodeSuccess {
		u.o.Log.Info("updated", "server", u.o.Server, "zone", c.update.Question[0].Name, "records", c.outcome.Changed)
		return nil
	}
	return fmt.Errorf("%s says %s to an update of %s: %s", u.o.Server, dns.RcodeToString[m.Rcode], c.update.Question[0].Name, updateHint(m.Rcode))
}

// updateHint is what to do about a refusal (RFC 2136 §2.2, RFC 8945 §5.2).
func updateHint(rcode int) string {
	switch rcode {
	case dns.RcodeRefused:
		return "allow the key, or our address, to update _mta-sts, _smtp._tls and mta-sts (update-policy, acl)"
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
			m.SetTsig(u.tsig, dns.Fqdn(u.o.TSIG.Algorithm), 300, time.Now().Unix())
		}
		answer, _, err := client.ExchangeContext(ctx, m, u.o.Server)
		if err != nil {
			return nil, u.explain(answer, err)
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("%s has more to say than fits", u.o.Server)
}

// explain says what a failed exchange means.
func (u *Updater) explain(answer *dns.Msg, err error) error {
	if answer != nil {
		if t := answer.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
			hint := map[uint16]string{
				dns.RcodeBadKey:  "it does not know the key: check its name",
				dns.RcodeBadSig:  "the key's secret or algorithm differs",
				dns.RcodeBadTime: "its clock and ours differ",
			}[t.Error]
			return fmt.Errorf("%s refuses the key %q (%s): %s", u.o.Server, u.o.TSIG.Name, dns.RcodeToString[int(t.Error)], hint)
		}
		if errors.Is(err, dns.ErrAuth) || errors.Is(err, dns.ErrNoSig) {
			return fmt.Errorf("%s says %s, unsigned: it may not know the key %q", u.o.Server, dns.RcodeToString[answer.Rcode], u.o.TSIG.Name)
		}
	}
	return fmt.Errorf("asking %s: %w", u.o.Server, err)
}
