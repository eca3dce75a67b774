package review

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is kept of each text, in bytes. Most have parts from outside.
const (
	maxName  = 255 // a name in DNS has 253, a code is shorter
	maxWords = 500 // text, evidence and fix: some lines on a page
)

// bounded is s without anything that is not just printed, on one line, in so many bytes.
// PostgreSQL takes no NUL and no broken UTF-8, either.
func bounded(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit] // what comes after is cut off anyway
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r): // U+202E and its like would turn a line around
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	const more = "..."
	cut := limit - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

func (p Problem) bounded() Problem {
	p.Code, p.Subject, p.Rule = bounded(p.Code, maxName), bounded(p.Subject, maxName), bounded(p.Rule, maxName)
	p.Text, p.Evidence, p.Fix = bounded(p.Text, maxWords), bounded(p.Evidence, maxWords), bounded(p.Fix, maxWords)
	p.Owner = p.Owner.bounded()
	if p.Severity != Error {
		p.Severity = Warning
	}
	return p
}

func (o Owner) bounded() Owner { return Owner(bounded(string(o), maxName)) }
