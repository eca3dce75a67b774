package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownNetwork, in the environment of a test, says that the network is its own, and where
// the program is.
const ownNetwork = "MTASTS_E2E_OWN_NETWORK"

// inOwnNetwork runs the test again in a process that has a network of its own, and
// reports true there. There ports 25, 53 and 443 are free, whatever else runs on this
// machine; addresses of IPv6 are what the test wants them to be; nothing leads to the
// internet; and all processes end with the test, however it ends.
func inOwnNetwork(t *testing.T, addrs ...string) bool {
	t.Helper()
	if os.Getenv(ownNetwork) != "" {
		setUpNetwork(t, addrs)
		return true
	}
	if os.Getuid() != 0 {
		t.Fatal("needs root: the test runs in a network of its own")
	}
	bin, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=0"}
	if deadline, ok := t.Deadline(); ok {
		args[2] = "-test.timeout=" + time.Until(deadline.Add(-5*time.Second)).String() // so that it is the one to say where it hangs
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), ownNetwork+"="+bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("no network of its own, for which it needs CAP_SYS_ADMIN: %v", err)
	}
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// setUpNetwork gives the network of this process its addresses, beside all of 127/8.
func setUpNetwork(t *testing.T, addrs []string) {
	t.Helper()
	batch := "link set lo up\n"
	for _, addr := range addrs {
		batch += fmt.Sprintf("addr add %s dev lo\n", addr)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("setting up a network: %v\n%s", err, out)
	}
}
