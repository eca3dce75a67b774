package sendercheck

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// maxTXT bounds the TXT records of one name that are told of. All are looked at, in
// whichever order they come: an answer has a bounded size anyway.
const maxTXT = 20

// Want is what is configured and served for a domain of ours.
type Want struct {
	Body []byte
	ID   string
	RUA  []string // where reports are wanted

	// Target is what the policy host should lead to: names, addresses, networks. Empty:
	// not known.
	Target []string

	// Published is a sentence about the publication of the id, "" for none: "announced
	// since ...", "withheld: ...".
	Published string
}

// Check looks at one domain.
func (r *Run) Check(ctx context.Context, domain string, want *Want) *Report {
	begun := r.c.now()
	rep := &Report{Domain: domain, Ours: want != nil}
	var wg sync.WaitGroup
	wg.Go(func() { rep.Record = r.c.record(ctx, domain) })
	wg.Go(func() { rep.Host = r.c.Fetch(ctx, domain) })
	wg.Go(func() { rep.TLSRPT = r.c.reportRecord(ctx, domain) })
	wg.Go(func() {
		rep.MX = r.c.mxSet(ctx, domain)
		for _, h := range rep.MX.Hosts {
			if h.HostProbe = new(HostProbe); h.bad == "" {
				wg.Go(func() { h.HostProbe = r.host(ctx, h.Name) })
			}
		}
	})
	wg.Wait()
	j := &judgement{c: r.c, r: rep, want: want}
	j.all(ctx)
	rep.Took = r.c.now().Sub(begun)
	return rep
}

// txt asks for the TXT records of a name.
func (c *Checker) txt(ctx context.Context, name string) TXT {
	a, err := c.lookup(ctx, name, dns.TypeTXT)
	t := TXT{Name: name, Aliases: wayOf(a), Exists: a.Exists, Authentic: a.Authentic, err: err, Error: errorText(err), Texts: []string{}}
	for _, rr := range a.Records {
		text := unescape(rr.(*dns.TXT).Txt)
		if t.raw = append(t.raw, text); len(t.Texts) < maxTXT {
			t.Texts = append(t.Texts, plain(text))
		}
	}
	return t
}

// unescape joins the strings of a TXT record (RFC 8461 §3.1) and undoes how the DNS
// library writes bytes that are not printable.
func unescape(texts []string) string {
	s := strings.Join(texts, "")
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && digits(s[i+1:i+4]) {
			b.WriteByte(100*(s[i+1]-'0') + 10*(s[i+2]-'0') + s[i+3] - '0')
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func (c *Checker) record(ctx context.Context, domain string) Record {
	r := Record{TXT: c.txt(ctx, mtasts.RecordName(domain))}
	if r.err != nil {
		return r
	}
	var rec mtasts.Record
	if rec, r.bad = mtasts.SelectRecord(r.raw); r.bad == nil {
		r.ID = rec.ID
	}
	return r
}

func (c *Checker) reportRecord(ctx context.Context, domain string) ReportRecord {
	r := ReportRecord{TXT: c.txt(ctx, tlsrpt.RecordName(domain))}
	if r.err != nil {
		return r
	}
	var rec tlsrpt.Record
	if rec, r.bad = tlsrpt.SelectRecord(r.raw); r.bad == nil {
		r.RUA = rec.RUA
	}
	return r
}

// missing reports whether DNS says that there is no such record, not even a bad one.
func (r *Record) missing() bool { return r.err == nil && errors.Is(r.bad, mtasts.ErrNoRecord) }
