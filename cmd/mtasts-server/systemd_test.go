package main

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// initSystem stands in for the init system: it hands over a socket and hears what the
// service says of itself.
type initSystem struct {
	t      *testing.T
	notify *net.UnixConn
	https  net.Listener
	cmd    *exec.Cmd
}

// boot starts the program as systemd starts a service with Type=notify-reload and a
// socket unit with FileDescriptorName=https.
func boot(t *testing.T, config string) *initSystem {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	https, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := https.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	program, err := exec.LookPath("mtasts-server") // the tests' own binary, by testscript
	if err != nil {
		t.Fatal(err)
	}
	s := &initSystem{t: t, notify: notify, https: https}
	s.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --config "$1"`, program, config)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "LISTEN_FDS=1", "LISTEN_FDNAMES=https")
	s.cmd.ExtraFiles = []*os.File{f}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it has ended, if all went well
		_ = s.cmd.Wait()
		notify.Close()
		https.Close()
	})
	return s
}

// hears waits for the service to say want as one of its lines.
func (s *initSystem) hears(want string) string {
	s.t.Helper()
	b := make([]byte, 4096)
	if err := s.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	n, err := s.notify.Read(b)
	if err != nil {
		s.t.Fatalf("waiting for %q: %v", want, err)
	}
	if said := string(b[:n]); strings.Split(said, "\n")[0] != want {
		s.t.Fatalf("heard %q, want %q", said, want)
	}
	return string(b[:n])
}

func (s *initSystem) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func TestSystemd(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "mtasts-server.toml")
	for name, text := range map[string]string{
		config:                         "policies = [\"*.policy\"]\nstate = \"state\"\n[listen]\nadmin = \"127.0.0.1:0\"\n[certificates]\nsource = \"local\"\n",
		filepath.Join(dir, "a.policy"): "[domains.\"a.example\"]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"mx.example\"]\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := boot(t, config)
	s.hears("READY=1")
	_, err := tls.Dial("tcp", s.https.Addr().String(), &tls.Config{ServerName: "stranger.example"})
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") { // it is our server that listens
		t.Error(err)
	}
	s.signal(syscall.SIGHUP)
	if said := s.hears("RELOADING=1"); !strings.Contains(said, "\nMONOTONIC_USEC=") {
		t.Errorf("heard %q", said)
	}
	s.hears("READY=1")
	s.signal(syscall.SIGTERM)
	s.hears("STOPPING=1")
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
