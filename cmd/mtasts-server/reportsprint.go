package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable is a text of a stranger as it may be shown: what a terminal would obey, or
// turn around, is escaped, and what is longer than most characters is cut.
func printable(s string, most int) string {
	cut := ""
	if n := 0; len(s) > most {
		for i := range s {
			if n++; n > most {
				s, cut = s[:i], "..."
				break
			}
		}
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`), `\\`, `\`) + cut
}

// The lengths of texts of strangers.
const (
	shownName   = 255 // a domain, or an organization
	shownSource = 100
	shownReason = 500 // whole error messages are among them
)

// jsonWriter writes whole JSON texts, and escapes in their strings what a terminal might
// obey: encoding/json leaves all from U+007F on as it is.
type jsonWriter struct{ out io.Writer }

func (w jsonWriter) Write(p []byte) (int, error) {
	b := make([]byte, 0, len(p))
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r < unicode.MaxASCII || unicode.IsPrint(r):
			b = append(b, rest[:size]...)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		rest = rest[size:]
	}
	if _, err := w.out.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// thousands prints a count so that it can be read.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// ratePercent prints a share that is rounded down, as that of a summary is.
func ratePercent(rate *float64) string {
	if rate == nil {
		return "-"
	}
	const hundredths = 10_000
	n := int64(*rate*hundredths + 1e-6)
	return fmt.Sprintf("%d.%02d%%", n/100, n%100)
}
