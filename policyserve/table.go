package policyserve

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"mtasts-server/mtasts"
)

// State says whether a policy is served as it is configured. It is a metric label.
type State string

// The states.
const (
	Current State = "current" // as configured
	Kept    State = "kept"    // as last published, because what is configured is not valid
)

// states in the order of the counters.
var states = [...]State{Current, Kept}

// Publication is a policy to serve.
type Publication struct {
	Domain string // the policy domain: lower-case A-labels, no final dot
	Body   []byte // served as it is
	State  State
}

// Table holds the answers for a set of policy hosts. It is never changed.
type Table struct {
	answers map[string]*answer // by policy host
	changes map[string]*answer // what is different by now; nil: the host is gone
	n       int
}

// answer is what a policy host says, ready to be written.
type answer struct {
	host  string
	body  []byte
	state int8 // index into states
}

// NewTable builds a table. It returns an error for an unknown state, an empty body,
// and for two publications of one domain.
func NewTable(ps []Publication) (*Table, error) { return new(Table).With(ps, nil) }

// fold is which part of a table may have changed before it is built anew. One file of a
// thousand is edited: that must not take as long as reading all of them.
const fold = 8

// With returns a table in which ps are published as well, in place of what was published
// of their domains, and the domains of gone are not any more. Errors are those of
// NewTable.
func (t *Table) With(ps []Publication, gone []string) (*Table, error) {
	made := make(map[string]*answer, len(ps)+len(gone))
	for _, domain := range gone {
		made[mtasts.PolicyHost(domain)] = nil
	}
	all := make([]answer, len(ps)) // one allocation for 100,000 of them
	for i, p := range ps {
		a := &all[i]
		*a = answer{host: mtasts.PolicyHost(p.Domain), body: p.Body, state: int8(slices.Index(states[:], p.State))}
		switch {
		case a.state < 0:
			return nil, fmt.Errorf("policy of %q: unknown state %q", p.Domain, p.State)
		case len(p.Body) == 0:
			return nil, fmt.Errorf("policy of %q: the body is empty", p.Domain)
		case made[a.host] != nil:
			return nil, fmt.Errorf("policy of %q: there are two", p.Domain)
		}
		made[a.host] = a
	}
	if len(t.answers) == 0 && len(gone) == 0 {
		return &Table{answers: made, n: len(made)}, nil
	}
	next := &Table{answers: t.answers, changes: maps.Clone(t.changes), n: t.n}
	if next.changes == nil {
		next.changes = made
	}
	for host, a := range made {
		if t.get(host) != nil {
			next.n--
		}
		if a != nil {
			next.n++
		}
		next.changes[host] = a
	}
	if len(next.changes) > len(t.answers)/fold {
		next = next.folded()
	}
	return next, nil
}

// folded is t without changes.
func (t *Table) folded() *Table {
	next := &Table{answers: make(map[string]*answer, t.n), n: t.n}
	all := make([]answer, 0, t.n) // copies, or what is gone would be held by what is not
	t.each(func(a *answer) {
		all = append(all, *a)
		next.answers[a.host] = &all[len(all)-1]
	})
	return next
}

// each calls f with every answer.
func (t *Table) each(f func(*answer)) {
	for host, a := range t.answers {
		if _, changed := t.changes[host]; !changed {
			f(a)
		}
	}
	for _, a := range t.changes {
		if a != nil {
			f(a)
		}
	}
}

// get returns the answer of a host in its normal form, nil for a stranger.
func (t *Table) get(host string) *answer {
	if len(t.changes) > 0 {
		if a, changed := t.changes[host]; changed {
			return a
		}
	}
	return t.answers[host]
}

// commonLengths are the Content-Length headers of nearly all policies, made once:
// many have few different lengths.
var commonLengths = func() (h [1024][]string) {
	for n := range h {
		h[n] = []string{strconv.Itoa(n)}
	}
	return h
}()

func contentLength(n int) []string {
	if n < len(commonLengths) {
		return commonLengths[n]
	}
	return []string{strconv.Itoa(n)}
}

// Len returns the number of policy hosts.
func (t *Table) Len() int { return t.n }

// Hosts returns the policy hosts, sorted.
func (t *Table) Hosts() []string {
	hosts := make([]string, 0, t.n)
	t.each(func(a *answer) { hosts = append(hosts, a.host) })
	slices.Sort(hosts)
	return hosts
}

// Lookup returns the body that is served for a policy host, as it may stand in a
// Host header or a server name: "MTA-STS.Example.COM.:443". The body must not be
// changed.
func (t *Table) Lookup(host string) (body []byte, ok bool) {
	if a := t.find(host); a != nil {
		return a.body, true
	}
	return nil, false
}

// find returns the answer of a host in any form, nil for a stranger.
func (t *Table) find(host string) *answer {
	if a := t.get(host); a != nil { // the form that nearly everybody sends
		return a
	}
	if host = normalHost(host); host == "" {
		return nil
	}
	return t.get(host)
}
