package sendercheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
)

// mx looks at where mail goes. Where no policy demands it, what an MX host lacks is a
// warning: nobody relies on it.
func (j *judgement) mx() {
	set := &j.r.MX
	switch {
	case set.err != nil:
		j.find(MXUnknown, j.r.Domain, set.Error)
		return
	case !set.Exists:
		j.find(DomainMissing, j.r.Domain, "")
		return
	case set.Null:
		j.find(MXNull, j.r.Domain, "")
		return
	case set.Implicit && !j.implicit():
		return
	}
	if set.More > 0 {
		j.find(MXTooMany, j.r.Domain, fmt.Sprintf("%d of %d", set.More, set.More+len(set.Hosts)))
	}
	for _, h := range set.Hosts {
		j.match(h)
		j.host(h)
	}
	j.unused()
}

// implicit looks at a domain without MX records; it reports whether it takes mail.
func (j *judgement) implicit() bool {
	h := j.r.MX.Hosts[0]
	if h.err == nil && len(h.Addresses) == 0 {
		j.find(MXMissing, j.r.Domain, "")
		return false
	}
	j.find(MXImplicit, j.r.Domain, "")
	return true
}

// demanded reports whether the policy asks something of MX hosts.
func (j *judgement) demanded() bool {
	return j.r.Policy != nil && j.r.Policy.Mode != mtasts.ModeNone && !j.r.Record.missing()
}

// severe makes a finding about an MX host what it is to this domain.
func (j *judgement) severe(f *Finding) {
	if f.Severity == Error && !j.demanded() {
		f.Severity = Warning
	}
}

// match compares the host's name with the policy.
func (j *judgement) match(h *MXHost) {
	if h.bad != "" {
		j.severe(j.find(MXNameInvalid, h.Name, h.bad))
		return
	}
	if j.allows == nil {
		return
	}
	i := slices.IndexFunc(j.allows, func(p mtasts.MXPattern) bool { return p.Match(h.Name) })
	if i < 0 {
		j.find(MXNotInPolicy, h.Name, "the policy allows "+quoteList(j.allows))
		return
	}
	h.Pattern = string(j.allows[i])
}

// quoteList is some names, on a line.
func quoteList[name ~string](names []name) string {
	const most = 6
	some := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		some = append(some, string(n))
	}
	if more := len(names) - most; more > 0 {
		return strings.Join(some, ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(some, ", ")
}

// unused looks for patterns that no MX host has.
func (j *judgement) unused() {
	if j.r.MX.More > 0 {
		return
	}
	var unused []mtasts.MXPattern
	for _, pattern := range j.allows {
		if !slices.ContainsFunc(j.r.MX.Hosts, func(h *MXHost) bool { return pattern.Match(h.Name) }) {
			unused = append(unused, pattern)
		}
	}
	if len(unused) > 0 {
		j.find(MXPatternUnused, j.r.Host.Host, quoteList(unused))
	}
}

// host looks at what was found at an MX host.
func (j *judgement) host(h *MXHost) {
	if h.bad != "" {
		return
	}
	if len(h.Aliases) > 0 && !j.r.MX.Implicit {
		j.find(MXAlias, h.Name, "it leads to "+h.Aliases[len(h.Aliases)-1])
	}
	switch {
	case errors.Is(h.err, lookup.ErrAliasLoop):
		j.severe(j.find(MXHostMissing, h.Name, h.Error))
	case h.err != nil:
		j.find(MXHostUnknown, h.Name, h.Error)
	case len(h.Addresses) == 0 && !h.Exists:
		j.severe(j.find(MXHostMissing, h.Name, "it does not exist"))
	case len(h.Addresses) == 0:
		j.severe(j.find(MXHostMissing, h.Name, "it has neither A nor AAAA"))
	case h.skipped:
		j.find(MXSkipped, h.Name, "")
	}
	reached := slices.ContainsFunc(h.Probes, func(p Probe) bool { return p.Stage != stageConnect })
	for _, p := range h.Probes {
		for _, t := range p.troubles {
			f := j.find(t.code, h.Name, t.evidence, p.Addr)
			j.severe(f)
			if t.code == MXNoRoute && reached {
				f.Severity = Note
			}
		}
	}
	switch {
	case h.tlsaErr != nil:
		j.find(DANEUnknown, h.Name, errorText(h.tlsaErr))
	case h.DANE:
		j.find(DANE, h.Name, fmt.Sprintf("%d TLSA records", len(h.TLSA)))
	case len(h.TLSA) > 0:
		j.find(DANEUnsigned, h.Name, fmt.Sprintf("%d TLSA records", len(h.TLSA)))
	}
}
