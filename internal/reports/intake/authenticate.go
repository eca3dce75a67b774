package intake

import (
	"bytes"
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mtasts-server/internal/reports"
)

const (
	// authenticateLimit bounds one mail, in which signatures are looked at side by side:
	// a question to DNS takes 5 s at most, and the sender waits for an answer.
	authenticateLimit = 10 * time.Second

	// maxSignatures is how many signatures of a mail are looked at, the first ones. Each
	// hashes the whole mail. Two are usual: RSA and Ed25519, or one of a provider.
	maxSignatures = 5

	// maxSignedFields is how many fields a signature may say it is for: each costs a look
	// at all that there are. Senders name some twenty, or twice that.
	maxSignedFields = 300

	// maxBlanks is how many blanks and line ends may follow each other. Each signature
	// keeps them in memory until it is seen whether they count (RFC 6376 §3.4.3, §3.4.4).
	maxBlanks = 64 << 10
)

// Options of NewAuthenticator.
type Options struct {
	// LookupTXT returns the TXT records of a name, the strings of each joined; none where
	// there is no such name. An error means that nobody knows now, but for a
	// *net.DNSError that says IsNotFound.
	LookupTXT func(ctx context.Context, name string) ([]string, error)

	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Authenticator finds out who sent a mail with a report: "the report MUST be signed by
// the reporting domain" (RFC 8460 §3). It may be used by several goroutines.
type Authenticator struct {
	lookupTXT func(ctx context.Context, name string) ([]string, error)
	now       func() time.Time
}

// NewAuthenticator returns an Authenticator.
func NewAuthenticator(o Options) (*Authenticator, error) {
	if o.LookupTXT == nil {
		return nil, errors.New("authenticating reports: no way to ask DNS")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Authenticator{lookupTXT: o.LookupTXT, now: o.Now}, nil
}

// Authenticate returns the domain that signed the mail, as an A-label in lower case: the
// d= of a good DKIM signature (RFC 6376) with the organizational domain of the one address
// in From, as DMARC's relaxed alignment has it. Where there is none, it says why. An error
// says that it cannot be known now, since DNS does not answer: then the mail is to be sent
// again.
func (a *Authenticator) Authenticate(ctx context.Context, message []byte) (submitter string, why reports.Unauthenticated, err error) {
	header := readHeader(message)
	from := fromDomain(header)
	if from == "" {
		return "", reports.NoFrom, nil
	}
	if hasLongSignature(header) || hasBlanks(message) || hasTwo(header, "Content-Type") || hasTwo(header, "Content-Transfer-Encoding") {
		return "", reports.BadSignature, nil
	}
	ctx, cancel := context.WithTimeout(ctx, authenticateLimit)
	defer cancel()
	keys := &keys{ctx: ctx, lookupTXT: a.lookupTXT, from: from}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{LookupTXT: keys.lookup, MaxVerifications: maxSignatures})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return "", reports.BadSignature, nil // what was found may then be called good
	}
	return a.judge(found, from)
}

// hasLongSignature reports whether a signature is for more fields than any has: they
// have colons between them.
func hasLongSignature(header mail.Header) bool {
	return slices.ContainsFunc(header["Dkim-Signature"], func(field string) bool { return strings.Count(field, ":") > maxSignedFields })
}

// hasTwo reports whether a field stands there twice that says how the body is to be read:
// then a signature is for one of them, and a reader may go by another, which anybody can add
// (RFC 6376 §8.15). Signatures allow for blanks before the colon, which make another name
// of it here.
func hasTwo(header mail.Header, name string) bool {
	n := 0
	for key, values := range header {
		if strings.EqualFold(strings.TrimSpace(key), name) {
			n += len(values)
		}
	}
	return n > 1
}

// hasBlanks reports whether there are more blanks in a row than any report has.
func hasBlanks(message []byte) bool {
	run := 0
	for _, c := range message {
		if c > ' ' {
			run = 0
		} else if run++; run > maxBlanks {
			return true
		}
	}
	return false
}
