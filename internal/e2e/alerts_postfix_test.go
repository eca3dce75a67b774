package e2e_test

import (
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// nightMain is a Postfix that takes mail for one mailbox, and in TLS only.
const nightMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/queue/log
myhostname = night.test
mydestination =
mynetworks = 192.0.2.0/24
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
local_transport = error:none
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
strict_rfc821_envelopes = yes
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_received_header = yes
virtual_mailbox_domains = example.org
virtual_mailbox_base = %[1]s/boxes
virtual_mailbox_maps = inline:{ {night@example.org=night/} }
virtual_minimum_uid = 1
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[3]d
`

const nightServices = `127.25.0.9:587 inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
` + postfixServices

// Debian's Postfix, told to be strict, takes what `mtasts-server alerts test` sends and puts it
// into a mailbox; and what it refuses, the verb says.
func TestAlertsByPostfix(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	dir := postfixDir(t)
	web := httptest.NewTLSServer(nil) // for its certificate
	text, err := certPEM(web.TLS.Certificates[0])
	web.Close()
	if err != nil {
		t.Fatal(err)
	}
	writeZone(t, filepath.Join(dir, "cert.pem"), text)
	uid, gid := mailboxes(t, dir)
	runPostfix(t, dir, fmt.Sprintf(nightMain, dir, uid, gid), nightServices)
	s := newSite(t)
	configure := func(to string) {
		s.write("mtasts-server.toml", siteConfig+fmt.Sprintf("[reports]\nhost = %q\n[alerts.mail]\nserver = \"127.25.0.9:587\"\ntls = \"starttls\"\nfrom = \"mtasts@example.org\"\nto = [%q]\n", reportsAt, to))
	}
	configure("night@example.org")
	eventually(t, "Postfix takes the test", func() error {
		out, err := s.try("alerts", "test")
		if err == nil && strings.TrimSpace(out) != "mail: taken" {
			t.Fatalf("it says %q", out)
		}
		return err
	})
	var m *mail.Message
	eventually(t, "the mail is in the box", func() error {
		files, _ := filepath.Glob(filepath.Join(dir, "boxes/night/new/*"))
		if len(files) != 1 {
			return fmt.Errorf("there are %d mails", len(files))
		}
		text, err := os.ReadFile(files[0])
		if err == nil {
			m, err = mail.ReadMessage(strings.NewReader(string(text)))
		}
		return err
	})
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Subject") != "[mtasts] a test: alerts arrive here" || m.Header.Get("Return-Path") != "<mtasts@example.org>" ||
		!strings.Contains(m.Header.Get("Received"), "TLS") || !strings.Contains(string(body), "Nothing is wrong.") {
		t.Errorf("%v\n%s", m.Header, body)
	}
	configure("night@elsewhere.test")
	out, err := s.try("alerts", "test")
	if want := "mail: the mail server at 127.25.0.9:587: it refused the recipient night@elsewhere.test: 554 5.7.1"; err == nil || !strings.HasPrefix(out, want) {
		t.Errorf("it says %q, want %q; error %v", out, want, err)
	}
}

// try runs a verb that may fail.
func (s *site) try(args ...string) (string, error) {
	cmd := exec.Command(s.bin, append(args, "--config", s.path("mtasts-server.toml"))...)
	cmd.Env = programEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return string(out), err
}

// mailboxes makes the directory of mailboxes, and says whose it is.
func mailboxes(t *testing.T, dir string) (uid, gid int) {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err = strconv.Atoi(owner.Gid)
	if err != nil {
		t.Fatal(err)
	}
	boxes := filepath.Join(dir, "boxes")
	if err := os.MkdirAll(boxes, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(boxes, uid, gid); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}
