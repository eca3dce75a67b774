package reports

import "time"

// Channel is the way that a report came by. It is a metric label.
type Channel string

const (
	HTTPS Channel = "https"
	SMTP  Channel = "smtp"
	LMTP  Channel = "lmtp"
	File  Channel = "file" // imported
)

// Channels lists them all.
func Channels() []Channel { return []Channel{HTTPS, SMTP, LMTP, File} }

// Arrival is something that came in and may hold a report. Nothing in it is trusted but
// what we say of it ourselves: Channel, Received, Submitter and Unauthenticated.
type Arrival struct {
	Channel  Channel
	Received time.Time
	Source   string // where it came from, for people: an address, a file name; bounded

	// Data is what came: a report, packed or not, or with Mail a whole mail message with a
	// report in it. MediaType is what was said of it where it is no mail; it may lie.
	Data      []byte
	Mail      bool
	MediaType string

	// Submitter is the domain that was seen to have sent it (RFC 8460 §3: "signed by the
	// reporting domain"), in lower case; "" for nobody, and then Unauthenticated says why.
	Submitter       string
	Unauthenticated Unauthenticated

	// Token is the one in the address that it was sent to, "" for none. It tells who the
	// report is on where the report itself does not.
	Token string
}

// Unauthenticated says why nobody is known to have sent a report.
type Unauthenticated string

const (
	NoAuthentication Unauthenticated = "no-authentication" // the channel has none: HTTPS, or a file that is no mail
	NoFrom           Unauthenticated = "no-from"           // not one From field with one address
	NotSigned        Unauthenticated = "not-signed"
	BadSignature     Unauthenticated = "bad-signature"  // none is good; forged, or damaged on the way
	NotAligned       Unauthenticated = "not-aligned"    // signed by a domain that From does not name
	LengthLimited    Unauthenticated = "length-limited" // l= lets anything be appended (RFC 8460 §3 forbids it)
	KeyForOther      Unauthenticated = "key-for-other"  // the key is for another service than tlsrpt
	NoKey            Unauthenticated = "no-key"         // it is not in DNS, or no longer

	// The report is in a mail within the mail, as in one that bounced: who signed the outer
	// one passes on what anybody wrote.
	WithinMail Unauthenticated = "within-mail"

	// The report names no domain; who it is on is known by the address alone, which no
	// signature covers.
	DomainNotSigned Unauthenticated = "domain-not-signed"
)
