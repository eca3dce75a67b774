package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

const benchDomains = 100_000

// benchPublications are of all domains; the first changed of them have another policy
// for each version.
func benchPublications(version, changed int) []ledger.Publication {
	ps := make([]ledger.Publication, benchDomains)
	for i := range ps {
		maxAge := 604800
		if i < changed {
			maxAge += version
		}
		text := body(mtasts.ModeEnforce, maxAge)
		ps[i] = ledger.Publication{Domain: fmt.Sprintf("d%d.example", i), ID: mtasts.ID(text), Body: text, Source: fmt.Sprintf("policies/%04d.toml", i/100)}
	}
	return ps
}

// BenchmarkOpen is what a start reads of what was published.
func BenchmarkOpen(b *testing.B) {
	b.Run(fmt.Sprintf("domains=%d", benchDomains), func(b *testing.B) {
		dir := b.TempDir()
		l, err := ledger.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Publish(t0, benchPublications(0, 0)); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if l, err := ledger.Open(dir); err != nil || l.Len() != benchDomains {
				b.Fatal(l.Len(), err)
			}
		}
	})
}

// BenchmarkPublish is a reload that changed so many policies: with what changed comes a
// wait for the disk.
func BenchmarkPublish(b *testing.B) {
	for _, changed := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprintf("changed=%d/domains=%d", changed, benchDomains), func(b *testing.B) {
			l, err := ledger.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			versions := [2][]ledger.Publication{benchPublications(0, changed), benchPublications(1, changed)}
			if err := l.Publish(t0, versions[0]); err != nil {
				b.Fatal(err)
			}
			now := t0
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				now = now.Add(time.Minute)
				if err := l.Publish(now, versions[i%2]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
