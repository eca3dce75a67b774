package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mtasts-server/config"
)

// A hundred thousand domains in a thousand files.
const (
	benchFiles   = 1000
	benchPerFile = 100
)

// writeBench writes policy file number f.
func writeBench(b *testing.B, f, maxAge int) {
	b.Helper()
	var text []byte
	for i := range benchPerFile {
		text = fmt.Appendf(text, "[domains.\"d%[1]d.example\"]\nmode = \"enforce\"\nmax_age = %[2]d\nmx = [\"mx1.d%[1]d.example\", \"*.mail.d%[1]d.example\"]\n\n", f*benchPerFile+i, maxAge)
	}
	if err := os.WriteFile(filepath.Join("policies", fmt.Sprintf("%04d.toml", f)), text, 0o600); err != nil {
		b.Fatal(err)
	}
}

func newBenchLoader(b *testing.B) *config.Loader {
	b.Helper()
	// The clock is ahead, so that files need no time to settle.
	l, err := config.NewLoader("main.toml", config.LoaderOptions{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func loadBench(b *testing.B, l *config.Loader) *config.Snapshot {
	b.Helper()
	snap, ok := l.Load()
	if !ok || len(snap.Domains) != benchFiles*benchPerFile {
		b.Fatalf("%d domains; problems: %v", len(snap.Domains), snap.Problems)
	}
	return snap
}

// BenchmarkLoad is what a start reads, what is looked at when nothing changed, and what
// an edit of one file costs.
func BenchmarkLoad(b *testing.B) {
	b.Chdir(b.TempDir())
	if err := os.Mkdir("policies", 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile("main.toml", []byte("policies = [\"policies/*.toml\"]\n[certificates]\nsource = \"local\"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for f := range benchFiles {
		writeBench(b, f, 604800)
	}
	size := fmt.Sprintf("/domains=%d", benchFiles*benchPerFile)
	b.Run("first"+size, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			loadBench(b, newBenchLoader(b))
		}
	})
	b.Run("unchanged"+size, func(b *testing.B) {
		l := newBenchLoader(b)
		was := loadBench(b, l)
		b.ReportAllocs()
		for b.Loop() {
			if loadBench(b, l) != was {
				b.Fatal("another snapshot without a change")
			}
		}
	})
	b.Run("one-file"+size, func(b *testing.B) {
		l := newBenchLoader(b)
		was := loadBench(b, l)
		b.ReportAllocs()
		for i := 1; b.Loop(); i++ {
			writeBench(b, benchFiles/2, 604800+i)
			snap := loadBench(b, l)
			if snap == was {
				b.Fatal("the edit was not seen")
			}
			was = snap
		}
	})
}
