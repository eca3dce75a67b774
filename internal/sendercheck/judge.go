package sendercheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// judgement makes findings of what a look at a domain brought.
type judgement struct {
	c    *Checker
	r    *Report
	want *Want

	// allows are the MX hosts that senders deliver to: those of the policy that they get,
	// else of the one that is meant. nil: any.
	allows []mtasts.MXPattern
}

// find adds a finding about subject, or an address of it. What was found at another
// address already becomes one finding about both.
func (j *judgement) find(code, subject, evidence string, addrs ...netip.Addr) *Finding {
	e := catalogue[code]
	for i := range j.r.Findings {
		f := &j.r.Findings[i]
		if f.Code == code && f.Subject == subject && f.Evidence == evidence && len(addrs) > 0 {
			f.Addresses = append(f.Addresses, addrs...)
			return f
		}
	}
	j.r.Findings = append(j.r.Findings, Finding{
		Code: code, Severity: e.severity, Result: e.result, Subject: subject, Addresses: addrs, Text: e.text, Evidence: evidence, Rule: e.rule,
		Fix: strings.ReplaceAll(e.fix, "$", j.r.Domain),
	})
	return &j.r.Findings[len(j.r.Findings)-1]
}

func (j *judgement) all(ctx context.Context) {
	j.r.Findings = []Finding{}
	j.policy()
	if j.unpublished() {
		f := j.find(NotPublished, j.r.Domain, j.whyUnpublished())
		if j.want != nil {
			f.Severity = Error
		}
	} else {
		j.record()
	}
	if !j.unpublished() || j.want != nil {
		j.policyHost()
	}
	if j.r.Policy != nil {
		j.content()
	}
	j.mx()
	j.tlsrpt()
	if j.want != nil {
		j.intent(ctx)
	}
	j.sort()
	j.r.Verdict = j.verdict()
}

// sort puts what is worst first, and otherwise leaves the order of the walk.
func (j *judgement) sort() {
	order := []Severity{Error, Unknown, Warning, Note}
	slices.SortStableFunc(j.r.Findings, func(a, b Finding) int {
		return slices.Index(order, a.Severity) - slices.Index(order, b.Severity)
	})
}

// policy finds out which policy senders get: that of the first address which has a
// valid one.
func (j *judgement) policy() {
	for _, f := range j.r.Host.Fetches {
		if f.Err != nil {
			continue
		}
		if p, err := mtasts.Parse(f.Body); err == nil {
			j.r.Policy = &Policy{Mode: p.Mode, MX: []string{}, MaxAge: p.MaxAge, ID: mtasts.ID(f.Body), Text: printable(string(f.Body)), policy: p}
			for _, mx := range p.MX {
				j.r.Policy.MX = append(j.r.Policy.MX, string(mx))
			}
			if p.Mode != mtasts.ModeNone {
				j.allows = p.MX
			}
			return
		}
	}
	if j.want != nil {
		if p, err := mtasts.Parse(j.want.Body); err == nil && p.Mode != mtasts.ModeNone {
			j.allows = p.MX
		}
	}
}

// unpublished reports whether there is neither record nor policy. A host that serves
// something else is no policy: where all names below a domain exist it is the web server.
func (j *judgement) unpublished() bool {
	return j.r.Record.missing() && j.r.Policy == nil && !j.misspelt() && !j.dangling()
}

func (j *judgement) whyUnpublished() string {
	h := j.r.Host
	record := fmt.Sprintf("%s has no such TXT record", j.r.Record.Name)
	if !j.r.Record.Exists {
		record = fmt.Sprintf("%s does not exist", j.r.Record.Name)
	}
	switch {
	case h.Err != nil:
		return record + ", and nobody knows about " + h.Host
	case !h.Exists:
		return record + ", nor does " + h.Host
	case len(h.Fetches) == 0:
		return record + ", and " + h.Host + " has no address"
	}
	return record + ", and " + h.Host + " serves no policy"
}

// misspelt reports whether somebody tried to write the record.
func (j *judgement) misspelt() bool {
	return slices.ContainsFunc(j.r.Record.raw, looksLikeRecord)
}

func looksLikeRecord(txt string) bool       { return strings.HasPrefix(bare(txt), "v=stsv") }
func looksLikeReportRecord(txt string) bool { return strings.HasPrefix(bare(txt), "v=tlsrptv") }

// bare is a text without what people put in by mistake.
func bare(txt string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\"'\u201c\u201d\u00a0", r) {
			return -1
		}
		return r
	}, txt))
}

// dangling reports whether the record is an alias of something without a record.
func (j *judgement) dangling() bool {
	return j.r.Record.missing() && len(j.r.Record.Aliases) > 0 && len(j.r.Record.raw) == 0
}

func (j *judgement) record() {
	r := &j.r.Record
	texts := fmt.Sprintf("%d TXT records", len(r.raw))
	if len(r.raw) > 0 {
		texts = quoteAll(r.raw)
	}
	switch {
	case errors.Is(r.err, lookup.ErrAliasLoop):
		j.find(RecordAliasLoop, r.Name, r.Error)
	case r.err != nil:
		j.find(RecordUnknown, r.Name, r.Error)
	case r.missing() && j.misspelt():
		j.find(RecordMisspelt, r.Name, texts)
	case j.dangling():
		j.find(RecordDangling, r.Name, "it leads to "+r.Aliases[len(r.Aliases)-1])
	case r.missing():
		f := j.find(RecordMissing, r.Name, j.whyNoRecord())
		if j.r.Policy.Mode == mtasts.ModeNone && j.want == nil {
			f.Severity = Note // the last step of a withdrawal (RFC 8461 §8.3)
		}
	case errors.Is(r.bad, mtasts.ErrMultipleRecords):
		j.find(RecordMultiple, r.Name, texts)
	case r.bad != nil:
		j.find(RecordInvalid, r.Name, errorText(r.bad))
	default:
		if len(r.raw) > 1 {
			j.find(RecordNeighbours, r.Name, texts)
		}
		for _, txt := range r.raw {
			if strings.HasPrefix(txt, "v="+mtasts.Version+";") && strings.Count(strings.ReplaceAll(txt, " ", ""), ";id=") > 1 {
				j.find(RecordTwoIDs, r.Name, quote(txt))
			}
		}
	}
}

func (j *judgement) whyNoRecord() string {
	r := &j.r.Record
	switch {
	case !r.Exists:
		return "the name does not exist"
	case len(r.raw) > 0:
		return "the TXT records there are others: " + quoteAll(r.raw)
	}
	return "the name has no TXT record"
}

// quoteAll is some texts from outside, on a line.
func quoteAll(texts []string) string {
	const most = 3
	more := ""
	if len(texts) > most {
		more = fmt.Sprintf(" and %d more", len(texts)-most)
		texts = texts[:most]
	}
	all := make([]string, len(texts))
	for i, s := range texts {
		all[i] = quote(s)
	}
	return strings.Join(all, " and ") + more
}

func (j *judgement) policyHost() {
	h := j.r.Host
	switch {
	case errors.Is(h.Err, lookup.ErrAliasLoop):
		j.find(PolicyHostAliasLoop, h.Host, errorText(h.Err))
	case h.Err != nil:
		j.find(PolicyHostUnknown, h.Host, errorText(h.Err))
	case len(h.Fetches) == 0:
		why := "it does not exist"
		if h.Exists {
			why = "it has neither A nor AAAA"
		}
		if n := len(h.Aliases); n > 0 {
			why = fmt.Sprintf("it is an alias of %s, which %s", h.Aliases[n-1], strings.TrimPrefix(why, "it "))
		}
		j.find(PolicyHostMissing, h.Host, why)
	}
	reached := slices.ContainsFunc(h.Fetches, func(f Fetch) bool { return f.TLS != "" })
	for i := range h.Fetches {
		f := &h.Fetches[i]
		for _, t := range f.troubles {
			found := j.find(t.code, h.Host, t.evidence, f.Addr)
			switch {
			case t.code == PolicyNoRoute && reached:
				found.Severity = Note // the other kind of address was seen to be well, or not
			case t.code == PolicyConnectFailed && slices.ContainsFunc(h.Fetches, func(f Fetch) bool { return f.Err == nil }):
				found.Severity = Warning // senders try the next address
			}
		}
		if f.Took > slowAnswer && f.Err == nil {
			j.find(PolicySlow, h.Host, fmt.Sprintf("it took %.1f s", f.Took.Seconds()), f.Addr)
		}
		if f.Err == nil {
			j.answer(f)
		}
	}
}

// answer looks at an answer with status 200.
func (j *judgement) answer(f *Fetch) {
	host := j.r.Host.Host
	if !isTextPlain(f.MediaType) {
		evidence := "there is no Content-Type"
		if f.MediaType != "" {
			evidence = "Content-Type: " + f.MediaType
		}
		j.find(PolicyMediaType, host, evidence, f.Addr)
	}
	_, err := mtasts.Parse(f.Body)
	if err != nil {
		code, evidence := invalid(f.Body, err)
		j.find(code, host, evidence, f.Addr)
	}
	for _, other := range j.r.Host.Fetches {
		if other.Addr == f.Addr {
			return
		}
		if other.Err == nil && !bytes.Equal(other.Body, f.Body) {
			j.find(PolicyDiffers, host, fmt.Sprintf("%s against %s: %s", f.Addr, other.Addr, difference(f.Body, other.Body)), f.Addr)
			return
		}
	}
}

// tlsrpt looks at the _smtp._tls record. Where no policy is published nobody expects one.
func (j *judgement) tlsrpt() {
	r := &j.r.TLSRPT
	wanted := j.want != nil && len(j.want.RUA) > 0
	switch {
	case r.err != nil:
		j.find(TLSRPTUnknown, r.Name, r.Error)
	case errors.Is(r.bad, tlsrpt.ErrNoRecord) && slices.ContainsFunc(r.raw, looksLikeReportRecord):
		j.find(TLSRPTInvalid, r.Name, quoteAll(r.raw))
	case errors.Is(r.bad, tlsrpt.ErrNoRecord):
		if !wanted && j.r.Policy != nil && j.r.Policy.Mode != mtasts.ModeNone {
			j.find(TLSRPTMissing, r.Name, "")
		}
	case errors.Is(r.bad, tlsrpt.ErrMultipleRecords):
		j.find(TLSRPTMultiple, r.Name, quoteAll(r.raw))
	case r.bad != nil:
		j.find(TLSRPTInvalid, r.Name, errorText(r.bad))
	}
}

func (j *judgement) verdict() Verdict {
	switch {
	case j.unpublished():
		return Unpublished
	case j.r.Count(Error) > 0:
		return Broken
	case j.r.Count(Unknown) > 0:
		return Undecided
	case j.r.Policy == nil:
		return Undecided
	case j.r.Policy.Mode == mtasts.ModeTesting:
		return Testing
	case j.r.Policy.Mode == mtasts.ModeNone:
		return None
	case j.c.skipMX && !j.r.MX.Null:
		return Unprobed
	}
	return Protected
}
