package e2e_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// postfixMain is a Postfix that takes mail for nobody: senders that look come no
// further than STARTTLS.
const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/queue/log
myhostname = mx.test
mydestination =
alias_maps =
local_recipient_maps =
local_transport = error:none
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_tls_security_level = may
`

const postfixServices = `
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`

// postfixHost is an MX host of one Postfix that has many.
type postfixHost struct {
	addr    string
	cert    tls.Certificate
	options []string // of main.cf, for this one
}

// startPostfix starts Postfix, with a service for each host.
func startPostfix(t *testing.T, hosts []postfixHost) {
	t.Helper()
	dir := postfixDir(t)
	master := ""
	for i, h := range hosts {
		cert := filepath.Join(dir, fmt.Sprintf("cert%d.pem", i))
		text, err := certPEM(h.cert)
		if err != nil {
			t.Fatal(err)
		}
		writeZone(t, cert, text)
		master += fmt.Sprintf("%s inet n - n - - smtpd -o smtpd_tls_cert_file=%s", net.JoinHostPort(h.addr, "25"), cert)
		for _, o := range h.options {
			master += " -o " + o
		}
		master += "\n"
	}
	runPostfix(t, dir, fmt.Sprintf(postfixMain, dir), master+strings.TrimPrefix(postfixServices, "\n"))
	for _, h := range hosts {
		eventually(t, "Postfix takes connections at "+h.addr, func() error {
			conn, err := net.Dial("tcp", net.JoinHostPort(h.addr, "25"))
			if err == nil {
				conn.Close()
			}
			return err
		})
	}
}

// postfixDir is a directory for a Postfix. Its log will be queue/log in it.
func postfixDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(filepath.Dir(dir), 0o755)) // Postfix is not root for long
	for _, sub := range []string{"etc", "queue", "data"} {
		must(os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatalf("the Debian package postfix is missing, run: make setup (%v)", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	must(err)
	must(os.Chown(filepath.Join(dir, "data"), uid, -1))
	return dir
}

// runPostfix runs it until the end of the test, with its two configuration files.
func runPostfix(t *testing.T, dir, main, master string) {
	t.Helper()
	etc := filepath.Join(dir, "etc")
	writeZone(t, filepath.Join(etc, "main.cf"), main)
	writeZone(t, filepath.Join(etc, "master.cf"), master)
	if out, err := exec.Command("postfix", "-c", etc, "check").CombinedOutput(); err != nil { // it makes the queue
		t.Fatalf("postfix check: %v\n%s", err, out)
	}
	cmd := exec.Command("/usr/lib/postfix/sbin/master", "-c", etc, "-d")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its processes too, which would stay
		_ = cmd.Wait()                                      // killed
		if log, _ := os.ReadFile(filepath.Join(dir, "queue/log")); t.Failed() {
			t.Logf("Postfix:\n%s%s", out.Bytes(), log)
		}
	})
}

// certPEM is a key, and its certificate with the chain, as Postfix takes them from one
// file.
func certPEM(cert tls.Certificate) (string, error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(text), err
}
