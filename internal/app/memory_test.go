package app

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// What comes to live between two looks at the files is taken into account.
func TestTuneMemory(t *testing.T) {
	t.Setenv("GOGC", "")
	tuneMemory()
	percent := func(reached func(percent uint64) bool) {
		t.Helper()
		gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			runtime.GC()
			metrics.Read(gogc)
			if n := gogc[0].Value.Uint64(); reached(n) {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("GOGC stays at %d", n)
			}
		}
	}
	percent(func(n uint64) bool { return n > 100 })
	much := make([]byte, 2*headroom)
	percent(func(n uint64) bool { return n > leastGOGC && n <= 50 })
	runtime.KeepAlive(much)
	percent(func(n uint64) bool { return n > 100 })
}
