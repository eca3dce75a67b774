package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/config"
)

// site is a configuration on disk, with a clock that lets files settle at will.
type site struct {
	t      *testing.T
	loader *config.Loader
	ahead  time.Duration
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "main.toml", "policies = [\"policies/*.toml\"]\n[certificates]\nsource = \"local\"\n")
	s := &site{t: t, ahead: time.Hour}
	var err error
	s.loader, err = config.NewLoader("main.toml", config.LoaderOptions{Now: func() time.Time { return time.Now().Add(s.ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func policy(domain, mx string) string {
	return fmt.Sprintf("[domains.%q]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [%q]\n", domain, mx)
}

// want loads and compares what is said of the domains, e.g. "a.example=mx.example".
func (s *site) want(domains ...string) *config.Snapshot {
	s.t.Helper()
	snap, ok := s.loader.Load()
	if !ok {
		s.t.Fatalf("no main file: %v", snap.Problems)
	}
	var got []string
	for _, d := range snap.Domains {
		got = append(got, fmt.Sprintf("%s=%s", d.Name, d.Policy().MX[0]))
	}
	if strings.Join(got, " ") != strings.Join(domains, " ") {
		s.t.Errorf("got %q, want %q; problems: %v", got, domains, snap.Problems)
	}
	return snap
}

func TestUnchanged(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx.a.example"))
	first := s.want("a.example=mx.a.example")
	if s.want("a.example=mx.a.example") != first {
		t.Error("another snapshot without a change")
	}
	write(t, "policies/a.toml", policy("a.example", "mx.a.example"))
	if s.want("a.example=mx.a.example") != first {
		t.Error("another snapshot after the same bytes were written again")
	}
}

func TestChanges(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.want("a.example=mx1.example")
	write(t, "policies/a.toml", policy("a.example", "mx2.example"))
	s.want("a.example=mx2.example")
	write(t, "next", policy("a.example", "mx3.example"))
	rename(t, "next", "policies/a.toml")
	s.want("a.example=mx3.example")
	write(t, "policies/b.toml", policy("b.example", "mx1.example"))
	s.want("a.example=mx3.example", "b.example=mx1.example")
	remove(t, "policies/a.toml")
	s.want("b.example=mx1.example")
}

// The same size within the resolution of the clock of the file system.
func TestSameSizeSameTime(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.ahead = 0
	time.Sleep(time.Until(modified(t, "policies/a.toml").Add(350 * time.Millisecond))) // until it is believed
	s.want("a.example=mx1.example")
	before := modified(t, "policies/a.toml")
	write(t, "policies/a.toml", policy("a.example", "mx2.example"))
	if err := os.Chtimes("policies/a.toml", before, before); err != nil {
		t.Fatal(err)
	}
	s.ahead = time.Hour
	s.want("a.example=mx2.example")
}

// A file that is just being written is looked at once it is quiet.
func TestPieces(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.want("a.example=mx1.example")
	s.ahead = 0
	text := policy("a.example", "mx2.example")
	write(t, "policies/a.toml", text[:len(text)/2])
	s.want("a.example=mx1.example")
	if _, unsettled := s.loader.Unsettled(); !unsettled {
		t.Error("nobody comes back to look")
	}
	write(t, "policies/a.toml", text)
	s.ahead = time.Hour
	s.want("a.example=mx2.example")
	if _, unsettled := s.loader.Unsettled(); unsettled {
		t.Error("still not settled")
	}
}

// A broken file keeps its claims: nobody takes its domains over unnoticed.
func TestBrokenFileKeepsItsClaims(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.want("a.example=mx1.example")
	write(t, "policies/a.toml", "[domains")
	snap := s.want()
	if len(snap.Broken) != 1 {
		t.Errorf("broken: %v", snap.Broken)
	}
	write(t, "policies/b.toml", policy("a.example", "evil.example"))
	snap = s.want()
	if snap.Refused["a.example"] == "" {
		t.Errorf("refused: %v", snap.Refused)
	}
	remove(t, "policies/a.toml") // on purpose now
	s.want("a.example=evil.example")
}

func TestUnreadableFile(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	write(t, "policies/b.toml", policy("b.example", "mx1.example"))
	s.want("a.example=mx1.example", "b.example=mx1.example")
	remove(t, "policies/a.toml")
	if err := os.Symlink("nowhere", "policies/a.toml"); err != nil {
		t.Fatal(err)
	}
	if snap := s.want("b.example=mx1.example"); len(snap.Broken) != 1 {
		t.Errorf("broken: %v", snap.Broken)
	}
}

// A profile is shared: a change reaches all who use it, wherever it stands.
func TestProfileChange(t *testing.T) {
	s := newSite(t)
	write(t, "policies/p.toml", "[profiles.ours]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"mx1.example\"]\n")
	write(t, "policies/a.toml", "[domains.\"a.example\"]\nprofile = \"ours\"\n")
	write(t, "policies/b.toml", "[domains.\"b.example\"]\nprofile = \"ours\"\n")
	s.want("a.example=mx1.example", "b.example=mx1.example")
	write(t, "policies/p.toml", "[profiles.ours]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"mx2.example\"]\n")
	s.want("a.example=mx2.example", "b.example=mx2.example")
	write(t, "policies/p.toml", "[profiles")
	if snap := s.want(); len(snap.Refused) != 2 {
		t.Errorf("without their profile: refused %v", snap.Refused)
	}
}

// A broken main file leaves the settings of the last good one, and policies go on.
func TestBrokenMainFile(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx1.example"))
	s.want("a.example=mx1.example")
	for _, text := range []string{"policies = [", "policies = [\"other/*.toml\"]\nstate = 1\n", ""} {
		write(t, "main.toml", text)
		if text == "" {
			remove(t, "main.toml")
		}
		write(t, "policies/a.toml", policy("a.example", fmt.Sprintf("mx%d.example", len(text)+10)))
		snap := s.want(fmt.Sprintf("a.example=mx%d.example", len(text)+10))
		if len(snap.Problems) == 0 {
			t.Errorf("main file %q: no problem", text)
		}
	}
}

// Kubernetes swaps one symbolic link, "..data", below all files.
func TestKubernetesSwap(t *testing.T) {
	s := newSite(t)
	write(t, "policies/..1/a.toml", policy("a.example", "mx1.example"))
	write(t, "policies/..2/a.toml", policy("a.example", "mx2.example"))
	symlink(t, "..1", "policies/..data")
	symlink(t, "..data/a.toml", "policies/a.toml")
	snap := s.want("a.example=mx1.example")
	dirs, _ := snap.WatchPaths()
	for _, dir := range []string{"policies", "policies/..1"} {
		abs, err := filepath.Abs(dir)
		if err != nil || !contains(dirs, abs) {
			t.Errorf("%s is not watched: %q", dir, dirs)
		}
	}
	symlink(t, "..2", "policies/..tmp")
	rename(t, "policies/..tmp", "policies/..data")
	s.want("a.example=mx2.example")
}

// Ten thousand domains in one go are one load.
func TestManyFiles(t *testing.T) {
	s := newSite(t)
	for i := range 200 {
		var b strings.Builder
		for j := range 50 {
			b.WriteString(policy(fmt.Sprintf("d%d-%d.example", i, j), "mx.example"))
		}
		write(t, fmt.Sprintf("policies/%03d.toml", i), b.String())
	}
	snap, _ := s.loader.Load()
	if len(snap.Domains) != 10_000 || len(snap.Problems) != 0 {
		t.Errorf("%d domains, %d problems", len(snap.Domains), len(snap.Problems))
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if real, err := filepath.EvalSymlinks(x); err == nil && (x == s || real == s) {
			return true
		}
	}
	return false
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.ModTime()
}
