package policyserve

import (
	"fmt"
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
}

// answer is what a policy host says, ready to be written.
type answer struct {
	host  string
	body  []byte
	state int8 // index into states
}

// NewTable builds a table. It returns an error for an unknown state, an empty body,
// and for two publications of one domain.
func NewTable(ps []Publication) (*Table, error) {
	t := &Table{answers: make(map[string]*answer, len(ps))}
	all := make([]answer, len(ps)) // one allocation for 100,000 of them
	for i, p := range ps {
		a := &all[i]
		*a = answer{host: mtasts.PolicyHost(p.Domain), body: p.Body, state: int8(slices.Index(states[:], p.State))}
		switch {
		case a.state < 0:
			return nil, fmt.Errorf("policy of %q: unknown state %q", p.Domain, p.State)
		case len(p.Body) == 0:
			return nil, fmt.Errorf("policy of %q: the body is empty", p.Domain)
		case t.answers[a.host] != nil:
			return nil, fmt.Errorf("policy of %q: there are two", p.Domain)
		}
		t.answers[a.host] = a
	}
	return t, nil
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
func (t *Table) Len() int { return len(t.answers) }

// Hosts returns the policy hosts, sorted.
func (t *Table) Hosts() []string {
	hosts := make([]string, 0, len(t.answers))
	for host := range t.answers {
		hosts = append(hosts, host)
	}
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
	if a := t.answers[host]; a != nil { // the form that nearly everybody sends
		return a
	}
	if host = normalHost(host); host == "" {
		return nil
	}
	return t.answers[host]
}
