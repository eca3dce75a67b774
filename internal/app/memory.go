package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// headroom is how much garbage may pile up before it is collected. With one
	// domain, of which next to nothing lives, Go's own rule would collect every
	// 4 MiB, 30 fetches; with 100,000 it would let as much pile up as lives,
	// 200 MiB. Measured: docs/performance.md.
	headroom = 40 << 20

	// The rule stays within these: below, a large heap is collected all the time;
	// above, nothing is gained any more.
	leastGOGC, mostGOGC = 25, 800
)

// tuneMemory keeps the headroom what it should be, for what lives now, and does so again
// after each collection: ten thousand connections come, and live, within a second. Who
// sets GOGC knows better.
func tuneMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(live)
	percent := mostGOGC
	if n := live[0].Value.Uint64() + live[1].Value.Uint64(); n > 0 {
		percent = min(max(int(headroom*100/n), leastGOGC), mostGOGC)
	}
	debug.SetGCPercent(percent)
	runtime.AddCleanup(new(*int), func(struct{}) { tuneMemory() }, struct{}{})
}
