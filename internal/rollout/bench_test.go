package rollout_test

import (
	"testing"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// One domain with a month of reports.
func BenchmarkJudge(b *testing.B) {
	now := after(30)
	f, g := clean(served(mtasts.ModeTesting, day), now), rollout.Default()
	b.ReportAllocs()
	for b.Loop() {
		if v := g.Judge(f, now); !v.Ready {
			b.Fatal(v)
		}
	}
}
