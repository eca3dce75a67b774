package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// put writes v as JSON that stands within other JSON, indented by prefix.
func (w *stickyWriter) put(prefix string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	_, _ = w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// list writes the elements of a JSON array one by one.
type list struct {
	out    *stickyWriter
	prefix string
	n      int
}

func (l *list) put(v any) {
	if l.n++; l.n > 1 {
		fmt.Fprint(l.out, ",")
	}
	fmt.Fprintf(l.out, "\n%s", l.prefix)
	l.out.put(l.prefix, v)
}

// verifyJSON prints one object, {"domains": [...], "summary": {...}}, piece by piece.
type verifyJSON struct{ domains list }

func newVerifyJSON(out *stickyWriter) *verifyJSON {
	fmt.Fprint(out, "{\n  \"domains\": [")
	return &verifyJSON{list{out: out, prefix: "    "}}
}

func (p *verifyJSON) report(v verified) { p.domains.put(v.Report) }

func (p *verifyJSON) end(s verifySummary) error {
	out := p.domains.out
	fmt.Fprint(out, "\n  ],\n  \"summary\": ")
	out.put("  ", s)
	fmt.Fprint(out, "\n}\n")
	return out.err
}
