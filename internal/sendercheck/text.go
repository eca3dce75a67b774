package sendercheck

import (
	"strconv"
	"strings"
)

// maxEvidence bounds what is shown of something from outside.
const maxEvidence = 160

// quote prints what came from outside, bounded and escaped.
func quote(s string) string {
	if len(s) > maxEvidence {
		return strconv.QuoteToASCII(s[:maxEvidence]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// plain is s without anything that a terminal would not just print, on one line, and
// bounded: for texts of our own libraries, which have parts from outside.
func plain(s string) string {
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	q = strings.ReplaceAll(strings.ReplaceAll(q, `\"`, `"`), `\n`, "; ")
	if len(q) > 2*maxEvidence {
		q = q[:2*maxEvidence] + "..."
	}
	return q
}

// printable is a text of several lines, without anything that a terminal would not
// just print.
func printable(s string) string {
	q := strconv.QuoteToASCII(s)
	return strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", `\t`, "\t", `\"`, `"`).Replace(q[1 : len(q)-1])
}
