package tlsrpt_test

import (
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

// Every type has all three parts, in sentences, and its own; what is not known shares one.
func TestExplain(t *testing.T) {
	seen := map[tlsrpt.Explanation]tlsrpt.ResultType{}
	for _, r := range append(tlsrpt.ResultTypes(), "other") {
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
