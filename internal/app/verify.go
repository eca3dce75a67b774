package app

import (
	"fmt"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/sendercheck"
)

// Wanted is what is meant for a domain, and the file that says so.
type Wanted struct {
	*sendercheck.Want
	File string
}

// Wants says of every domain what a server serves for it, as the verb verify compares it
// with what senders find: what is configured, or else what was last published.
func (v *View) Wants() map[string]Wanted {
	target := v.snap.Settings.DNS.Target
	if len(target) == 0 {
		target = targets(v.snap.Settings.Certificates.Preflight)
	}
	wants := make(map[string]Wanted, len(v.snap.Domains))
	for _, d := range v.snap.Domains {
		d = v.served(d)
		if e, ok := v.ledger.Lookup(d.Name); ok && contested(v.snap, e, d) {
			continue // the server does not publish it either
		}
		wants[d.Name] = Wanted{&sendercheck.Want{Body: d.Body, ID: d.ID, RUA: d.TLSRPT, Target: target}, d.File}
	}
	for _, e := range v.ledger.All() {
		if _, configured := wants[e.Domain]; !configured {
			wants[e.Domain] = Wanted{&sendercheck.Want{Body: e.Body, ID: e.ID, Target: target}, e.Source}
		}
	}
	if v.snap.Settings.DNS.Publishes() {
		for domain, w := range wants {
			w.Published = v.publication(domain, w.ID)
		}
	}
	return wants
}

// publication says how far the announcement of a policy is, by the ledger.
func (v *View) publication(domain, id string) string {
	a, ok := v.ledger.Announced(domain)
	switch {
	case ok && a.ID == id:
		return "this server announced the id on " + a.At.Format(time.RFC3339)
	case ok && a.ID != "":
		return fmt.Sprintf("this server announced the id %s on %s, and not yet %s", a.ID, a.At.Format(time.RFC3339), id)
	}
	return "this server has not announced the id yet"
}

// targets is where policy hosts lead to that lead here, as far as the configuration
// says.
func targets(p config.Preflight) (all []string) {
	for _, prefix := range p.Addresses {
		all = append(all, prefix.String())
	}
	return append(all, p.Names...)
}

// Publishes reports whether the server publishes records in DNS.
func (v *View) Publishes() bool { return v.snap.Settings.DNS.Publishes() }

// Resolvers are the recursive name servers that the configuration names, "address:port";
// none for those of the system.
func (v *View) Resolvers() []string { return v.snap.Settings.DNS.Resolvers }

// Private reports whether policy hosts may lead to private addresses.
func (v *View) Private() bool { return v.snap.Settings.DNS.Private }
