package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const readme = "../../README.md"

// The README lists the verbs as the program does. UPDATE_README=1 writes the list.
func TestReadmeListsVerbs(t *testing.T) {
	var b strings.Builder
	b.WriteString("```\n")
	for _, cmd := range newRoot().Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "completion" && cmd.Name() != "help" {
			fmt.Fprintf(&b, "mtasts-server %-19s %s\n", cmd.Use, cmd.Short)
		}
	}
	b.WriteString("```\n")
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- verbs -->\n", "<!-- /verbs -->"
	head, rest, ok := strings.Cut(string(text), begin)
	listed, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the verbs")
	}
	if listed == b.String() {
		return
	}
	if os.Getenv("UPDATE_README") == "" {
		t.Errorf("README.md lists\n%s\nwant\n%s\nrun: UPDATE_README=1 go test ./cmd/mtasts-server", listed, b.String())
		return
	}
	if err := os.WriteFile(readme, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
