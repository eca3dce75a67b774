package mtasts

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"
)

// Mode says what a sender does when a policy fails to validate (RFC 8461 §5).
type Mode string

// The three modes of RFC 8461 §3.2.
const (
	ModeEnforce Mode = "enforce" // do not deliver
	ModeTesting Mode = "testing" // deliver, and report
	ModeNone    Mode = "none"    // as if there were no policy
)

// ParseMode reads a mode in its exact, lower-case form.
func ParseMode(s string) (Mode, error) {
	for _, m := range []Mode{ModeEnforce, ModeTesting, ModeNone} {
		if s == string(m) {
			return m, nil // and not s, which may be a part of a long text
		}
	}
	return "", fmt.Errorf("mode %q: want \"testing\", \"enforce\" or \"none\"", s)
}

// Field is a field of a policy or record that RFC 8461 does not name.
type Field struct{ Name, Value string }

// Policy is an MTA-STS policy (RFC 8461 §3.2). As parsed it is what the text
// says, which need not be what a publisher should say: see Validate.
type Policy struct {
	Mode       Mode
	MX         []MXPattern // in the order written
	MaxAge     int         // seconds
	Extensions []Field     // unknown fields, in the order written; never printed
}

// MatchMX reports whether host, the name in an MX record, matches one of the
// policy's patterns (RFC 8461 §4.1).
func (p Policy) MatchMX(host string) bool {
	for _, mx := range p.MX {
		if mx.Match(host) {
			return true
		}
	}
	return false
}

// Body renders the policy in the form that every known sender accepts: ASCII,
// CRLF line ends with exactly one at the end, and the order version, mode, mx,
// max_age. These bytes are what is served, hashed for the id and kept.
func (p Policy) Body() []byte {
	var b strings.Builder
	b.Grow(64 + 32*len(p.MX))
	b.WriteString("version: " + Version + "\r\nmode: " + string(p.Mode) + "\r\n")
	for _, mx := range p.MX {
		b.WriteString("mx: " + string(mx) + "\r\n")
	}
	b.WriteString("max_age: " + strconv.Itoa(p.MaxAge) + "\r\n")
	return []byte(b.String())
}

// idEncoding prints hashes in lower-case letters and digits, as an id must be
// (RFC 8461 §3.1: 1*32(ALPHA / DIGIT)).
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID returns the policy id for a served body: 26 letters and digits, a function
// of the bytes alone. Every replica computes the same id, the same policy keeps
// it, and another policy has another one (RFC 8461 §3.1: "MUST uniquely identify
// a given instance of a policy").
func ID(body []byte) string {
	sum := sha256.Sum256(body)
	return idEncoding.EncodeToString(sum[:16])
}

// IsHashID reports whether id has the form of those that ID returns. Others make ids of
// dates and counters.
func IsHashID(id string) bool {
	sum, err := idEncoding.DecodeString(id)
	return err == nil && len(sum) == 16
}
