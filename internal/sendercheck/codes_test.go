package sendercheck_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"mtasts-server/internal/sendercheck"
)

const findingsDoc = "../../docs/findings.md"

// docs/findings.md lists all findings as they are. UPDATE_DOCS=1 writes it.
func TestFindingsAreListed(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Findings of verify

Codes are stable; severities are as usual, and another where what was found means more or less for a domain. "Reported as" is the
result type of RFC 8460 §4.3 by which senders report the same. This list is made from the program.

| code | severity | reported as | rule | what | what to do |
|---|---|---|---|---|---|
`)
	for _, r := range sendercheck.Rules() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.Code, r.Severity, cmp.Or(string(r.Result), "-"), r.Rule, r.Text, r.Fix)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		check(t, os.WriteFile(findingsDoc, []byte(b.String()), 0o644))
	}
	have, err := os.ReadFile(findingsDoc)
	check(t, err)
	if string(have) != b.String() {
		t.Error("docs/findings.md is old; run: UPDATE_DOCS=1 go test -run Listed ./internal/sendercheck")
	}
}
