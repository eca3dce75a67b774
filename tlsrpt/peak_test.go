package tlsrpt_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

const window = `"date-range":{"start-datetime":"2026-11-24T00:00:00Z","end-datetime":"2026-11-24T23:59:59Z"}`

// numberedKeys is an object of n keys, all different.
func numberedKeys(n int) string {
	var b strings.Builder
	b.WriteString("{" + window)
	for i := range n {
		fmt.Fprintf(&b, `,"%x":1`, i)
	}
	return b.String() + "}"
}

// Reports made to take memory take no more than a few times what they are long: of short
// things there are many in ten megabytes, each of which costs more in memory.
func TestReportMemory(t *testing.T) {
	const (
		mostKept  = 64 << 20  // in the report that is returned
		mostTaken = 700 << 20 // kept and thrown away: the same 10 MiB are read level by level
	)
	details := `{"failure-details":[` + strings.Repeat("{},", 900) + `{}]},`
	lines := `{"policy":{"policy-string":[` + strings.Repeat(`"",`, 199) + `""]}},`
	list := func(item string) string {
		n := (tlsrpt.MaxReportSize - 1000) / len(item)
		return "{" + window + `,"policies":[` + strings.Repeat(item, n) + "{}]}"
	}
	for _, c := range []struct{ name, text, aside string }{
		{"numbers for policies", list("0,"), "no-policies"},
		{"empty policies", list("{},"), ""},
		{"empty details", list(details), ""},
		{"empty lines", list(lines), ""},
		{"a million keys", numberedKeys(900_000), "too-big"},
		{"a thousand keys and one", numberedKeys(1000), "too-big"},
		{"less than a thousand keys", numberedKeys(999), "no-policies"},
		{"brackets", strings.Repeat("[", tlsrpt.MaxReportSize), "too-deep"},
		{"objects", strings.Repeat(`{"":`, tlsrpt.MaxReportSize/4), "too-deep"},
	} {
		data := []byte(c.text)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := tlsrpt.ParseReport(data)
		runtime.GC()
		runtime.ReadMemStats(&after)
		bad, _ := errors.AsType[*tlsrpt.ErrReport](err)
		if (bad == nil) != (c.aside == "") || bad != nil && bad.Reason != c.aside {
			t.Errorf("%s: %v, want %q", c.name, err, c.aside)
		}
		kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		if taken := after.TotalAlloc - before.TotalAlloc; kept > mostKept || taken > mostTaken {
			t.Errorf("%s: %d MiB allocated, %d MiB kept", c.name, taken>>20, kept>>20)
		}
		t.Logf("%-28s %6d KiB: %4d MiB allocated, %3d MiB kept", c.name, len(data)>>10, (after.TotalAlloc-before.TotalAlloc)>>20, kept>>20)
		runtime.KeepAlive(data)
		runtime.KeepAlive(r)
	}
}
