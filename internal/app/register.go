package app

import (
	"sync"

	"mtasts-server/config"
)

// register finds a domain by its name in what is configured now.
type register struct {
	snapshot func() *config.Snapshot

	mu      sync.Mutex
	indexed *config.Snapshot // that domains is of
	domains map[string]*config.Domain
}

// find returns nil for a domain that is not configured, or not valid.
func (r *register) find(name string) *config.Domain {
	r.mu.Lock()
	defer r.mu.Unlock()
	if snap := r.snapshot(); snap != r.indexed && snap != nil {
		r.domains = make(map[string]*config.Domain, len(snap.Domains))
		for _, d := range snap.Domains {
			r.domains[d.Name] = d
		}
		r.indexed = snap
	}
	return r.domains[name]
}
