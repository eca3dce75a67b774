package e2e_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// Where the parties of TestReportsByPostfix are.
const (
	mailerAddr = "127.25.0.1:25" // Postfix, which sends reports
	intakeSMTP = "127.25.0.2:25"
	intakeLMTP = "127.25.0.2:24"
	keysServer = "127.53.0.2" // BIND, which refuses to speak of dead.test
)

// mailerMain is a Postfix that takes mail from this machine, and brings it to us in TLS or
// not at all, but for the domains that have LMTP.
const mailerMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/queue/log
myhostname = mailer.test
mydestination =
alias_maps =
local_recipient_maps =
local_transport = error:none
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
smtpd_peername_lookup = no
smtp_host_lookup = native
smtp_tls_security_level = secure
smtp_tls_loglevel = 1
smtp_tls_secure_cert_match = %[2]s
smtp_tls_CAfile = %[1]s/roots.pem
default_transport = smtp:[127.25.0.2]:25
transport_maps = inline:{ {lmtp.test=lmtp:inet:127.25.0.2:24} {socket.test=lmtp:unix:%[3]s} {sender.test=discard:} }
message_size_limit = 50000000
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
`

const mailerServices = `127.25.0.1:25 inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
` + postfixServices

// mailCase is a report that Postfix brings; its name is the token in the address, and the
// id of the report.
type mailCase struct {
	mail   string
	domain string // of the address; "" for reports.test
	status string // what Postfix has in its log about it
	why    reports.Unauthenticated
	late   bool // it comes when there is nowhere to keep it, at first
}

// mailDomains are those of addresses, and how Postfix brings what is sent there.
var mailDomains = map[string]reports.Channel{"reports.test": reports.SMTP, "lmtp.test": reports.LMTP, "socket.test": reports.LMTP}

// Debian's Postfix brings reports to the program, signed and not, by STARTTLS and by LMTP:
// each is stored with what is known of who sent it, what cannot be known or kept now comes
// again, and what is too large bounces.
func TestReportsByPostfix(t *testing.T) {
	if !inOwnNetwork(t, keysServer) { // BIND listens only where an interface has the address
		return
	}
	s, e := newReportsSite(t, 1, fmt.Sprintf(`addresses = ["tlsrpt@reports.test", "tlsrpt@lmtp.test", "tlsrpt@socket.test"]
smtp = [%q]
lmtp = [%q, "./lmtp.sock"]
[dns]
resolvers = [%q]
`, intakeSMTP, intakeLMTP, keysServer))
	cases, zones := mailCases(t, e.domain(0))
	startNamedAt(t, keysServer, zones, nil)
	p := e.startReports(t)
	dir := postfixDir(t)
	x := &mailer{t, dir}
	writeZone(t, filepath.Join(dir, "roots.pem"), s.read(s.rootFile()))
	runPostfix(t, dir, fmt.Sprintf(mailerMain, dir, reportsAt, s.path("lmtp.sock")), mailerServices)
	eventually(t, "Postfix, the program and BIND answer", func() error {
		for network, addrs := range map[string][]string{"tcp": {mailerAddr, intakeSMTP, intakeLMTP, keysServer + ":53"}, "unix": {s.path("lmtp.sock")}} {
			for _, addr := range addrs {
				conn, err := net.Dial(network, addr)
				if err != nil {
					return err
				}
				conn.Close()
			}
		}
		return nil
	})
	for name, c := range cases {
		if !c.late {
			x.send(name, c)
		}
	}
	for name, c := range cases {
		if !c.late {
			x.says(name, c.status)
		}
	}
	// What cannot be kept comes again.
	spool := s.path("state/reports/spool")
	if err := errors.Join(os.Rename(spool, spool+".away"), os.WriteFile(spool, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		if c.late {
			x.send(name, c)
			x.says(name, `status=deferred .*45\d 4\.`)
		}
	}
	if err := errors.Join(os.Remove(spool), os.Rename(spool+".away", spool)); err != nil {
		t.Fatal(err)
	}
	want := map[string]mailCase{}
	for name, c := range cases {
		x.says(name, c.status)
		if c.status == sent {
			want[name] = c
		}
	}
	s.awaitStored(len(want))
	for id, e := range s.entries() {
		if c := want[id]; e.Submitter != "sender.test" || e.Unauthenticated != c.why || e.Channel != mailDomains[cmp.Or(c.domain, "reports.test")] {
			t.Errorf("%s: it is from %q (%s), by %s; want (%s), to %s", id, e.Submitter, e.Unauthenticated, e.Channel, c.why, c.domain)
		}
	}
	if log := x.log(); !strings.Contains(log, "Verified TLS connection established to 127.25.0.2") {
		t.Errorf("there was no TLS:\n%s", log)
	}
	p.stop()
}

// mailer is the Postfix that sends.
type mailer struct {
	t   *testing.T
	dir string
}

func (x *mailer) send(name string, c mailCase) {
	x.t.Helper()
	to := "tlsrpt+" + name + "@" + cmp.Or(c.domain, "reports.test")
	if err := smtp.SendMail(mailerAddr, nil, "tlsrpt@sender.test", []string{to}, []byte(c.mail)); err != nil {
		x.t.Fatalf("handing %s to Postfix: %v", name, err)
	}
}

func (x *mailer) log() string {
	x.t.Helper()
	log, err := os.ReadFile(filepath.Join(x.dir, "queue/log"))
	if err != nil {
		x.t.Fatal(err)
	}
	return string(log)
}

// says waits until Postfix has something in its log about a mail.
func (x *mailer) says(name, status string) {
	x.t.Helper()
	line := regexp.MustCompile(`to=<tlsrpt\+` + name + `@[^\n]*` + status)
	eventually(x.t, "Postfix says of "+name+": "+status, func() error {
		if !line.MatchString(x.log()) {
			return errors.New("it does not")
		}
		return nil
	})
}

// sent is what Postfix says of what was taken.
const sent = `status=sent \(250 `

// mailCases are the mails, and the zones with their keys.
func mailCases(t *testing.T, domain string) (map[string]mailCase, map[string]string) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, edPublic := base64.StdEncoding.EncodeToString(der), base64.StdEncoding.EncodeToString(edKey.Public().(ed25519.PublicKey))
	record := func(selector, tags, public string) string {
		return fmt.Sprintf("%s._domainkey TXT \"v=DKIM1; %s\" \"p=%s\" \"%s\"\n", selector, tags, public[:len(public)/2], public[len(public)/2:])
	}
	begin := soa + "@ NS root.ns.test.\n"
	zones := map[string]string{
		"sender.test": begin + record("rsa", "k=rsa; ", rsaPublic) + record("tlsrpt", "k=rsa; s=tlsrpt; ", rsaPublic) +
			record("email", "k=rsa; s=email; ", rsaPublic) + record("ed", "k=ed25519; ", edPublic) +
			"revoked._domainkey TXT \"v=DKIM1; k=rsa; p=\"\n",
		"other.test": begin + record("rsa", "k=rsa; ", rsaPublic),
	}
	mail := func(name string) string { return fmt.Sprintf(reportMail, reportOn(domain, name, 5, 1)) }
	signed := func(name, domain, selector string) string { return signReport(t, mail(name), rsaKey, domain, selector) }
	good := func(name string) string { return signed(name, "sender.test", "rsa") }
	huge := mail("huge") + strings.Repeat(strings.Repeat("x", 998)+"\r\n", tlsrpt.MaxMessageSize/1000)
	dead := strings.Replace(mail("dead"), "tlsrpt@sender.test", "tlsrpt@dead.test", 1)
	return map[string]mailCase{
		"rsa":       {mail: good("rsa"), status: sent},
		"ed":        {mail: edSigned(t, mail("ed"), edKey), status: sent},
		"service":   {mail: signed("service", "sender.test", "tlsrpt"), status: sent},
		"lmtp":      {mail: good("lmtp"), domain: "lmtp.test", status: sent},
		"socket":    {mail: good("socket"), domain: "socket.test", status: sent},
		"again":     {mail: good("again"), late: true, status: sent},
		"later":     {mail: good("later"), late: true, domain: "socket.test", status: sent},
		"unsigned":  {mail: mail("unsigned"), status: sent, why: reports.NotSigned},
		"forged":    {mail: strings.Replace(good("forged"), "A report.", "Another.", 1), status: sent, why: reports.BadSignature},
		"unaligned": {mail: signed("unaligned", "other.test", "rsa"), status: sent, why: reports.NotAligned},
		"length":    {mail: strings.Replace(good("length"), "v=1;", "v=1; l=10;", 1), status: sent, why: reports.LengthLimited},
		"email":     {mail: signed("email", "sender.test", "email"), status: sent, why: reports.KeyForOther},
		"revoked":   {mail: signed("revoked", "sender.test", "revoked"), status: sent, why: reports.NoKey},
		"nokey":     {mail: signed("nokey", "sender.test", "none"), status: sent, why: reports.NoKey},
		"twofrom":   {mail: "From: a@other.test\r\n" + good("twofrom"), status: sent, why: reports.NoFrom},
		"dead":      {mail: signReport(t, dead, rsaKey, "dead.test", "rsa"), status: `status=deferred .*451 4\.7\.5`},
		"huge":      {mail: signReport(t, huge, rsaKey, "sender.test", "rsa"), status: `status=bounced .*size`},
	}, zones
}

// reportMail is a mail with a report.
const reportMail = "From: TLS reports <tlsrpt@sender.test>\r\n" +
	"To: tlsrpt@reports.test\r\n" +
	"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@sender.test>\r\n" +
	"Subject: Report Domain: example.test Submitter: sender.test Report-ID: <1@sender.test>\r\n" +
	"TLS-Report-Domain: example.test\r\n" +
	"TLS-Report-Submitter: sender.test\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"b\"\r\n\r\n" +
	"--b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n" +
	"--b\r\nContent-Type: application/tlsrpt+json\r\n\r\n%s\r\n--b--\r\n"

// edSigned is signed by Ed25519.
func edSigned(t *testing.T, mail string, key ed25519.PrivateKey) string {
	t.Helper()
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(mail), &dkim.SignOptions{Domain: "sender.test", Selector: "ed", Signer: key}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// signReport signs as large senders do: relaxed, since mail servers refold.
func signReport(t *testing.T, mail string, key *rsa.PrivateKey, domain, selector string) string {
	t.Helper()
	o := &dkim.SignOptions{
		Domain: domain, Selector: selector, Signer: key, HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "TLS-Report-Domain", "TLS-Report-Submitter"},
	}
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(mail), o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
