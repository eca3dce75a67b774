package app

import (
	"mtasts-server/config"
	"mtasts-server/internal/sendercheck"
)

// Wants says of every domain what a server serves for it, as the verb verify compares it
// with what senders find: what is configured, or else what was last published.
func (v *View) Wants() map[string]*sendercheck.Want {
	target := targets(v.snap.Settings.Certificates.Preflight)
	wants := make(map[string]*sendercheck.Want, len(v.snap.Domains))
	for _, d := range v.snap.Domains {
		if e, ok := v.ledger.Lookup(d.Name); ok && contested(v.snap, e, d) {
			continue // the server does not publish it either
		}
		wants[d.Name] = &sendercheck.Want{Body: d.Body, ID: d.ID, RUA: d.TLSRPT, Target: target}
	}
	for _, e := range v.ledger.All() {
		if _, configured := wants[e.Domain]; !configured {
			wants[e.Domain] = &sendercheck.Want{Body: e.Body, ID: e.ID, Target: target}
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
