package tlsrpt_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

func explained() []tlsrpt.ResultType { return append(tlsrpt.ResultTypes(), "other") }

// Every type has all three parts, in sentences, and its own; what is not known shares one.
func TestExplain(t *testing.T) {
	seen := map[tlsrpt.Explanation]tlsrpt.ResultType{}
	for _, r := range explained() {
		e := r.Explain()
		for part, text := range map[string]string{"meaning": e.Meaning, "cause": e.Cause, "fix": e.Fix} {
			if len(text) < 30 || len(text) > 220 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is %q", r, part, text)
			}
		}
		if other, ok := seen[e]; ok {
			t.Errorf("%s is explained as %s", r, other)
		}
		seen[e] = r
	}
	if tlsrpt.ResultType("made-up").Explain() != tlsrpt.ResultType("other").Explain() {
		t.Error("what is not known is explained in different ways")
	}
	if e := tlsrpt.ValidationFailure.Explain(); !strings.Contains(e.Cause, "MX_HOSTS_MISMATCH") {
		t.Error("validation-failure does not tell of what Microsoft writes")
	}
}

// docs/reports.md lists the types as they are explained. UPDATE_DOCS=1 writes the list.
func TestExplainedInDocs(t *testing.T) {
	const doc, begin, end = "../docs/reports.md", "<!-- result types -->\n", "<!-- /result types -->"
	var b strings.Builder
	b.WriteString("| type | what | usual cause | what to do |\n|---|---|---|---|\n")
	for _, r := range explained() {
		e := r.Explain()
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r, e.Meaning, e.Cause, e.Fix)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	listed, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/reports.md has no place for result types")
	}
	if listed == b.String() {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Error("docs/reports.md is old; run: UPDATE_DOCS=1 go test -run Explained ./tlsrpt")
		return
	}
	if err := os.WriteFile(doc, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
