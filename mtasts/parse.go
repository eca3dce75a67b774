package mtasts

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseError says why a text is not a policy. A sender treats such a policy as
// not there; RFC 8460 §4.3.2.2 calls it sts-policy-invalid.
type ParseError struct {
	Line   int // from 1; 0 where no single line is at fault
	Reason string
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return "policy: " + e.Reason
	}
	return fmt.Sprintf("policy line %d: %s", e.Line, e.Reason)
}

// Parse reads a policy body as a sender must (RFC 8461 §3.2): lines end in LF or
// CRLF, the last one may lack it; fields stand in any order; of a field other
// than mx the first one counts; unknown fields are kept in Extensions and
// otherwise ignored. Whatever the grammar does not allow is a *ParseError. Limits
// that the grammar does not state, such as MaxMaxAge, are left to Validate.
func Parse(body []byte) (Policy, error) {
	if len(body) > MaxPolicySize {
		return Policy{}, &ParseError{Reason: fmt.Sprintf("longer than %d bytes", MaxPolicySize)}
	}
	var p parser
	text := string(bytes.TrimSuffix(body, []byte("\n")))
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		if err := p.line(strings.TrimSuffix(line, "\r")); err != nil {
			return Policy{}, &ParseError{Line: n, Reason: err.Error()}
		}
	}
	return p.finish()
}

type parser struct {
	policy Policy
	seen   map[string]bool
}

// line takes one line without its end.
func (p *parser) line(line string) error {
	name, value, ok := strings.Cut(line, ":")
	switch {
	case strings.Trim(line, " \t") == "":
		return fmt.Errorf("is blank")
	case !ok || !isFieldName(name):
		return fmt.Errorf("want \"name: value\", have %s", quote(line))
	}
	value = strings.Trim(value, " \t")
	if name != "mx" && p.seen[name] {
		return nil // "all entries except for the first SHALL be ignored"
	}
	if p.seen == nil {
		p.seen = make(map[string]bool, 4)
	}
	p.seen[name] = true
	return p.field(name, value)
}

func (p *parser) field(name, value string) (err error) {
	switch name {
	case "version":
		if value != Version {
			return fmt.Errorf("version is %s, want %q", quote(value), Version)
		}
	case "mode":
		p.policy.Mode, err = ParseMode(value)
	case "max_age":
		p.policy.MaxAge, err = parseMaxAge(value)
	case "mx":
		rest := strings.TrimPrefix(value, "*.")
		if !isDomain(rest) || len(rest) > 253 {
			return fmt.Errorf("mx %s is neither a host name nor \"*.\" and one", quote(value))
		}
		p.policy.MX = append(p.policy.MX, MXPattern(strings.ToLower(value)))
	default:
		if !isExtensionValue(value) {
			return fmt.Errorf("value of %s is empty or has control characters", quote(name))
		}
		p.policy.Extensions = append(p.policy.Extensions, Field{name, value})
	}
	return err
}

func (p *parser) finish() (Policy, error) {
	for _, name := range []string{"version", "mode", "max_age"} {
		if !p.seen[name] {
			return Policy{}, &ParseError{Reason: "has no " + name}
		}
	}
	if len(p.policy.MX) == 0 && p.policy.Mode != ModeNone {
		return Policy{}, &ParseError{Reason: "has no mx, which only mode none may lack"}
	}
	return p.policy, nil
}

// parseMaxAge reads 1*10(DIGIT).
func parseMaxAge(s string) (int, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("max_age %s is not a number of seconds", quote(s))
		}
	}
	if s == "" || len(s) > 10 {
		return 0, fmt.Errorf("max_age %s is not a number of 1 to 10 digits", quote(s))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return int(n), err
}

// isFieldName checks an alphanumeric and up to 31 more of those, "_", "-", ".".
func isFieldName(s string) bool {
	if s == "" || len(s) > 32 || !isAlnum(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isExtensionValue checks visible UTF-8 with inner spaces. The blanks around the
// value are gone already.
func isExtensionValue(s string) bool {
	if s == "" || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// quote prints what came from outside, bounded and escaped.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
