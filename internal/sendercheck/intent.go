package sendercheck

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mtasts-server/mtasts"
)

// intent compares what is there with what is meant, for a domain of ours.
func (j *judgement) intent(ctx context.Context) {
	if j.want.Published != "" {
		j.find(Publication, j.r.Record.Name, plain(j.want.Published))
	}
	served := j.served()
	j.id(served)
	j.target(ctx)
	if len(j.want.RUA) > 0 && j.r.TLSRPT.err == nil && !slices.Equal(j.r.TLSRPT.RUA, j.want.RUA) {
		evidence := "there is none"
		if len(j.r.TLSRPT.RUA) > 0 {
			evidence = "it has " + quote(strings.Join(j.r.TLSRPT.RUA, ","))
		}
		j.find(RUADiffers, j.r.TLSRPT.Name, evidence+", meant is "+quote(strings.Join(j.want.RUA, ",")))
	}
}

// served compares the bodies, and reports whether every address that answers serves
// what is meant, and one does.
func (j *judgement) served() bool {
	same, other := 0, 0
	for _, f := range j.r.Host.Fetches {
		switch {
		case f.Err != nil:
		case bytes.Equal(f.Body, j.want.Body):
			same++
		default:
			other++
			j.find(ServedDiffers, j.r.Host.Host, difference(f.Body, j.want.Body), f.Addr)
		}
	}
	return same > 0 && other == 0
}

// id compares the record's id with the one that belongs to the policy that is meant.
func (j *judgement) id(served bool) {
	id, want := j.r.Record.ID, j.want.ID
	switch {
	case id == "": // there is a finding about the record
	case id == want && served:
	case id == want:
		if slices.ContainsFunc(j.r.Host.Fetches, func(f Fetch) bool { return f.Err == nil }) {
			j.find(IDEarly, j.r.Record.Name, fmt.Sprintf("announced is %q", id))
		}
	default:
		f := j.find(IDDiffers, j.r.Record.Name, fmt.Sprintf("announced is %q, meant is %q; %s", id, want, j.live(id, served)))
		if served {
			f.Text = "the record has another id than the policy that is served: senders keep the policy that they have until it expires"
			f.Fix = fmt.Sprintf("publish at %s: %s", j.r.Record.Name, mtasts.Record{ID: want})
		}
	}
}

// live says which policy senders get meanwhile.
func (j *judgement) live(id string, served bool) string {
	switch {
	case served:
		return "the policy that is meant is served"
	case j.r.Policy == nil:
		return "no policy is served"
	case j.r.Policy.ID == id:
		return "the policy before is served, and its id announced"
	}
	return "another policy is served"
}

// target compares where the policy host leads to.
func (j *judgement) target(ctx context.Context) {
	h := j.r.Host
	if len(j.want.Target) == 0 || h.Err != nil || len(h.Fetches) == 0 {
		return
	}
	var nets []netip.Prefix
	for _, s := range j.want.Target {
		if p, err := netip.ParsePrefix(s); err == nil {
			nets = append(nets, p)
		} else if a, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(a, a.BitLen()))
		} else if name := trimDot(strings.ToLower(s)); slices.Contains(h.Aliases, name) {
			return
		} else {
			addrs, _, err := j.c.addresses(ctx, name)
			if err != nil {
				return // a mistake of ours is nobody else's trouble
			}
			for _, a := range addrs {
				nets = append(nets, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	for _, f := range h.Fetches {
		if !slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(f.Addr) }) {
			j.find(HostElsewhere, h.Host, "it should lead to "+quoteList(j.want.Target), f.Addr)
		}
	}
}
