package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mtasts-server/mtasts"
)

// Problem is one thing wrong with the configuration, and what to write instead.
type Problem struct {
	File     string          `json:"file"`
	Line     int             `json:"line,omitempty"`   // from 1; 0 where the whole file is meant
	Column   int             `json:"column,omitempty"` // from 1, in bytes
	Severity mtasts.Severity `json:"severity"`         // "error" or "warning"
	Domain   string          `json:"domain,omitempty"` // the policy domain it costs
	Key      string          `json:"key,omitempty"`
	Rule     string          `json:"rule,omitempty"` // "RFC 8461 §3.2"
	Message  string          `json:"message"`
	Fix      string          `json:"fix,omitempty"`
}

// String prints the problem as compilers do, with the fix on a line of its own.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	} else if p.Key != "" {
		fmt.Fprintf(&b, ": %s", p.Key)
	}
	fmt.Fprintf(&b, ": %s: %s", p.Severity, p.Message)
	if p.Rule != "" {
		fmt.Fprintf(&b, " [%s]", p.Rule)
	}
	if p.Fix != "" {
		fmt.Fprintf(&b, "\n    fix: %s", p.Fix)
	}
	return b.String()
}

// sortProblems orders by file and place, errors before warnings at one place.
func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Severity, b.Severity))
	})
}

// show makes a path short for people: relative to the working directory where that is
// shorter.
func show(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || len(rel) >= len(path) {
		return path
	}
	return rel
}
