package config

import (
	"strings"
	"testing"
)

func TestTooDeep(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 100) }
	for text, want := range map[string]int{
		"":                              0,
		"[a.b.c]\nx = [[1], [2]]\n":     0,
		"x = \"" + many("[") + "\"\n":   0,
		"x = '" + many("{") + "'\n":     0,
		"x = '''" + many("[\n") + "'''": 0,
		`x = """` + many(`\"[`) + `"""`: 0,
		"# " + many("[") + "\n":         0,
		many("a = [1.5, 2.5]\n"):        0,
		"\nx = " + many("["):            2,
		"x = " + many("{a="):            1,
		many("a.") + "a = 1":            1,
		"[" + many("a.") + "a]":         1,
		"'unfinished\nx = " + many("["): 2,
		"x = '''\n\n'''\ny" + many("["): 4,
	} {
		if got := tooDeep([]byte(text)); got != want {
			t.Errorf("%.40q: line %d, want %d", text, got, want)
		}
	}
}
