package sendercheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// maxPolicyAddrs bounds the addresses of one policy host. Content delivery networks
// give up to eight.
const maxPolicyAddrs = 32

// maxCircle bounds how far a chain of aliases is followed by hand.
const maxCircle = 8

// PolicyHost is what was found at mta-sts.<domain>.
type PolicyHost struct {
	Host    string
	Aliases []string // CNAMEs on the way, and where they lead to last
	Exists  bool     // in DNS
	Fetches []Fetch  // one for each address, IPv4 first
	Err     error    // DNS does not say which addresses there are; Fetches are of those that are known
}

// Fetch is an attempt to get the policy from one address.
type Fetch struct {
	Addr      netip.Addr
	TLS       string // version
	Status    int
	MediaType string
	Body      []byte // of an answer with status 200 that a sender would take
	Took      time.Duration
	NotAfter  time.Time // of the certificate
	Result    tlsrpt.ResultType
	Err       error // why a sender has no policy from there

	troubles []trouble
}

// Same says whether every address gave body, byte for byte. Its error names the first
// that did not, and how; that there is no address is one too.
func (h *PolicyHost) Same(body []byte) error {
	if h.Err != nil {
		return fmt.Errorf("nobody knows all addresses of %s: %w", h.Host, h.Err)
	}
	if len(h.Fetches) == 0 {
		return fmt.Errorf("%s has no address", h.Host)
	}
	for _, f := range h.Fetches {
		switch {
		case f.Err != nil:
			return fmt.Errorf("%s at %s: %w", h.Host, f.Addr, f.Err)
		case !bytes.Equal(f.Body, body):
			return fmt.Errorf("%s at %s serves another policy: %s", h.Host, f.Addr, difference(f.Body, body))
		}
	}
	return nil
}

// difference says where two bodies begin to differ.
func difference(got, want []byte) string {
	if len(got) == 0 {
		return "it is empty"
	}
	have, wanted := lines(got), lines(want)
	for i := range max(len(have), len(wanted)) {
		switch {
		case i >= len(wanted):
			return fmt.Sprintf("line %d is %s, where nothing should be", i+1, quote(string(have[i])))
		case i >= len(have):
			return fmt.Sprintf("line %d should be %s, where nothing is", i+1, quote(string(wanted[i])))
		case !bytes.Equal(have[i], wanted[i]):
			return fmt.Sprintf("line %d is %s, should be %s", i+1, quote(string(have[i])), quote(string(wanted[i])))
		}
	}
	return "it is the same"
}

// lines are the lines of a text with their ends.
func lines(text []byte) [][]byte {
	all := bytes.SplitAfter(text, []byte("\n"))
	if n := len(all) - 1; len(all[n]) == 0 {
		all = all[:n]
	}
	return all
}

// Fetch gets the policy of domain from every address of its host, A and AAAA each on
// its own, as a sender does.
func (c *Checker) Fetch(ctx context.Context, domain string) *PolicyHost {
	h := &PolicyHost{Host: mtasts.PolicyHost(domain)}
	addrs, found, err := c.addresses(ctx, h.Host)
	h.Aliases, h.Exists, h.Err = found.aliases, found.exists, err
	if len(addrs) > maxPolicyAddrs {
		h.Err = errors.Join(h.Err, fmt.Errorf("%s has %d addresses, of which %d are looked at", h.Host, len(addrs), maxPolicyAddrs))
		addrs = addrs[:maxPolicyAddrs]
	}
	h.Fetches = make([]Fetch, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { h.Fetches[i] = c.fetch(ctx, h.Host, addr) })
	}
	wg.Wait()
	return h
}

// name is how a name is found in DNS.
type name struct {
	aliases []string // with where they lead to
	exists  bool
}

// addresses returns the addresses of a host, sorted, IPv4 first. With an error those of
// one kind may be missing.
func (c *Checker) addresses(ctx context.Context, host string) (addrs []netip.Addr, n name, err error) {
	var errs [2]error
	var answers [2]lookup.Answer
	var wg sync.WaitGroup
	for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		wg.Go(func() { answers[i], errs[i] = c.lookup(ctx, host, kind) })
	}
	wg.Wait()
	for i, a := range answers {
		if errs[i] != nil {
			continue
		}
		n.exists = n.exists || a.Exists
		n.aliases = wayOf(a)
		addrs = append(addrs, a.Addresses()...)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), n, errors.Join(errs[:]...)
}

// wayOf is the aliases on the way, and where they lead to last.
func wayOf(a lookup.Answer) []string {
	if len(a.Aliases) == 0 {
		return nil
	}
	way := append(slices.Clone(a.Aliases), a.Name)
	for i := range way {
		way[i] = trimDot(way[i])
	}
	return way
}

// lookup asks DNS, and once more if the answer may just have been lost.
func (c *Checker) lookup(ctx context.Context, name string, kind uint16) (lookup.Answer, error) {
	a, err := c.dns.Lookup(ctx, name, kind)
	if err == nil || errors.Is(err, lookup.ErrAliasLoop) || ctx.Err() != nil {
		return a, err
	}
	again, err := c.dns.Lookup(ctx, name, kind)
	if _, answered := errors.AsType[*lookup.RcodeError](err); answered && c.goesRound(ctx, name) {
		err = fmt.Errorf("%s is %w", name, lookup.ErrAliasLoop)
	}
	return again, err
}

// goesRound reports whether the aliases of name come back to one of them. Most name
// servers say no more than SERVFAIL then.
func (c *Checker) goesRound(ctx context.Context, name string) bool {
	seen := map[string]bool{}
	for range maxCircle {
		if seen[name] {
			return true
		}
		seen[name] = true
		a, err := c.dns.Lookup(ctx, name, dns.TypeCNAME)
		if err != nil || len(a.Records) == 0 {
			return false
		}
		name = trimDot(strings.ToLower(a.Records[0].(*dns.CNAME).Target))
	}
	return true
}

// MarshalJSON tells of the bodies by their ids: the one that senders get stands in the
// report.
func (h *PolicyHost) MarshalJSON() ([]byte, error) {
	type fetch struct {
		Addr      netip.Addr        `json:"addr"`
		Status    int               `json:"status,omitempty"`
		MediaType string            `json:"media_type,omitempty"`
		Size      int               `json:"size,omitempty"`
		BodyID    string            `json:"body_id,omitempty"`
		TLS       string            `json:"tls,omitempty"`
		NotAfter  time.Time         `json:"not_after,omitzero"`
		Result    tlsrpt.ResultType `json:"result_type,omitempty"`
		Error     string            `json:"error,omitempty"`
		Took      time.Duration     `json:"took_ns"`
	}
	fetches := make([]fetch, len(h.Fetches))
	for i, f := range h.Fetches {
		fetches[i] = fetch{f.Addr, f.Status, f.MediaType, len(f.Body), "", f.TLS, f.NotAfter, f.Result, errorText(f.Err), f.Took}
		if f.Err == nil {
			fetches[i].BodyID = mtasts.ID(f.Body)
		}
	}
	return json.Marshal(struct {
		Host    string   `json:"host"`
		Aliases []string `json:"aliases,omitempty"`
		Exists  bool     `json:"exists"`
		Fetches []fetch  `json:"fetches"`
		Error   string   `json:"error,omitempty"`
	}{h.Host, h.Aliases, h.Exists, fetches, errorText(h.Err)})
}

// errorText is an error on one line of printable characters.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return plain(err.Error())
}
