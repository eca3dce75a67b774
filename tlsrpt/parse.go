package tlsrpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what is read of a report. "~10 MB" is what receivers are said to take (RFC
// 8460 §5.2); the largest real ones, of providers that report all their customers' domains
// in one, come to some hundred kilobytes.
const (
	MaxReportSize = 10 << 20 // of the JSON
	maxDepth      = 16       // four levels are needed
	maxPolicies   = 10_000   // domains of one provider, in one report
	maxDetails    = 1_000    // of one policy: result types times MX hosts times addresses
	maxAllDetails = 50_000   // of a report: three bytes of JSON would become two hundred of memory
	maxLines      = 200      // of a policy's text, which has one for each MX host
	maxAllLines   = 200_000  // of a report, for the same reason
	maxKeys       = 1_000    // of one JSON object: each is remembered, to see it stand twice
	maxText       = 1024     // bytes of any text: an error message, a TLSA record
	maxName       = 253      // of a host
	maxNotes      = 100      // more tell nothing new
)

// ErrReport says why something is no report that can be used. Reason is stable, and one
// of few; the error's text is for people.
type ErrReport struct {
	Reason string // "too-big", "too-deep", "not-json", "not-gzip", "not-zip", "packed-twice", "no-report", "no-policies", "no-window", "bad-window", "bad-count"
	Detail string // bounded, escaped
}

func (e *ErrReport) Error() string {
	if e.Detail == "" {
		return "report: " + e.Reason
	}
	return "report: " + e.Reason + ": " + e.Detail
}

// ParseReport reads a report as reporters write them. What deviates from RFC 8460 is
// normalised and noted; what cannot be used is an *ErrReport. It knows no clock: whether a
// window lies in the future is for the caller to say.
func ParseReport(data []byte) (*Report, error) {
	if len(data) > MaxReportSize {
		return nil, &ErrReport{"too-big", fmt.Sprintf("more than %d bytes", MaxReportSize)}
	}
	p := &reportParser{r: &Report{}}
	if rest, ok := bytes.CutPrefix(data, []byte("\xef\xbb\xbf")); ok {
		p.note(NoteBOM, "")
		data = rest
	}
	if !utf8.Valid(data) {
		p.note(NoteNotUTF8, "")
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	if err := p.scan(data); err != nil {
		return nil, err
	}
	root, ok := p.object(data, "")
	if !ok {
		return nil, &ErrReport{"not-json", "it is no JSON object"}
	}
	p.report(root)
	if p.err != nil {
		return nil, p.err
	}
	return p.r, nil
}

// reportParser collects notes, and the first error.
type reportParser struct {
	r                *Report
	err              error
	nDetails, nLines int // so far
}

func (p *reportParser) note(code NoteCode, path string) {
	if len(p.r.Notes) < maxNotes {
		p.r.Notes = append(p.r.Notes, Note{code, path})
	}
}

func (p *reportParser) fail(reason, format string, args ...any) {
	if p.err == nil {
		p.err = &ErrReport{reason, fmt.Sprintf(format, args...)}
	}
}

// scan reads the tokens once: for the syntax, the depth, and keys that stand twice.
func (p *reportParser) scan(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		keys  map[string]bool // nil: an array
		isKey bool
	}
	var open []level
	for {
		token, err := dec.Token()
		if err != nil {
			return &ErrReport{"not-json", clean(err.Error(), 200)}
		}
		top := len(open) - 1
		if top >= 0 && open[top].keys != nil {
			if key, ok := token.(string); ok && open[top].isKey {
				if open[top].keys[key] {
					p.note(NoteDuplicateKey, clean(key, 60))
				}
				open[top].keys[key] = true
				if len(open[top].keys) > maxKeys {
					return &ErrReport{"too-big", fmt.Sprintf("an object of more than %d keys", maxKeys)}
				}
				open[top].isKey = false
				continue
			}
			open[top].isKey = true // after the value that begins here
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{map[string]bool{}, true})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if len(open) > maxDepth {
			return &ErrReport{"too-deep", fmt.Sprintf("more than %d levels", maxDepth)}
		}
		if len(open) == 0 {
			if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
				return &ErrReport{"not-json", "something follows after the report"}
			}
			return nil
		}
	}
}

type object map[string]json.RawMessage

// object reads a JSON object whose syntax is right.
func (p *reportParser) object(raw json.RawMessage, path string) (object, bool) {
	var o object
	if len(raw) == 0 || json.Unmarshal(raw, &o) != nil || o == nil {
		return nil, false
	}
	return o, true
}

// array reads a JSON array whose syntax is right, up to most elements: the rest is not
// looked at, and takes no memory.
func (p *reportParser) array(raw json.RawMessage, path string, most int) ([]json.RawMessage, bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	var list []json.RawMessage
	for dec.More() {
		if len(list) >= most {
			p.note(NoteTooMany, path)
			break
		}
		var item json.RawMessage
		if err := dec.Decode(&item); err != nil {
			return nil, false
		}
		list = append(list, item)
	}
	return list, true
}

// unknown notes keys that mean nothing here, once for each object.
func (p *reportParser) unknown(o object, path string, known ...string) {
	for _, k := range known {
		delete(o, k)
	}
	for range o {
		p.note(NoteUnknownKey, path)
		return
	}
}

func (p *reportParser) report(o object) {
	r := p.r
	r.OrganizationName = p.text(o, "organization-name", "organization-name", true)
	r.ContactInfo = p.text(o, "contact-info", "contact-info", true)
	r.ReportID = p.text(o, "report-id", "report-id", true)
	p.window(o)
	list, ok := p.array(o["policies"], "policies", maxPolicies)
	if !ok || len(list) == 0 {
		p.fail("no-policies", "policies is no array with something in it")
		return
	}
	for i, raw := range list {
		path := fmt.Sprintf("policies[%d]", i)
		item, ok := p.object(raw, path)
		if !ok {
			p.note(NoteWrongType, path)
			continue
		}
		r.Policies = append(r.Policies, p.policy(item, path))
	}
	if len(r.Policies) == 0 {
		p.fail("no-policies", "none of policies is an object")
	}
	p.unknown(o, "", "organization-name", "contact-info", "report-id", "date-range", "policies")
}

// window reads the date range.
func (p *reportParser) window(o object) {
	dates, ok := p.object(o["date-range"], "date-range")
	if !ok {
		p.fail("no-window", "it has no date-range")
		return
	}
	p.r.Start = p.date(dates, "start-datetime")
	p.r.End = p.date(dates, "end-datetime")
	if p.err != nil {
		return
	}
	length := p.r.End.Sub(p.r.Start)
	switch {
	case length < 0:
		p.fail("bad-window", "it ends before it begins")
	case length < 24*time.Hour-2*time.Second || length > 24*time.Hour:
		p.note(NoteWindow, "date-range") // "should be for a full UTC day" (§4.4)
	}
	p.unknown(dates, "date-range", "start-datetime", "end-datetime")
}

// date reads a date-time (RFC 3339), also one without a time zone, or at 24:00.
func (p *reportParser) date(o object, key string) time.Time {
	path := "date-range." + key
	s := strings.ToUpper(strings.TrimSpace(p.text(o, key, path, true))) // "t" and "z" may be in lower case (RFC 3339 §5.6)
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return p.plausible(at.UTC(), path)
	}
	if day, rest, ok := strings.Cut(s, "T24:00:00"); ok && (rest == "" || rest == "Z" || rest == "+00:00") {
		if at, err := time.Parse(time.DateOnly, day); err == nil {
			p.note(NoteDay24, path)
			return p.plausible(at.AddDate(0, 0, 1), path)
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z0700", time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			p.note(NoteNoZone, path)
			return p.plausible(at.UTC(), path)
		}
	}
	p.fail("no-window", "%s is %q", path, clean(s, 60))
	return time.Time{}
}

// plausible refuses years in which nobody reports: databases and sums need not cope.
func (p *reportParser) plausible(at time.Time, path string) time.Time {
	if at.Year() < 2015 || at.Year() > 2200 {
		p.fail("bad-window", "%s is in the year %d", path, at.Year())
	}
	return at
}

func (p *reportParser) policy(o object, path string) PolicyReport {
	var x PolicyReport
	policy, ok := p.object(o["policy"], path+".policy")
	if !ok {
		p.note(NoteMissing, path+".policy")
	}
	at := path + ".policy."
	x.Type = PolicyType(p.text(policy, "policy-type", at+"policy-type", true))
	if x.Type != PolicyTLSA && x.Type != PolicySTS && x.Type != PolicyNone && x.Type != "" {
		p.note(NoteUnknownPolicy, at+"policy-type")
	}
	x.Text = p.list(policy, "policy-string", at+"policy-string", maxText)
	x.MXHosts = p.list(policy, "mx-host", at+"mx-host", maxName)
	if _, there := policy["mx-host"]; !there && x.Type == PolicySTS && x.Text != nil {
		p.note(NoteMissing, at+"mx-host") // where no policy was had there are none
	}
	x.Domain = p.domain(policy, at+"policy-domain")
	p.unknown(policy, path+".policy", "policy-type", "policy-string", "policy-domain", "mx-host")

	at = path + ".summary."
	summary, ok := p.object(o["summary"], path+".summary")
	if !ok {
		p.note(NoteMissing, path+".summary")
	}
	x.Successful = p.count(summary, "total-successful-session-count", at+"total-successful-session-count")
	x.Failed = p.count(summary, "total-failure-session-count", at+"total-failure-session-count")
	p.unknown(summary, path+".summary", "total-successful-session-count", "total-failure-session-count")

	var sum int64
	for i, raw := range p.details(o, path) {
		at := fmt.Sprintf("%s.failure-details[%d]", path, i)
		if item, ok := p.object(raw, at); ok {
			d := p.failure(item, at)
			sum = add(sum, d.FailedSessions)
			x.FailureList = append(x.FailureList, d)
		} else {
			p.note(NoteWrongType, at)
		}
	}
	switch {
	case sum > x.Failed:
		p.note(NoteSumAboveTotal, path)
		if _, there := summary["total-failure-session-count"]; !there && x.Failed == 0 {
			x.Failed = sum // it was left out: what the details say is all there is
		}
	case x.Failed > 0 && len(x.FailureList) == 0:
		p.note(NoteTotalWithoutSum, path)
	}
	p.unknown(o, path, "policy", "summary", "failure-details")
	return x
}

// details are the raw failure details.
func (p *reportParser) details(o object, path string) []json.RawMessage {
	raw, ok := o["failure-details"]
	if !ok { // as where nothing failed
		return nil
	}
	path += ".failure-details"
	if isNull(raw) {
		p.note(NoteNull, path)
		return nil
	}
	list, ok := p.array(raw, path, min(maxDetails, maxAllDetails-p.nDetails))
	if !ok {
		p.note(NoteWrongType, path)
	}
	p.nDetails += len(list)
	return list
}

func (p *reportParser) failure(o object, path string) FailureDetails {
	at := path + "."
	d := FailureDetails{
		ResultType:          ResultType(lower(p.text(o, "result-type", at+"result-type", true))),
		SendingMTAIP:        p.address(o, "sending-mta-ip", at+"sending-mta-ip"),
		ReceivingIP:         p.address(o, "receiving-ip", at+"receiving-ip"),
		ReceivingMXHostname: lower(strings.TrimSuffix(p.text(o, "receiving-mx-hostname", at+"receiving-mx-hostname", false), ".")),
		ReceivingMXHelo:     p.text(o, "receiving-mx-helo", at+"receiving-mx-helo", false),
		FailedSessions:      p.count(o, "failed-session-count", at+"failed-session-count"),
		FailureReasonCode:   p.text(o, "failure-reason-code", at+"failure-reason-code", false),
	}
	if d.ResultType != "" && !d.ResultType.Known() {
		p.note(NoteUnknownResult, at+"result-type")
	}
	const info = "additional-information"
	if raw, ok := o[info]; ok && len(raw) > 0 && raw[0] == '{' {
		p.note(NoteObjectForURI, at+info)
		d.AdditionalInformation = p.cut(string(raw), at+info, maxText)
	} else {
		d.AdditionalInformation = p.text(o, info, at+info, false)
	}
	p.unknown(o, path, "result-type", "sending-mta-ip", "receiving-ip", "receiving-mx-hostname", "receiving-mx-helo",
		"failed-session-count", info, "failure-reason-code")
	return d
}

// clean makes what came from outside fit for a log: printable ASCII, at most most bytes.
func clean(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}
