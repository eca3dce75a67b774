package tlsrpt

import (
	"time"
)

// Report is an aggregate report (RFC 8460 §4.4), as it was meant: what reporters write
// otherwise than the RFC says is normalised, and noted. Its texts are from a stranger:
// bounded in length, valid UTF-8 without U+0000, and not escaped.
type Report struct {
	OrganizationName string
	ContactInfo      string // mail address; "" where there is none
	ReportID         string // unique for the submitter at best
	Start, End       time.Time
	Policies         []PolicyReport
	Notes            []Note
}

// PolicyReport is what was reported of sessions under one policy.
type PolicyReport struct {
	Type        PolicyType
	Text        []string // the policy: lines of an MTA-STS policy, or TLSA records
	Domain      string   // the policy domain, an A-label in lower case; "" where it is missing or none
	MXHosts     []string // patterns of the policy
	Successful  int64    // sessions
	Failed      int64    // sessions; details may add up to more (RFC 8460 §4)
	FailureList []FailureDetails
}

// PolicyType is which kind of policy was applied.
type PolicyType string

// The policy types of RFC 8460 §4.4. A report may have others.
const (
	PolicyTLSA PolicyType = "tlsa"
	PolicySTS  PolicyType = "sts"
	PolicyNone PolicyType = "no-policy-found"
)

// FailureDetails are sessions that failed in the same way (RFC 8460 §4.4). All but
// ResultType and FailedSessions may be empty.
type FailureDetails struct {
	ResultType            ResultType
	SendingMTAIP          string // an address as netip prints it
	ReceivingIP           string // likewise
	ReceivingMXHostname   string
	ReceivingMXHelo       string
	FailedSessions        int64
	AdditionalInformation string // a URI, as it was written
	FailureReasonCode     string // free text
}

// Note is one thing that a report says otherwise than RFC 8460 wants.
type Note struct {
	Code NoteCode
	Path string // where in the JSON: "policies[0].policy.mx-host"
}

// NoteCode is a kind of deviation. Codes are stable.
type NoteCode string

// The deviations that are read all the same.
const (
	NoteBOM             NoteCode = "byte-order-mark"
	NoteNotUTF8         NoteCode = "not-utf8"        // replaced by U+FFFD
	NoteNUL             NoteCode = "nul"             // a character U+0000, likewise: databases take none
	NoteDuplicateKey    NoteCode = "duplicate-key"   // the last one counts
	NoteUnknownKey      NoteCode = "unknown-key"     // ignored
	NoteMissing         NoteCode = "missing"         // a field that every report should have
	NoteNull            NoteCode = "null"            // in place of a value
	NoteWrongType       NoteCode = "wrong-type"      // left out
	NoteTextForList     NoteCode = "text-for-list"   // a string in place of an array of one
	NoteListInText      NoteCode = "list-in-text"    // an array of strings, as the text of a string
	NoteNumberForm      NoteCode = "number-form"     // a string, or a number with a point, in place of an integer
	NoteNoZone          NoteCode = "no-time-zone"    // taken for UTC
	NoteDay24           NoteCode = "24-00"           // the start of the next day
	NoteWindow          NoteCode = "window-length"   // not one day
	NoteTooLong         NoteCode = "too-long"        // cut
	NoteTooMany         NoteCode = "too-many"        // the rest is left out
	NoteNoDomain        NoteCode = "no-domain"       // it is missing, or is none
	NoteDomainForm      NoteCode = "domain-form"     // not a lower-case A-label
	NoteUnknownPolicy   NoteCode = "unknown-policy"  // a policy type that RFC 8460 does not know
	NoteUnknownResult   NoteCode = "unknown-result"  // a result type likewise
	NoteBadAddress      NoteCode = "bad-address"     // no IP address; left out
	NoteObjectForURI    NoteCode = "object-for-uri"  // its text is kept
	NoteSumAboveTotal   NoteCode = "sum-above-total" // details add up to more than the total
	NoteTotalWithoutSum NoteCode = "no-details"      // failures, and nothing said of them
)

// Sessions returns how many sessions a report has for domain, all policies together. One
// session may be reported under several policies, as senders with DANE and MTA-STS do: of
// the types the one with most sessions counts, and not their sum. Of the failures those of
// the type with most count, so that a type under which all went well hides none.
func (r *Report) Sessions(domain string) (successful, failed int64) {
	type sum struct{ ok, bad int64 }
	byType := map[PolicyType]sum{}
	for _, p := range r.Policies {
		if p.Domain == domain {
			s := byType[p.Type]
			byType[p.Type] = sum{add(s.ok, p.Successful), add(s.bad, p.Failed)}
		}
	}
	var all int64
	for _, s := range byType {
		all, failed = max(all, add(s.ok, s.bad)), max(failed, s.bad)
	}
	return all - failed, failed
}

// Domains lists the policy domains of the report, each once, in its order; "" stands for
// policies without one.
func (r *Report) Domains() []string {
	var domains []string
	seen := map[string]bool{}
	for _, p := range r.Policies {
		if !seen[p.Domain] {
			seen[p.Domain] = true
			domains = append(domains, p.Domain)
		}
	}
	return domains
}

// MaxSessions bounds every count, and every sum of counts: what JSON numbers hold exactly
// (RFC 7493 §2.2).
const MaxSessions = 1<<53 - 1

// add adds two counts, at most MaxSessions.
func add(a, b int64) int64 { return min(a+b, MaxSessions) }
