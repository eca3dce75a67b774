package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The program runs with the calm timers, and is the process that was started still.
func TestCalmTimers(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "m.toml")
	if err := os.WriteFile(config, []byte("state = \"state\"\n[listen]\nadmin = \"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := boot(t, config)
	s.hears("READY=1")
	pid := s.cmd.Process.Pid
	slack, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", pid))
	if err != nil {
		t.Skip(err) // the kernel may not tell
	}
	if got := strings.TrimSpace(string(slack)); got != fmt.Sprint(calmSlack) {
		t.Errorf("timer slack is %s ns", got)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(comm)); got != "mtasts-server" {
		t.Errorf("the process is called %q", got)
	}
}
