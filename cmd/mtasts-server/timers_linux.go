package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// usualSlack is the kernel's own timer slack, in nanoseconds.
	usualSlack = 50_000

	// calmSlack is ours. Nothing here is in a hurry of less than a millisecond.
	calmSlack = 1_000_000
)

// calmTimers has this program run with a timer slack of a millisecond, by starting it
// once more in its own place: same process, same arguments, same open files.
//
// While there is anything to do, Go's runtime has a thread that sleeps for 20 µs at a
// time. On a virtual machine that takes a tenth of what a fetch costs
// (docs/performance.md). How long a sleep may be prolonged is inherited by a thread
// from the one that began it, and that thread begins before main does. Whoever has set
// the slack already, as with TimerSlackNSec= in a systemd unit, is left alone; and
// where the kernel does not let us, nothing is lost but that tenth.
func calmTimers() {
	runtime.LockOSThread() // the slack is that of the thread which starts it anew
	defer runtime.UnlockOSThread()
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack != usualSlack {
		return
	}
	self, err := os.Executable() // not /proc/self/exe, or the process would be called so
	if err != nil {
		return
	}
	signal.Ignore(syscall.SIGHUP) // or it would end us between here and where it is heeded
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, calmSlack, 0, 0, 0); err != nil {
		return
	}
	_ = syscall.Exec(self, os.Args, os.Environ()) // it does not return unless it failed
}
