package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"mtasts-server/config"
	"mtasts-server/mtasts"
)

// Whatever stands in a policy file, nothing breaks, and what comes out is valid.
func FuzzPolicyFile(f *testing.F) {
	examples, err := filepath.Glob("../examples/policies/*.toml")
	if err != nil || len(examples) == 0 {
		f.Fatal("no examples", err)
	}
	for _, path := range examples {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("[domains.\"\"]\nmx=['']\n[profiles.\"\".\"\"]\n"))
	f.Add([]byte("[domains.'a.example']\nprofile='p'\naliases=['a.example']\n[domains.'A.example']\n"))
	dir := f.TempDir()
	main := filepath.Join(dir, "main.toml")
	if err := os.WriteFile(main, []byte("policies = [\"p.toml\"]\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, "p.toml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := config.NewLoader(main, config.LoaderOptions{Advise: true})
		if err != nil {
			t.Fatal(err)
		}
		snap, ok := l.Load()
		if !ok {
			t.Fatal(snap.Problems)
		}
		for _, p := range snap.Problems {
			if p.Line < 0 || p.Message == "" {
				t.Errorf("problem %#v", p)
			}
		}
		for _, d := range snap.Domains {
			p, err := mtasts.Parse(d.Body)
			if err != nil {
				t.Fatalf("%q is published: %v", d.Body, err)
			}
			for _, problem := range p.Validate(d.Name) {
				if problem.Severity == mtasts.Error {
					t.Errorf("%q is published: %v", d.Body, problem)
				}
			}
		}
	})
}
