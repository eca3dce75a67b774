package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/tlsrpt"
)

// Where the parties of TestReportMail are.
const (
	mailerAddr = "127.25.0.1:25" // Postfix, which sends reports
	intakeSMTP = "127.25.0.2:25"
	intakeLMTP = "127.25.0.2:24"
	keysServer = "127.53.0.2" // BIND, which refuses to speak of dead.test
)

// mailerMain is a Postfix that takes mail from this machine, and brings it to us in TLS or
// not at all, but for the domain that has LMTP.
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
smtp_tls_secure_cert_match = mx.reports.test
smtp_tls_CAfile = %[1]s/roots.pem
default_transport = smtp:[127.25.0.2]:25
transport_maps = inline:{ {lmtp.test=lmtp:inet:127.25.0.2:24} {sender.test=discard:} }
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

// mailCase is a report that Postfix brings; its name is the token in the address.
type mailCase struct {
	mail      string
	lmtp      bool
	status    string // what Postfix has in its log about it
	submitter string
	why       reports.Unauthenticated
}

// Debian's Postfix brings reports, signed and not, by STARTTLS and by LMTP: each comes with
// what is known of who sent it, what cannot be known or kept now comes again, and what is
// too large bounces.
func TestReportMail(t *testing.T) {
	if !inOwnNetwork(t, keysServer) { // BIND listens only where an interface has the address
		return
	}
	cases, zones := mailCases(t)
	startNamedAt(t, keysServer, zones, nil)
	dir := postfixDir(t)
	cert := mxCertificate(t, filepath.Join(dir, "roots.pem"))
	box := startIntake(t, cert)
	runPostfix(t, dir, fmt.Sprintf(mailerMain, dir), mailerServices)
	eventually(t, "Postfix and BIND answer", func() error {
		if _, err := lookupTXT(t.Context(), "rsa._domainkey.sender.test"); err != nil {
			return err
		}
		conn, err := net.Dial("tcp", mailerAddr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	for name, c := range cases {
		domain := "reports.test"
		if c.lmtp {
			domain = "lmtp.test"
		}
		if err := smtp.SendMail(mailerAddr, nil, "tlsrpt@sender.test", []string{"tlsrpt+" + name + "@" + domain}, []byte(c.mail)); err != nil {
			t.Fatalf("handing %s to Postfix: %v", name, err)
		}
	}
	for name, c := range cases {
		eventually(t, "Postfix says of "+name+": "+c.status, func() error {
			log, err := os.ReadFile(filepath.Join(dir, "queue/log"))
			if err == nil && !regexp.MustCompile(`to=<tlsrpt\+`+name+`@[^\n]*`+c.status).Match(log) {
				err = errors.New("it does not")
			}
			return err
		})
		box.check(t, name, c)
	}
	log, err := os.ReadFile(filepath.Join(dir, "queue/log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("Verified TLS connection established to 127.25.0.2")) {
		t.Errorf("there was no TLS:\n%s", log)
	}
}

// inbox keeps what was delivered, by token.
type inbox struct {
	mu       sync.Mutex
	arrivals map[string][]*reports.Arrival
	refused  bool
}

// deliver keeps a mail; the one with the token "again" at its second coming.
func (b *inbox) deliver(_ context.Context, a *reports.Arrival) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Token == "again" && !b.refused {
		b.refused = true
		return errors.New("the disk is full")
	}
	b.arrivals[a.Token] = append(b.arrivals[a.Token], a)
	return nil
}

// check compares what came with what was sent.
func (b *inbox) check(t *testing.T, name string, c mailCase) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	came := b.arrivals[name]
	if !strings.HasPrefix(c.status, "status=sent") {
		if len(came) != 0 {
			t.Errorf("%s: it was delivered", name)
		}
		return
	}
	channel := reports.SMTP
	if c.lmtp {
		channel = reports.LMTP
	}
	if len(came) != 1 {
		t.Fatalf("%s: delivered %d times", name, len(came))
	}
	a := came[0]
	if a.Submitter != c.submitter || a.Unauthenticated != c.why || a.Channel != channel || !strings.HasPrefix(a.Source, "127.") {
		t.Errorf("%s: it is from %q (%s), by %s from %s; want %q (%s), by %s", name, a.Submitter, a.Unauthenticated, a.Channel, a.Source, c.submitter, c.why, channel)
	}
	m, _, err := tlsrpt.ReadMessage(a.Data)
	if err != nil || m.Domain != "example.test" {
		t.Errorf("%s: reading it: %v", name, err)
	}
}

// startIntake takes reports by SMTP and LMTP.
func startIntake(t *testing.T, cert *tls.Certificate) *inbox {
	t.Helper()
	b := &inbox{arrivals: map[string][]*reports.Arrival{}}
	a, err := intake.NewAuthenticator(intake.Options{LookupTXT: lookupTXT})
	if err != nil {
		t.Fatal(err)
	}
	m, err := intake.NewMail(intake.MailOptions{
		Hostname: "mx.reports.test", Addresses: []string{"tlsrpt@reports.test", "tlsrpt@lmtp.test"}, Authenticator: a, Deliver: b.deliver,
		TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	for addr, serve := range map[string]func(net.Listener) error{intakeSMTP: m.ServeSMTP, intakeLMTP: m.ServeLMTP} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- serve(l) }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), programPatience)
			defer cancel()
			if err := errors.Join(m.Shutdown(ctx), <-ended); err != nil {
				t.Errorf("the end: %v", err)
			}
		})
	}
	return b
}

// lookupTXT asks the name servers as the program does.
func lookupTXT(ctx context.Context, name string) ([]string, error) {
	answer, err := lookup.New([]string{keysServer + ":53"}, nil).Lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var txts []string
	for _, rr := range answer.Records {
		txts = append(txts, strings.Join(rr.(*dns.TXT).Txt, ""))
	}
	return txts, nil
}

// mailCases are the mails, and the zones with their keys.
func mailCases(t *testing.T) (map[string]mailCase, map[string]string) {
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
	sign := func(domain, selector string) string { return signReport(t, reportMail, rsaKey, domain, selector) }
	good := sign("sender.test", "rsa")
	huge := signReport(t, reportMail+strings.Repeat(strings.Repeat("x", 998)+"\r\n", tlsrpt.MaxMessageSize/1000), rsaKey, "sender.test", "rsa")
	const sent = `status=sent \(250 `
	return map[string]mailCase{
		"rsa":       {mail: good, status: sent, submitter: "sender.test"},
		"ed":        {mail: edSigned(t, edKey), status: sent, submitter: "sender.test"},
		"service":   {mail: sign("sender.test", "tlsrpt"), status: sent, submitter: "sender.test"},
		"lmtp":      {mail: good, lmtp: true, status: sent, submitter: "sender.test"},
		"again":     {mail: good, status: sent, submitter: "sender.test"},
		"unsigned":  {mail: reportMail, status: sent, why: reports.NotSigned},
		"forged":    {mail: strings.Replace(good, "A report.", "Another.", 1), status: sent, why: reports.BadSignature},
		"unaligned": {mail: sign("other.test", "rsa"), status: sent, why: reports.NotAligned},
		"length":    {mail: strings.Replace(good, "v=1;", "v=1; l=10;", 1), status: sent, why: reports.LengthLimited},
		"email":     {mail: sign("sender.test", "email"), status: sent, why: reports.KeyForOther},
		"revoked":   {mail: sign("sender.test", "revoked"), status: sent, why: reports.NoKey},
		"nokey":     {mail: sign("sender.test", "none"), status: sent, why: reports.NoKey},
		"twofrom":   {mail: "From: a@other.test\r\n" + good, status: sent, why: reports.NoFrom},
		"dead": {
			mail:   signReport(t, strings.Replace(reportMail, "tlsrpt@sender.test", "tlsrpt@dead.test", 1), rsaKey, "dead.test", "rsa"),
			status: `status=deferred .*451 4\.7\.5`,
		},
		"huge": {mail: huge, status: `status=bounced .*size`},
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
	"--b\r\nContent-Type: application/tlsrpt+json\r\n\r\n{\"report-id\":\"1\"}\r\n--b--\r\n"

// edSigned is signed by Ed25519.
func edSigned(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	var out bytes.Buffer
	if err := dkim.Sign(&out, strings.NewReader(reportMail), &dkim.SignOptions{Domain: "sender.test", Selector: "ed", Signer: key}); err != nil {
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

// mxCertificate is for mx.reports.test, and writes what trusts it.
func mxCertificate(t *testing.T, roots string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.reports.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	writeZone(t, roots, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
