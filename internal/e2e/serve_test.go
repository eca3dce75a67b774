package e2e_test

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestProgramHangUp sends SIGHUP while the server starts, as whoever deploys both a new
// program and new policies may do. Unheeded it would end the process.
func TestProgramHangUp(t *testing.T) {
	t.Parallel()
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	s := newSite(t)
	s.write("mtasts-server.toml", `
state = "state"
[listen]
https = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[certificates]
source = "certmagic"
directory = "`+ca.URL+`"
email = "hostmaster@example.net"
roots = "roots.pem"
[log]
format = "json"
`)
	if err := syscall.Mkfifo(s.path("roots.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.spawn()
	var roots *os.File
	eventually(t, "the server waits for the roots", func() (err error) {
		roots, err = os.OpenFile(s.path("roots.pem"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err
	})
	p.signal(syscall.SIGHUP)
	if err := errors.Join(pem.Encode(roots, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw}), roots.Close()); err != nil {
		t.Fatal(err)
	}
	p.await()
	p.signal(syscall.SIGHUP)
	p.stop()
}

func TestProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("policies/a.toml", "[domains.\"example.com\"]\nmode = \"enforce\"\nmax_age = \"1w\"\nmx = [\"mx.example.com\"]\n")
	p := s.start()
	const want = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 604800\r\n"
	client := p.client(false)
	eventually(t, "the policy is served", func() error {
		body, err := getPolicy(client, "example.com")
		if err == nil && body != want {
			t.Fatalf("got %q, want %q", body, want)
		}
		return err
	})
	if text, err := p.readyz(); err != nil || !strings.HasPrefix(text, "ready\n") || strings.Contains(text, "amiss") {
		t.Errorf("/readyz: %v, %q", err, text)
	}
	p.stop()

	// What is there once is there at once after a start, also one after kill -9.
	for range 3 {
		p = s.start()
		if body, err := getPolicy(p.client(false), "example.com"); err != nil || body != want {
			t.Fatalf("got %q, %v", body, err)
		}
		p.kill()
	}
}
