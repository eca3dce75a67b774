package app

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkLook is all that happens between the moment an edit is believed and the one
// it is served, at 100,000 domains in 1,000 files: reading, the plan, the ledger with
// its wait for the disk, the new table, and who needs certificates.
func BenchmarkLook(b *testing.B) {
	const files, perFile = 1000, 100
	b.Chdir(b.TempDir())
	if err := os.Mkdir("policies", 0o700); err != nil {
		b.Fatal(err)
	}
	// As if some time ago, so that it is believed at once; each time another.
	clock := time.Now().Add(-24 * time.Hour)
	write := func(name, text string) {
		b.Helper()
		clock = clock.Add(time.Millisecond)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(name, clock, clock); err != nil {
			b.Fatal(err)
		}
	}
	edit := func(file, edited, maxAge int) {
		b.Helper()
		text := ""
		for i := range perFile {
			age := 604800
			if i < edited {
				age = maxAge
			}
			text += table(fmt.Sprintf("d%d.example", file*perFile+i), "enforce", fmt.Sprint(age), "mx.example.net")
		}
		write(filepath.Join("policies", fmt.Sprintf("%04d.toml", file)), text)
	}
	write("main.toml", "policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[log]\nlevel = \"error\"\n")
	for file := range files {
		edit(file, 0, 0)
	}
	d, err := New(Options{ConfigFile: "main.toml", Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	d.publisher.look()
	maxAge := 604800
	for _, c := range []struct{ files, perFile int }{{0, 0}, {1, 1}, {files, 10}} {
		b.Run(fmt.Sprintf("edited=%d/domains=%d", c.files*c.perFile, files*perFile), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				maxAge++
				for file := range c.files {
					edit(file, c.perFile, maxAge)
				}
				b.StartTimer()
				was := d.server.Table()
				d.publisher.look()
				if changed := d.server.Table() != was; changed != (c.files > 0) {
					b.Fatalf("another table: %v", changed)
				}
			}
		})
	}
}
