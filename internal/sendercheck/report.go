package sendercheck

import (
	"net/netip"
	"time"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Severity says what a finding means for mail.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // mail is not protected, or is lost
	Warning Severity = "warning" // it works, and an experienced postmaster would not leave it so
	Note    Severity = "note"    // worth knowing
	Unknown Severity = "unknown" // could not be looked at: neither good nor bad
)

// Verdict is all findings in a word.
type Verdict string

// The verdicts.
const (
	Protected   Verdict = "protected"   // mode enforce, and every MX host was seen to be as it must
	Unprobed    Verdict = "unprobed"    // the same, but MX hosts were not to be connected to
	Testing     Verdict = "testing"     // mode testing, without an error: senders report and deliver
	None        Verdict = "none"        // mode none: as if there were no policy
	Unpublished Verdict = "unpublished" // neither record nor policy
	Broken      Verdict = "broken"      // there are errors
	Undecided   Verdict = "unknown"     // nobody knows
)

// Verdicts are all verdicts, the best first.
func Verdicts() []Verdict {
	return []Verdict{Protected, Unprobed, Testing, None, Unpublished, Undecided, Broken}
}

// Finding is one thing that a domain's owner should know.
type Finding struct {
	Code      string            `json:"code"` // see docs/findings.md; stable
	Severity  Severity          `json:"severity"`
	Result    tlsrpt.ResultType `json:"result_type,omitempty"` // as a sender would report it
	Subject   string            `json:"subject"`               // the name that it is about
	Addresses []netip.Addr      `json:"addresses,omitempty"`   // of Subject, where it is not about all of them
	Text      string            `json:"text"`                  // what is wrong
	Evidence  string            `json:"evidence,omitempty"`    // what was seen; one line, printable ASCII
	Rule      string            `json:"rule"`                  // where the rule stands: "RFC 8461 §3.1"
	Fix       string            `json:"fix"`                   // what to do, in a sentence
}

// Report is what a look at a domain found.
type Report struct {
	Domain   string        `json:"domain"`
	Ours     bool          `json:"ours"` // there was a Want
	Verdict  Verdict       `json:"verdict"`
	Record   Record        `json:"record"`
	Host     *PolicyHost   `json:"policy_host"`
	Policy   *Policy       `json:"policy,omitempty"` // nil: senders get none
	MX       MXSet         `json:"mx"`
	TLSRPT   ReportRecord  `json:"tlsrpt"`
	Findings []Finding     `json:"findings"`
	Took     time.Duration `json:"took_ns"`
}

// Count says how many findings there are of a severity.
func (r *Report) Count(s Severity) (n int) {
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// TXT is what DNS has at a name for records.
type TXT struct {
	Name      string   `json:"name"`
	Aliases   []string `json:"aliases,omitempty"` // CNAMEs on the way, and where they lead to last
	Exists    bool     `json:"exists"`
	Authentic bool     `json:"authentic"` // the name server says that DNSSEC proves it
	Texts     []string `json:"txt"`       // the strings of each record joined, printable; the first ones only
	Error     string   `json:"error,omitempty"`

	raw []string // all, as they are
	err error    // nobody knows what there is
}

// Record is the _mta-sts record.
type Record struct {
	TXT
	ID string `json:"id,omitempty"`

	bad error // why there is no ID
}

// ReportRecord is the _smtp._tls record.
type ReportRecord struct {
	TXT
	RUA []string `json:"rua,omitempty"`

	bad error // why there is no RUA
}

// Policy is the policy that senders get.
type Policy struct {
	Mode   mtasts.Mode `json:"mode"`
	MX     []string    `json:"mx"`
	MaxAge int         `json:"max_age"`
	ID     string      `json:"body_id"` // the id that this program gives to such a body
	Text   string      `json:"text"`

	policy mtasts.Policy
}

// MXSet is where a domain's mail goes.
type MXSet struct {
	Exists    bool      `json:"exists"`   // the domain, in DNS
	Implicit  bool      `json:"implicit"` // no MX record: the domain itself (RFC 5321 §5.1)
	Null      bool      `json:"null"`     // no mail is wanted (RFC 7505)
	Authentic bool      `json:"authentic"`
	Hosts     []*MXHost `json:"hosts"`
	More      int       `json:"more,omitempty"` // hosts that were not looked at
	Error     string    `json:"error,omitempty"`

	err error
}

// MXHost is one of them.
type MXHost struct {
	Name       string `json:"name"`
	Preference uint16 `json:"preference"`
	Pattern    string `json:"pattern,omitempty"` // of the policy that allows it
	*HostProbe

	bad string // why the name is none
}

// HostProbe is what was found at an MX host. Reports of several domains share it.
type HostProbe struct {
	Aliases   []string     `json:"aliases,omitempty"`
	Exists    bool         `json:"exists"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	TLSA      []string     `json:"tlsa,omitempty"`
	DANE      bool         `json:"dane"` // there are TLSA records, and DNSSEC proves them
	Probes    []Probe      `json:"probes,omitempty"`
	Error     string       `json:"error,omitempty"`

	err     error // nobody knows its addresses
	tlsaErr error // nor its TLSA records
	skipped bool
}

// Probe is one session with an MX host.
type Probe struct {
	Addr     netip.Addr        `json:"addr"`
	Stage    string            `json:"stage"` // how far it came: connect, greeting, ehlo, starttls, handshake, done
	Greeting string            `json:"greeting,omitempty"`
	TLS      string            `json:"tls,omitempty"`
	NotAfter time.Time         `json:"not_after,omitzero"` // of its certificate
	Result   tlsrpt.ResultType `json:"result_type,omitempty"`
	Error    string            `json:"error,omitempty"`
	Took     time.Duration     `json:"took_ns"`

	troubles []trouble
}

// trouble is a finding where it was made, before it is known what it means.
type trouble struct{ code, evidence string }
