package app

import (
	"maps"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/policyserve"
)

// revision is how what is served changes. One edited file of a thousand is a small one:
// what it does not touch is not looked at.
type revision struct {
	publications []policyserve.Publication // to serve, in place of what was served of these domains
	records      []ledger.Publication      // the same, as far as they are configured
	gone         []string                  // domains that are served no more
	forgotten    []string                  // those of them that the ledger is to forget

	ids                    map[string]string // of what is published
	kept                   map[string]kept
	added, changed, mended []string
	newlyKept              map[string]kept // or for another reason than before
}

// touched returns the domains of which snap may say something else than what is served,
// with nil for those that are not configured and valid.
func (p *publisher) touched(snap *config.Snapshot) map[string]*config.Domain {
	domains := make(map[string]*config.Domain)
	before, now := []*config.Domain(nil), snap.Domains
	if p.snap != nil && p.ledger.Version() == p.version && maps.Equal(p.snap.Broken, snap.Broken) {
		before, now = differing(p.snap.Domains, snap.Domains)
	} else {
		for domain := range p.plan.ids {
			domains[domain] = nil
		}
		for _, e := range p.ledger.All() {
			domains[e.Domain] = nil
		}
	}
	for _, d := range before {
		domains[d.Name] = nil
	}
	for domain := range p.plan.kept {
		domains[domain] = nil
	}
	for _, d := range now {
		domains[d.Name] = d
	}
	return domains
}

// addStaged adds the domains whose stage may have changed, and those that wait for theirs.
func (p *publisher) addStaged(touched map[string]*config.Domain, snap *config.Snapshot) {
	again := p.stager.changed()
	if len(again) == 0 {
		return
	}
	for _, d := range snap.Domains {
		if again[d.Name] {
			touched[d.Name] = d
		}
	}
}

// differing leaves out what two lists have in common at their starts and ends. A file
// that was not read anew has the same domains at the same place.
func differing(a, b []*config.Domain) (_, _ []*config.Domain) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}

// revise says what is to be served of the touched domains: each valid one as configured,
// and each one that was published and is not valid now as it was, until it is forgotten
// or was withdrawn for long enough.
func (p *publisher) revise(snap *config.Snapshot, touched map[string]*config.Domain, letGo func(kept) bool) *revision {
	rev := &revision{
		publications: make([]policyserve.Publication, 0, len(touched)),
		records:      make([]ledger.Publication, 0, len(touched)),
		ids:          make(map[string]string, len(touched)),
		kept:         make(map[string]kept),
		newlyKept:    make(map[string]kept),
	}
	for domain, d := range touched {
		e, published := p.ledger.Lookup(domain)
		if d != nil && !(published && contested(snap, e, d)) {
			rev.serve(d, &p.plan)
			continue
		}
		if published {
			k := keep(snap, e)
			if !letGo(k) {
				rev.keep(k, &p.plan)
				continue
			}
			rev.forgotten = append(rev.forgotten, domain)
		}
		if _, served := p.plan.ids[domain]; served {
			rev.gone = append(rev.gone, domain)
		}
	}
	return rev
}

// serve publishes d as configured.
func (r *revision) serve(d *config.Domain, before *plan) {
	r.publications = append(r.publications, policyserve.Publication{Domain: d.Name, Body: d.Body, State: stateCurrent})
	r.records = append(r.records, ledger.Publication{Domain: d.Name, ID: d.ID, Body: d.Body, Source: d.File})
	r.ids[d.Name] = d.ID
	was, served := before.ids[d.Name]
	_, wasKept := before.kept[d.Name]
	switch {
	case !served:
		r.added = append(r.added, d.Name)
	case was != d.ID:
		r.changed = append(r.changed, d.Name)
	case wasKept:
		r.mended = append(r.mended, d.Name)
	}
}

// keep goes on serving k as it was last published.
func (r *revision) keep(k kept, before *plan) {
	r.publications = append(r.publications, policyserve.Publication{Domain: k.Domain, Body: k.Body, State: stateKept})
	r.ids[k.Domain], r.kept[k.Domain] = k.ID, k
	was, served := before.ids[k.Domain]
	old, wasKept := before.kept[k.Domain]
	switch {
	case !wasKept || old.reason != k.reason || old.detail != k.detail:
		r.newlyKept[k.Domain] = k
	case was != k.ID:
		r.changed = append(r.changed, k.Domain)
	}
	if !served {
		r.added = append(r.added, k.Domain)
	}
}

// take applies r.
func (pl *plan) take(r *revision) {
	if pl.ids == nil {
		pl.ids, pl.kept = r.ids, r.kept
		return
	}
	for domain, id := range r.ids {
		pl.ids[domain] = id
		delete(pl.kept, domain)
	}
	maps.Copy(pl.kept, r.kept)
	for _, domain := range r.gone {
		delete(pl.ids, domain)
		delete(pl.kept, domain)
	}
}
