package app

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// monotonic is the time at which a reload begins, as systemd's notify-reload wants it.
func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return ""
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000)
}
