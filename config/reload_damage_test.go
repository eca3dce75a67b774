package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A table that is not understood may be the defaults of all others: the file says
// nothing until it is mended.
func TestTopLevelMistake(t *testing.T) {
	good := "[defaults]\nmode = \"enforce\"\nmax_age = \"4w\"\n[domains.\"a.example\"]\nmx = [\"mx.example\"]\n"
	for _, bad := range []string{
		strings.Replace(good, "[defaults]", "[default]", 1),
		strings.Replace(good, "[domains.", "[domain.", 1),
		"defaults = 5\n" + strings.Replace(good, "[defaults]", "[profiles.x]", 1),
		"profiles = 5\n" + good,
	} {
		s := newSite(t)
		write(t, "policies/a.toml", good)
		write(t, "policies/b.toml", policy("b.example", "mx.example"))
		s.want("a.example=mx.example", "b.example=mx.example")
		write(t, "policies/a.toml", bad)
		if snap := s.want("b.example=mx.example"); len(snap.Broken) != 1 {
			t.Errorf("%q: broken %v", bad, snap.Broken)
		}
		write(t, "policies/c.toml", policy("a.example", "evil.example"))
		if snap := s.want("b.example=mx.example"); snap.Refused["a.example"] == "" {
			t.Errorf("%q: somebody else took the domain", bad)
		}
	}
}

// A profile that was redefined does not turn into the built-in one of the same name.
func TestBuiltinProfileInPolicyFile(t *testing.T) {
	s := newSite(t)
	write(t, "policies/p.toml", "[profiles.google-workspace]\nmode = \"enforce\"\nmax_age = \"4w\"\nmx = [\"mx.example\"]\n")
	write(t, "policies/a.toml", "[domains.\"a.example\"]\nprofile = \"google-workspace\"\n")
	if snap := s.want(); snap.Refused["a.example"] == "" {
		t.Errorf("refused: %v", snap.Refused)
	}
	s = newSite(t)
	write(t, "policies/p.toml", "[profiles.ours]\nmode = \"enforce\"\nmax_age = \"4w\"\nmx = [\"mx.example\"]\n")
	write(t, "policies/a.toml", "[domains.\"a.example\"]\nprofile = \"ours\"\n")
	s.want("a.example=mx.example")
	write(t, "policies/p.toml", "[[[")
	if snap := s.want(); snap.Refused["a.example"] == "" {
		t.Errorf("refused: %v", snap.Refused)
	}
}

// A new file is not read while it is being written, nor is an old one because another
// file changed.
func TestNewFileInPieces(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.want("a.example=mx1.example")
	s.ahead = 0
	time.Sleep(time.Until(modified(t, "policies/a.toml").Add(350 * time.Millisecond)))
	write(t, "policies/b.toml", policy("b.example", "mx1.example"))
	write(t, "policies/a.toml", "[domains.\"a.example\"]\nmx = [\"half.example\"]\n")
	main := "policies = [\"policies/*.toml\"]\n[certificates]\nsource = \"local\"\n[defaults]\nmax_age = \"2d\"\n"
	write(t, "main.toml", main)
	s.want("a.example=mx1.example")
	if _, unsettled := s.loader.Unsettled(); !unsettled {
		t.Error("nobody comes back to look")
	}
	write(t, "policies/a.toml", policy("a.example", "mx2.example"))
	s.ahead = time.Hour
	s.want("a.example=mx2.example", "b.example=mx1.example")
}

// Thousands of problems in one file take no longer than reading it some times.
func TestManyProblems(t *testing.T) {
	s := newSite(t)
	var b strings.Builder
	for i := range 5000 {
		b.WriteString(policy(fmt.Sprintf("d%d.example", i), "mx.example"))
	}
	write(t, "policies/a.toml", b.String())
	write(t, "policies/copy.toml", b.String())
	snap := s.want()
	if len(snap.Refused) != 5000 || len(snap.Problems) != 10_000 {
		t.Errorf("%d refused, %d problems", len(snap.Refused), len(snap.Problems))
	}
	located := 0
	for _, p := range snap.Problems {
		if p.Line > 0 {
			located++
		}
		if p.Line > 0 && p.Line%4 != 1 || p.Domain == "" || p.Key != "domains.\""+p.Domain+"\"" {
			t.Fatalf("%#v", p)
		}
	}
	if located != 1000 {
		t.Errorf("%d of them say where", located)
	}
}

// A file of brackets is refused like any other that is not TOML.
func TestDeepFile(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx.example"))
	write(t, "policies/b.toml", "a="+strings.Repeat("[", 2_000_000))
	write(t, "policies/c.toml", "[domains.\"c.example\"]\nmx = []\n"+strings.Repeat("a.", 50_000)+"a=1")
	if snap := s.want("a.example=mx.example"); len(snap.Broken) != 2 {
		t.Errorf("broken: %v", snap.Broken)
	}
}
