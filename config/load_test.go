package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"mtasts-server/config"
)

var update = flag.Bool("update", false, "write the outcomes into testdata")

// Each archive in testdata is a configuration, and in its file "want" the exact
// words that a person sees and the domains that are left.
func TestLoad(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir, _ := filepath.Abs(file)
			t.Chdir(t.TempDir())
			got := outcome(t, archive)
			last := &archive.Files[len(archive.Files)-1]
			if last.Name != "want" {
				t.Fatal("the last file is not want")
			}
			if *update {
				last.Data = []byte(got)
				if err := os.WriteFile(dir, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(last.Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func outcome(t *testing.T, archive *txtar.Archive) string {
	write(t, "main.toml", "[certificates]\nsource = \"local\"\n")
	for _, f := range archive.Files {
		if f.Name != "want" {
			write(t, f.Name, string(f.Data))
		}
	}
	l, err := config.NewLoader("main.toml", config.LoaderOptions{Advise: true})
	if err != nil {
		t.Fatal(err)
	}
	snap, ok := l.Load()
	var b strings.Builder
	for _, p := range snap.Problems {
		fmt.Fprintln(&b, p)
	}
	fmt.Fprintf(&b, "ok: %v\n", ok)
	for _, d := range snap.Domains {
		fmt.Fprintf(&b, "domain: %s %s %d %s\n", d.Name, d.Policy().Mode, d.Policy().MaxAge, d.Policy().MX)
	}
	return b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
