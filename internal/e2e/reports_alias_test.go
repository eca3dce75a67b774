package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// aliasMain is a Postfix that has an alias for reports.
const aliasMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/queue/log
myhostname = mailer.test
mydestination = reports.test
recipient_delimiter = +
alias_maps = hash:%[1]s/aliases
local_recipient_maps =
transport_maps = inline:{ {sender.test=discard:} }
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
smtpd_peername_lookup = no
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
`

// TestReportsByAlias has Debian's Postfix pipe mails into "reports import", beside a server
// that takes reports as well: as the user that the alias file belongs to. While the
// database is somebody else's, mails stay with Postfix.
func TestReportsByAlias(t *testing.T) {
	if !inOwnNetwork(t, keysServer) {
		return
	}
	s, e := newReportsSite(t, 2, fmt.Sprintf("[dns]\nresolvers = [%q]\n", keysServer))
	s.belongTo("nobody")
	cases, zones := mailCases(t, e.domain(0))
	startNamedAt(t, keysServer, zones, nil)
	p := e.startReports(t)
	p.mustPost(p.client(true), reportOn(e.domain(0), "posted", 5, 1))

	dir := postfixDir(t)
	x := &mailer{t, dir}
	aliases := filepath.Join(dir, "aliases")
	writeZone(t, aliases, fmt.Sprintf("tlsrpt: \"|%s --config %s reports import -\"\n", s.bin, s.path("mtasts-server.toml")))
	main := fmt.Sprintf(aliasMain, dir)
	writeZone(t, filepath.Join(dir, "etc/main.cf"), main)
	if out, err := exec.Command("postalias", "-c", filepath.Join(dir, "etc"), "hash:"+aliases).CombinedOutput(); err != nil {
		t.Fatalf("postalias: %v: %s", err, out)
	}
	own(t, aliases+".db", "nobody")
	runPostfix(t, dir, main, mailerServices+"local unix - n n - - local\n")
	eventually(t, "Postfix and BIND answer", func() error {
		for _, addr := range []string{mailerAddr, keysServer + ":53"} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			conn.Close()
		}
		return nil
	})
	const delivered = `status=sent \(delivered to command: `
	nameless := bytes.Replace(reportOn("", "nameless", 5, 1), []byte(`"policy-domain":"",`), nil, 1)
	for name, mail := range map[string]string{
		"rsa": cases["rsa"].mail, "unsigned": cases["unsigned"].mail, "forged": cases["forged"].mail,
		tlsrpt.Token(e.domain(1)): fmt.Sprintf(reportMail, nameless),
	} {
		x.send(name, mailCase{mail: mail})
		x.says(name, delivered)
	}
	unlock := s.lock()
	x.send("locked", mailCase{mail: strings.ReplaceAll(cases["unsigned"].mail, `"report-id":"unsigned"`, `"report-id":"locked"`)})
	x.says("locked", `status=deferred \(temporary failure`)
	unlock()
	x.says("locked", delivered)

	stored := s.entries()
	for id, want := range map[string]reports.Entry{
		"posted":   {Channel: reports.HTTPS, Unauthenticated: reports.NoAuthentication},
		"rsa":      {Channel: reports.File},
		"unsigned": {Channel: reports.File, Unauthenticated: reports.NotSigned},
		"forged":   {Channel: reports.File, Unauthenticated: reports.BadSignature},
		"nameless": {Channel: reports.File, Unauthenticated: reports.NotSigned},
		"locked":   {Channel: reports.File, Unauthenticated: reports.NotSigned},
	} {
		domain := e.domain(0)
		if id == "nameless" {
			domain = e.domain(1)
		}
		if e := stored[id]; e.ID.Domain != domain || e.Channel != want.Channel || e.Unauthenticated != want.Unauthenticated {
			t.Errorf("%s is stored as %+v", id, e)
		}
	}
	if len(stored) != 6 {
		t.Errorf("%d are stored, want 6", len(stored))
	}
	p.stop()
}

// belongTo has a site belong to a user, whom the server runs as.
func (s *site) belongTo(name string) {
	s.t.Helper()
	program, err := os.ReadFile(s.bin) // where it is nobody else may look
	if err == nil {
		s.bin = s.path("mtasts-server")
		err = os.WriteFile(s.bin, program, 0o755)
	}
	if err == nil {
		err = os.Chmod(filepath.Dir(s.dir), 0o755)
	}
	if err == nil {
		err = filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
			own(s.t, path, name)
			return err
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.wrapper = []string{"setpriv", "--reuid=" + name, "--regid=nogroup", "--clear-groups"}
}

// own gives a file to a user.
func own(t testing.TB, path, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if err := errors.Join(err, gerr, os.Chown(path, uid, gid)); err != nil {
		t.Fatal(err)
	}
}
