// Package alert tells people what is wrong: at once what loses mail, all else in one
// digest a day, by a web hook and by mail. Each trouble is told once when it opens and once
// when it closes, however often it is raised. It finds nothing itself and changes no policy.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Severities of an Alert.
const (
	Error   = "error"   // mail is lost, or unprotected, or will be
	Warning = "warning" // it works, and should not stay so
)

// Longest fields, in bytes: what is longer is cut. A domain has at most 253, an address 254
// (RFC 5321 §4.5.3.1.3); texts are as long as somebody reads at night.
const (
	maxName = 254
	maxLine = 300
	maxText = 2000
)

// Alert is one trouble that somebody should know of, or the end of it.
type Alert struct {
	Key      string    `json:"key"`    // which trouble it is: the same one has the same key
	Domain   string    `json:"domain"` // "" where it is about the server
	Code     string    `json:"code"`
	Severity string    `json:"severity"` // Error or Warning
	Urgent   bool      `json:"urgent"`   // mail is lost meanwhile: told at once if it is an Error
	Title    string    `json:"title"`    // one line, without the domain
	Text     string    `json:"text"`     // what is wrong
	Evidence string    `json:"evidence,omitempty"`
	Fix      string    `json:"fix,omitempty"`
	Owner    string    `json:"owner,omitempty"` // who can mend it; a mail address may be written to
	At       time.Time `json:"since"`           // when it opened, or closed; zero: now
	Event    bool      `json:"event,omitempty"` // it happened, and does not end: it is told once, and forgotten
	Closed   bool      `json:"-"`               // it is no more; Key says which, the rest may be missing
	Quiet    bool      `json:"-"`               // with Closed: it is there still, and somebody wants not to be told of it any more
}

// check returns a as it is kept: whatever came from outside cannot break a line, turn the
// direction of writing or fill a page.
func (a Alert) check(now time.Time) (Alert, error) {
	switch {
	case a.Key == "":
		return a, errors.New("alert: it has no key")
	case !a.Closed && a.Severity != Error && a.Severity != Warning:
		return a, errors.New(`alert: want the severity "error" or "warning", have ` + strconv.Quote(a.Severity))
	}
	if k := clean(a.Key, maxLine); k != a.Key {
		sum := sha256.Sum256([]byte(a.Key)) // two long ones stay two
		a.Key = "sha256:" + hex.EncodeToString(sum[:])
	}
	a.Domain, a.Code, a.Owner = clean(a.Domain, maxName), clean(a.Code, maxName), clean(a.Owner, maxName)
	a.Title, a.Text = clean(a.Title, maxLine), clean(a.Text, maxText)
	a.Evidence, a.Fix = clean(a.Evidence, maxText), clean(a.Fix, maxText)
	a.Urgent = a.Urgent && a.Severity == Error
	if a.At.IsZero() {
		a.At = now
	}
	a.At = a.At.UTC().Truncate(time.Second)
	return a, nil
}

// clean returns s in one line of at most most bytes, with nothing in it that does not show.
func clean(s string, most int) string {
	var b strings.Builder
	for _, r := range s {
		part := string(r)
		switch {
		case r == '\n' || r == '\t':
			part = " "
		case !unicode.IsPrint(r): // a control, a change of direction, a space of no width
			quoted := strconv.QuoteRuneToASCII(r)
			part = quoted[1 : len(quoted)-1]
		}
		if b.Len()+len(part) > most-len("...") {
			return cut(b.String(), s, most)
		}
		b.WriteString(part)
	}
	return b.String()
}

// cut ends what clean began: without dots if the rest has room after all.
func cut(have, s string, most int) string {
	if len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return have + "..."
}
