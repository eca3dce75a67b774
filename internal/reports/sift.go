package reports

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Reason says why something was set aside. Beside these there are those of
// tlsrpt.ErrReport.
type Reason string

const (
	ForeignDomain Reason = "foreign-domain" // it is on a domain that is not configured
	NoDomain      Reason = "no-domain"      // it does not say what it is on, nor does its address
	TooOld        Reason = "too-old"        // what is known of so long ago was given up
	InTheFuture   Reason = "in-the-future"
	Flood         Reason = "flood"      // more on a domain in a day than anybody honest sends
	NotStored     Reason = "not-stored" // the database refuses it
	Unreadable    Reason = "unreadable" // it could not be looked at
)

const (
	// ahead is how far a window may end in the future: clocks of reporters are wrong, and
	// some close the day at noon.
	ahead = 2 * 24 * time.Hour

	// maxSums is how many pairs of result type and MX host are told apart in one report: all
	// there are for most, and some hundred for a domain with many hosts. Of strangers' there
	// are fewer, as nothing bounds how many reports they write.
	maxSums         = 200
	maxSumsStranger = 20

	// mostApart is how many parts of one report are set aside one by one: one on thousands of
	// domains that are not ours must not push out what others sent.
	mostApart = 20

	maxPolicyIDs = 8 // of different policies in one report; two where it changed that day

	maxAsideData = 1 << 20 // of what is kept of what is set aside; more helps nobody
	maxLabel     = 100     // bytes of who somebody claims to be
)

// part is what a report says of one domain, ready to be stored.
type part struct {
	domain          string
	digest          [16]byte
	report          *tlsrpt.Report
	arrival         *Arrival
	submitter       string // authenticated, or as claimed
	nameless        bool   // sums leave out who claims to have sent it
	places          int    // that it takes of those of the day
	unauthenticated Unauthenticated
	successful      int64
	failed          int64
	details, raw    []byte
}

func (p *part) day() int64 { return dayOf(p.report.Start) }

// summedAs is who the sums of the day have it from.
func (p *part) summedAs() string {
	if p.nameless {
		return "others"
	}
	return p.submitter
}

func (p *part) authenticated() int {
	if p.unauthenticated == "" {
		return 1
	}
	return 0
}

// dayOf returns the day of t in UTC, counted from 1970-01-01.
func dayOf(t time.Time) int64 { return t.Unix() / 86400 }

// aside is what is kept apart, as it cannot be used.
type aside struct {
	arrival *Arrival
	digest  [16]byte
	domain  string // as claimed; "" where it is not known
	reason  Reason
	detail  string
	data    []byte
}

// sift reads an arrival, and takes it apart.
func (s *Store) sift(a *Arrival) (parts []*part, asides []*aside) {
	report, packed, size, err := s.parse(a)
	if err != nil {
		reason, detail := reasonOf(err)
		return nil, []*aside{newAside(a, sha256.Sum256(a.Data), "", reason, detail, a.Data)}
	}
	if size > bigText {
		s.big.Lock()
		defer s.big.Unlock()
	}
	whole := sha256.Sum256(a.Data) // once: there may be thousands of parts
	byToken := s.adopt(report, a.Token)
	byDomain := report.Split()
	for _, domain := range slices.Sorted(maps.Keys(byDomain)) {
		r := byDomain[domain]
		p, err := s.newPart(a, domain, r)
		if err != nil {
			reason, detail := reasonOf(err)
			asides = append(asides, newAside(a, whole, domain, reason, detail, nil))
			continue
		}
		if domain == byToken && p.unauthenticated == "" {
			p.unauthenticated = DomainNotSigned
		}
		size := len(p.details) / 4 // packed, at the least
		if len(byDomain) == 1 {
			size = max(size, len(packed))
		}
		p.places = places(size)
		if reason := s.refuse(p); reason != "" {
			asides = append(asides, newAside(a, whole, domain, reason, "", p.details))
			continue
		}
		p.raw = p.details
		if len(byDomain) == 1 { // or the raw one would show a domain what is said of others
			p.raw = packed
		}
		parts = append(parts, p)
	}
	if more := len(asides) - mostApart; more > 0 {
		asides = asides[:mostApart]
		asides[mostApart-1].detail = bound(fmt.Sprintf("and %d more of the same report; %s", more, asides[mostApart-1].detail), 300)
	}
	return parts, asides
}

// reasonOf says why something was set aside that could not be read.
func reasonOf(err error) (reason Reason, detail string) {
	if bad := (*tlsrpt.ErrReport)(nil); errors.As(err, &bad) {
		return Reason(bad.Reason), bad.Detail
	}
	return Unreadable, err.Error()
}

// parse reads what came. packed is the report in it as it came, size how many bytes it is
// unpacked.
func (s *Store) parse(a *Arrival) (r *tlsrpt.Report, packed []byte, size int, err error) {
	packed, mediaType := a.Data, a.MediaType
	var notes []tlsrpt.Note
	if a.Mail {
		m, of, err := tlsrpt.ReadMessage(a.Data)
		if err != nil {
			return nil, nil, 0, err
		}
		packed, mediaType, notes = m.Data, m.MediaType, of
		if m.Inner && a.Submitter != "" {
			a.Submitter, a.Unauthenticated = "", WithinMail
		}
	}
	text, of, err := tlsrpt.Unpack(packed, mediaType)
	if err != nil {
		return nil, nil, 0, err
	}
	notes = append(notes, of...)
	if r, err = s.parseText(text); err != nil {
		return nil, nil, 0, err
	}
	r.Notes = append(notes, r.Notes...)
	return r, packed, len(text), nil
}

// bigText is where a report is big: what it comes to in memory is many times as much, so
// these are read one after the other.
const bigText = 256 << 10

func (s *Store) parseText(text []byte) (*tlsrpt.Report, error) {
	if len(text) > bigText {
		s.big.Lock()
		defer s.big.Unlock()
	}
	return tlsrpt.ParseReport(text)
}

// adopt gives policies without a domain the one that the address stands for, and returns
// it if there were any.
func (s *Store) adopt(r *tlsrpt.Report, token string) string {
	if token == "" || !slices.ContainsFunc(r.Policies, func(p tlsrpt.PolicyReport) bool { return p.Domain == "" }) {
		return ""
	}
	domain := s.o.DomainOf(token)
	for i := range r.Policies {
		if r.Policies[i].Domain == "" {
			r.Policies[i].Domain = domain
		}
	}
	return domain
}

func (s *Store) newPart(a *Arrival, domain string, r *tlsrpt.Report) (*part, error) {
	p := &part{domain: domain, report: r, arrival: a, submitter: a.Submitter, unauthenticated: a.Unauthenticated}
	if p.submitter == "" {
		p.submitter = claimed(r)
		if p.unauthenticated == "" {
			p.unauthenticated = NoAuthentication
		}
	}
	p.successful, p.failed = r.Sessions(domain)
	key := r.Key(domain, a.Submitter)
	copy(p.digest[:], key[:])
	var err error
	if p.details, err = json.Marshal(r); err != nil {
		return nil, err
	}
	if len(p.details) > tlsrpt.MaxReportSize { // what is "<" in a report is "\u003c" here
		return nil, &tlsrpt.ErrReport{Reason: "too-big", Detail: "written down in full it is more than can be read again"}
	}
	return p, nil
}

// claimed is who a report says it is from.
func claimed(r *tlsrpt.Report) string {
	_, domain, _ := strings.Cut(r.ContactInfo, "@")
	if domain, err := mtasts.ParseDomain(domain); err == nil {
		return domain
	}
	name := strings.ToLower(strings.Join(strings.Fields(r.OrganizationName), " "))
	return cmp.Or(bound(name, maxLabel), "unknown")
}

// bound cuts s to n bytes, at a character.
func bound(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// refuse says why a part is set aside; "" where it is not.
func (s *Store) refuse(p *part) Reason {
	now := s.o.Now()
	switch {
	case p.domain == "":
		return NoDomain
	case !s.o.Known(p.domain):
		return ForeignDomain
	case p.report.End.After(now.Add(ahead)):
		return InTheFuture
	case p.report.End.Before(now.Add(-s.o.Keep.Details)):
		return TooOld
	case p.arrival.Channel == File:
		return "" // somebody's own
	}
	n := s.flood.count(p.domain, mtasts.OrganizationalDomain(p.arrival.Submitter), p.places, now)
	if n > aDay {
		return Flood
	}
	p.nameless = p.arrival.Submitter == "" && n > namesADay
	return ""
}

// newAside says why an arrival, or what it says of domain, cannot be used. whole is the
// SHA-256 of all that came.
func newAside(a *Arrival, whole [sha256.Size]byte, domain string, reason Reason, detail string, data []byte) *aside {
	if reason == Flood {
		data = nil // there is no end of it
	}
	if len(data) > maxAsideData {
		data = bytes.Clone(data[:maxAsideData]) // the rest is not to stay in memory
	}
	h := sha256.New()
	for _, s := range []string{string(a.Channel), a.Submitter, domain, string(reason)} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	h.Write(whole[:])
	x := &aside{arrival: a, domain: bound(domain, 253), reason: reason, detail: bound(detail, 300), data: data}
	copy(x.digest[:], h.Sum(nil))
	return x
}
