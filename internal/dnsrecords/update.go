package dnsrecords

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
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

// Updater changes zones of others by dynamic update (RFC 2136). It may be used by several
// goroutines, for different domains.
type Updater struct {
	o    UpdaterOptions
	tsig string // the key's name, "" for none

	// placed are texts that we put somewhere, or may have: nobody heard how the update
	// ended. They are ours, although before does not tell of them yet.
	mu     sync.Mutex
	placed map[string][]string // by name
}

// maxPlaced bounds the names in placed: what is not remembered is taken for somebody
// else's, if it has to be replaced before it was recorded as ours.
const maxPlaced = 10_000

// Outcome is what an update came to.
type Outcome struct {
	Changed []string // records removed ("-") and added ("+")
	Foreign []string // records of others that stand in the way; then nothing is changed
}

// NewUpdater returns an Updater. It asks nobody yet.
func NewUpdater(o UpdaterOptions) (*Updater, error) {
	u := &Updater{o: o, placed: map[string][]string{}}
	if o.Timeout == 0 {
		u.o.Timeout = 5 * time.Second
	}
	if o.Log == nil {
		u.o.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := netip.ParseAddrPort(o.Server); err != nil {
		return nil, fmt.Errorf("the name server %q is no address with a port", o.Server)
	}
	if o.TTL < time.Second {
		return nil, fmt.Errorf("a TTL of %s is none: it is whole seconds", o.TTL)
	}
	if o.TSIG == nil {
		return u, nil
	}
	if u.tsig = dns.CanonicalName(o.TSIG.Name); u.tsig == "." {
		return nil, errors.New("the TSIG key has no name")
	}
	if !slices.Contains(tsigAlgorithms, dns.CanonicalName(o.TSIG.Algorithm)) {
		return nil, fmt.Errorf("the TSIG algorithm %q is not known: use hmac-sha256", o.TSIG.Algorithm)
	}
	if secret, err := base64.StdEncoding.DecodeString(o.TSIG.Secret); err != nil || len(secret) == 0 {
		return nil, errors.New("the TSIG key's secret is no base64")
	}
	return u, nil
}

var tsigAlgorithms = []string{dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512, dns.HmacSHA224, dns.HmacSHA1}

// label is one text that a domain announces, in a record of its own.
type label struct {
	name, version string
	want, before  string // "" for none
}

// Apply brings about what want announces, where before is what we announced last. What is
// the same in both is not touched: where nothing is announced yet, as far as we know, a
// record that is there stays. Only what we announced is removed; where senders would take a record of others for ours, it
// is told of in the outcome, and nothing is changed: with two records senders see none (RFC
// 8461 §3.1), and what we announce would be recorded nowhere. That the records are there is
// seen by asking for them once more.
func (u *Updater) Apply(ctx context.Context, want, before Set) (Outcome, error) {
	c := &change{}
	labels := labelsOf(want, before)
	host := mtasts.PolicyHost(want.Domain)
	if err := u.planHost(ctx, c, host); err != nil {
		return Outcome{}, err
	}
	labels = slices.DeleteFunc(labels, func(l label) bool { return l.want == l.before })
	for _, l := range labels {
		if err := u.planText(ctx, c, l); err != nil {
			return Outcome{}, err
		}
	}
	if len(c.outcome.Foreign) > 0 {
		return Outcome{Foreign: c.outcome.Foreign}, nil
	}
	if err := u.send(ctx, c); err != nil || u.o.DryRun {
		return c.outcome, err
	}
	if c.adds(host) {
		if err := u.seeHost(ctx, host); err != nil {
			return c.outcome, err
		}
	}
	for _, l := range labels {
		if err := u.seeText(ctx, l); err != nil {
			return c.outcome, err
		}
	}
	return c.outcome, nil
}

// labelsOf are the texts that change from before to want, the id last.
func labelsOf(want, before Set) []label {
	return []label{
		{tlsrpt.RecordName(want.Domain), "v=" + tlsrpt.Version + ";", reportText(want), reportText(before)},
		{mtasts.RecordName(want.Domain), "v=" + mtasts.Version + ";", policyText(want), policyText(before)},
	}
}

// Withdraw removes what before announces, the id too, and nothing else: an id that somebody
// else has announced since, as whoever the domain moved to, stays, also if it was made by this
// program. The policy host's record is left to Leave.
func (u *Updater) Withdraw(ctx context.Context, before Set) (Outcome, error) {
	c := &change{}
	for _, l := range slices.Backward(labelsOf(Set{Domain: before.Domain}, before)) {
		if l.before == "" {
			continue
		}
		if err := u.planText(ctx, c, l); err != nil {
			return Outcome{}, err
		}
	}
	return c.outcome, u.send(ctx, c)
}

// Leave removes the record of a domain's policy host, if it is as we would make it.
func (u *Updater) Leave(ctx context.Context, domain string) (Outcome, error) {
	host := mtasts.PolicyHost(domain)
	c := &change{}
	ours, err := u.ourHost(ctx, host)
	if err != nil || len(ours) == 0 {
		return Outcome{}, err
	}
	message, err := u.messageFor(ctx, c, host)
	if err != nil {
		return Outcome{}, err
	}
	for _, rr := range ours {
		c.remove(message, rr)
	}
	if err := u.send(ctx, c); err != nil || u.o.DryRun {
		return c.outcome, err
	}
	if ours, err = u.ourHost(ctx, host); err == nil && len(ours) > 0 {
		err = fmt.Errorf("%s took the update, and still has the record of %s", u.o.Server, host)
	}
	return c.outcome, err
}

// ourHost are the records of a policy host that are as we would make them.
func (u *Updater) ourHost(ctx context.Context, host string) ([]dns.RR, error) {
	there, err := u.hostRecords(ctx, host)
	return slices.DeleteFunc(there, func(rr dns.RR) bool {
		return !slices.ContainsFunc(hostRecords(host, u.o.Target, u.o.TTL), func(r Record) bool { return dns.IsDuplicate(rr, r.rr()) })
	}), err
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

// ours are the texts that we put at a name, or may have, apart from before.
func (u *Updater) ours(l label) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if texts := u.placed[l.name]; len(texts) == 1 && texts[0] == l.before {
		delete(u.placed, l.name) // it was recorded
	}
	return slices.Clone(u.placed[l.name])
}

// place notes that we may have put text at name; surely says that nothing else of ours is
// left there.
func (u *Updater) place(name, text string, surely bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for old := range u.placed {
		if len(u.placed) < maxPlaced {
			break
		}
		delete(u.placed, old)
	}
	switch {
	case surely && text == "":
		delete(u.placed, name)
	case surely:
		u.placed[name] = []string{text}
	case text != "" && !slices.Contains(u.placed[name], text):
		u.placed[name] = append(u.placed[name], text)
	}
}
