package app

import (
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
	target := targets(v.snap.Settings.Certificates.Preflight)
	wants := make(map[string]Wanted, len(v.snap.Domains))
	for _, d := range v.snap.Domains {
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
	return wants
}

// targets is where policy hosts lead to that lead here, as far as the configuration
// says.
func targets(p config.Preflight) (all []string) {
	for _, prefix := range p.Addresses {
		all = append(all, prefix.String())
	}
	return append(all, p.Names...)
}
