package intake_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	netsmtp "net/smtp"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/tlsrpt"
)

// patience is what a test waits for what comes at once.
const patience = 20 * time.Second

// office is a Mail under test and what it delivered.
type office struct {
	t    *testing.T
	mail *intake.Mail
	addr string
	cert *x509.Certificate

	mu       sync.Mutex
	arrivals []*reports.Arrival
}

// startMail serves SMTP on loopback, and at the end sees that nothing is left of it.
func startMail(t *testing.T, change func(*intake.MailOptions)) *office {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	o := &office{t: t}
	config, cert := selfSigned(t)
	o.cert = cert
	options := intake.MailOptions{
		Hostname: "mx.example.net", Addresses: []string{"tlsrpt@reports.example.net"}, TLS: config,
		Authenticator: newAuthenticator(t, records{}), Deliver: o.keep, Now: func() time.Time { return today },
	}
	if change != nil {
		change(&options)
	}
	var err error
	if o.mail, err = intake.NewMail(options); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	o.serve(func() error { return o.mail.ServeSMTP(l) })
	return o
}

// serve runs until the end of the test.
func (o *office) serve(run func() error) {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	o.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := o.mail.Shutdown(ctx); err != nil {
			o.t.Errorf("Shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			o.t.Errorf("serving ended with: %v", err)
		}
	})
}

func (o *office) keep(_ context.Context, a *reports.Arrival) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrivals = append(o.arrivals, a)
	return nil
}

// delivered is what came so far.
func (o *office) delivered() []*reports.Arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.arrivals
}

// one is the one that came.
func (o *office) one() *reports.Arrival {
	o.t.Helper()
	all := o.delivered()
	if len(all) != 1 {
		o.t.Fatalf("%d mails were delivered, want one", len(all))
	}
	return all[0]
}

// counted is a metric's value.
func (o *office) counted(name, label string) float64 {
	o.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(o.mail); err != nil {
		o.t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (label == "" || m.Label[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	o.t.Fatalf("there is no metric %s of %q", name, label)
	return 0
}

func (o *office) outcome(label string) float64 {
	return o.counted("mtasts_reportmail_messages_total", label)
}

// waitFor waits until a metric has a value.
func (o *office) waitFor(name, label string, want float64) {
	o.t.Helper()
	for end := time.Now().Add(patience); o.counted(name, label) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("%s of %q is %v, want %v", name, label, o.counted(name, label), want)
		}
	}
}

func selfSigned(t testing.TB) (*tls.Config, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	served := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served, nil }}, cert
}

// talk is a connection of a sender.
type talk struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// call connects, and reads the greeting.
func (o *office) call() *talk {
	o.t.Helper()
	tk := dial(o.t, "tcp", o.addr)
	tk.expect("220 mx.example.net ESMTP")
	return tk
}

// greeted is a call after EHLO.
func (o *office) greeted() *talk {
	o.t.Helper()
	tk := o.call()
	tk.say("EHLO sender.example", "250")
	return tk
}

func dial(t testing.TB, network, addr string) *talk {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &talk{t, conn, bufio.NewReader(conn)}
}

func (tk *talk) send(text string) {
	tk.t.Helper()
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(tk.conn, text); err != nil {
		tk.t.Fatalf("sending %.40q: %v", text, err)
	}
}

// reply reads an answer, all its lines.
func (tk *talk) reply() (string, error) {
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	var all strings.Builder
	for {
		line, err := tk.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return all.String(), err
		}
	}
}

func (tk *talk) expect(prefix string) string {
	tk.t.Helper()
	reply, err := tk.reply()
	if err != nil || !strings.HasPrefix(reply, prefix) {
		tk.t.Fatalf("the answer is %q, %v; want %q", reply, err, prefix)
	}
	return reply
}

func (tk *talk) say(command, prefix string) string {
	tk.t.Helper()
	tk.send(command + "\r\n")
	reply, err := tk.reply()
	if err != nil || !strings.HasPrefix(reply, prefix) {
		tk.t.Fatalf("the answer to %.60q is %q, %v; want %q", command, reply, err, prefix)
	}
	return reply
}

// ended reads to the end of the connection, which comes.
func (tk *talk) ended() string {
	tk.t.Helper()
	_ = tk.conn.SetDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(tk.r)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		tk.t.Fatalf("the connection goes on, after %q", rest)
	}
	return string(rest)
}

// begin says who the mail is from and for.
func (tk *talk) begin(to ...string) {
	tk.t.Helper()
	tk.say("MAIL FROM:<>", "250")
	for _, rcpt := range to {
		tk.say("RCPT TO:<"+rcpt+">", "250")
	}
}

const ourAddress = "tlsrpt@reports.example.net"

// deliver brings a mail and returns what became of it.
func (tk *talk) deliver(mail, prefix string) string {
	tk.t.Helper()
	tk.begin(ourAddress)
	tk.say("DATA", "354")
	return tk.say(mail+".", prefix)
}

// A report comes as it does from a large sender: by STARTTLS, signed, to an address with
// a token.
func TestMailTakesReports(t *testing.T) {
	s := newSigners(t)
	dns := records{"rsa._domainkey.sender.example": record(t, s.rsa, "s=tlsrpt; ")}
	o := startMail(t, func(o *intake.MailOptions) { o.Authenticator = newAuthenticator(t, dns) })
	mail := sign(t, reportMail, s.rsa, "sender.example", "rsa", nil)
	mail = strings.Replace(mail, "A report.", "A report.", 1)

	c, err := netsmtp.Dial(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roots := x509.NewCertPool()
	roots.AddCert(o.cert)
	if err := c.StartTLS(&tls.Config{ServerName: "mx.example.net", RootCAs: roots}); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("tlsrpt@sender.example"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("TLSRPT+Abc123@Reports.Example.NET"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, mail); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	a := o.one()
	if string(a.Data) != mail {
		t.Errorf("what was delivered is not what was sent: %q", a.Data)
	}
	a.Data = nil
	want := reports.Arrival{Channel: reports.SMTP, Received: today, Source: "127.0.0.1", Mail: true, Submitter: "sender.example", Token: "abc123"}
	if fmt.Sprint(*a) != fmt.Sprint(want) {
		t.Errorf("the Arrival is\n%+v, want\n%+v", *a, want)
	}
	if o.outcome("taken") != 1 {
		t.Error("it was not counted")
	}
}

// Nobody is authenticated by TLS or by a name, and no report need be in it: what came is
// passed on with the reason.
func TestMailTakesAnything(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.deliver(reportMail, "250")
	tk.deliver("hello\r\n", "250")
	tk.deliver("", "250")
	all := o.delivered()
	if len(all) != 3 || all[0].Unauthenticated != reports.NotSigned || all[1].Unauthenticated != reports.NoFrom || all[2].Unauthenticated != reports.NoFrom {
		t.Fatalf("delivered is %+v", all)
	}
	if string(all[0].Data) != reportMail || string(all[1].Data) != "hello\r\n" || len(all[2].Data) != 0 {
		t.Error("what was delivered is not what was sent")
	}
}

func TestMailRecipients(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) {
		o.Addresses = append(o.Addresses, "Other.Reports@bücher.example")
	})
	tk := o.greeted()
	tk.say("RCPT TO:<"+ourAddress+">", "502") // MAIL first
	tk.say("MAIL FROM:<anybody@wherever.example>", "250")
	for address, want := range map[string]string{
		"tlsrpt@reports.example.net":                                 "250",
		"TlsRpt@REPORTS.example.net":                                 "250",
		"tlsrpt+0a@reports.example.net":                              "250",
		"other.reports@xn--bcher-kva.example":                        "250",
		"tlsrpt+@reports.example.net":                                "550 5.1.1",
		"tlsrpt+a+b@reports.example.net":                             "550 5.1.1",
		"tlsrpt+a-b@reports.example.net":                             "550 5.1.1",
		"tlsrpt+" + strings.Repeat("a", 33) + "@reports.example.net": "550 5.1.1",
		"somebody@reports.example.net":                               "550 5.1.1",
		"other.reports@reports.example.net":                          "550 5.1.1",
		"postmaster@reports.example.net":                             "550 5.1.1 nobody reads mail",
		"Postmaster@mx.example.net":                                  "550 5.1.1 nobody reads mail",
		"tlsrpt@mx.example.net":                                      "550 5.1.1",
		"tlsrpt@elsewhere.example":                                   "550 5.7.1",
		"tlsrpt%elsewhere.example@mx.example.net":                    "550 5.1.1",
		"@mx.example.net:a@elsewhere.example":                        "550 5.7.1",
		`"tlsrpt@reports.example.net"@elsewhere.example`:             "550 5.7.1",
		"tlsrpt@[127.0.0.1]":                                         "550 5.7.1",
	} {
		tk.say("RCPT TO:<"+address+">", want)
	}
	tk.say("RCPT TO:<postmaster>", "501")
	tk.say("DATA", "354")
	tk.say(".", "250")
	if n := len(o.delivered()); n != 2 { // without a token, and with one
		t.Errorf("delivered %d times, want once for each token", n)
	}
	if n := o.counted("mtasts_reportmail_recipients_refused_total", ""); n != 14 {
		t.Errorf("%v recipients were counted as refused, want 14", n)
	}
}

// Senders bring a mail again for recipients beyond the fifth.
func TestMailRecipientsLimit(t *testing.T) {
	tk := startMail(t, nil).greeted()
	tk.begin(ourAddress, ourAddress, ourAddress, ourAddress, ourAddress)
	tk.say("RCPT TO:<"+ourAddress+">", "452 4.5.3")
}

// What a mail server has beyond taking mail is not there.
func TestMailOffersLittle(t *testing.T) {
	o := startMail(t, nil)
	tk := o.call()
	tk.say("MAIL FROM:<>", "502") // EHLO first
	extensions := tk.say("EHLO sender.example", "250")
	for _, word := range []string{"AUTH", "SMTPUTF8", "BINARYMIME", "VRFY", "EXPN", "ETRN", "DSN", "REQUIRETLS"} {
		if strings.Contains(extensions, word) {
			t.Errorf("it offers %s", word)
		}
	}
	for _, word := range []string{"STARTTLS", "PIPELINING", "8BITMIME", "CHUNKING", fmt.Sprintf("SIZE %d", tlsrpt.MaxMessageSize)} {
		if !strings.Contains(extensions, word) {
			t.Errorf("it does not offer %s", word)
		}
	}
	if reply := tk.say("VRFY tlsrpt", "252"); strings.Contains(reply, "reports.example.net") { // RFC 5321 §3.5.3 wants 252
		t.Errorf("VRFY tells %q", reply)
	}
	tk.say("EXPN tlsrpt", "502")
	tk.say("AUTH PLAIN AGEAYg==", "523")
	tk.say("MAIL FROM:<a@b.example> SMTPUTF8", "504")
	tk.say("MAIL FROM:<a@b.example> BODY=BINARYMIME", "504")
	tk.say("MAIL FROM:<a@b.example> BODY=8BITMIME", "250")
	tk.say("RSET", "250")

	without := startMail(t, func(o *intake.MailOptions) { o.TLS = nil })
	tk = without.call()
	if extensions := tk.say("EHLO sender.example", "250"); strings.Contains(extensions, "STARTTLS") {
		t.Error("it offers STARTTLS without a certificate")
	}
	tk.say("STARTTLS", "502")
}

// secure goes on in TLS.
func (tk *talk) secure(cert *x509.Certificate) *talk {
	tk.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	conn := tls.Client(tk.conn, &tls.Config{ServerName: "mx.example.net", RootCAs: roots})
	if err := conn.Handshake(); err != nil {
		tk.t.Fatal(err)
	}
	return &talk{tk.t, conn, bufio.NewReader(conn)}
}

// What an attacker puts behind STARTTLS, in clear, is not taken for what comes in TLS.
func TestMailCommandInjection(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.send("STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<" + ourAddress + ">\r\n")
	tk.expect("220")
	tk = tk.secure(o.cert)
	tk.say("DATA", "502")
	tk.say("RCPT TO:<"+ourAddress+">", "502")
	if extensions := tk.say("EHLO sender.example", "250"); strings.Contains(extensions, "STARTTLS") || strings.Contains(extensions, "AUTH") {
		t.Errorf("in TLS it offers %q", extensions)
	}
	tk.say("RCPT TO:<"+ourAddress+">", "502")
	tk.deliver(reportMail, "250")
	o.one()
}

// What was said before STARTTLS is forgotten.
func TestMailForgetsAtSTARTTLS(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	tk.begin(ourAddress)
	tk.say("STARTTLS", "220")
	tk = tk.secure(o.cert)
	tk.say("EHLO sender.example", "250")
	tk.say("DATA", "502")
}

// Only CR LF . CR LF ends a mail: with others a sender that lets them pass would have
// smuggled one.
func TestMailSmuggling(t *testing.T) {
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\r\r\n.\r\n", "\r.\r", "\n.\r"} {
		o := startMail(t, nil)
		tk := o.greeted()
		inner := "MAIL FROM:<>\r\nRCPT TO:<" + ourAddress + ">\r\nDATA\r\nFrom: admin@sender.example\r\n\r\nsmuggled\r\n"
		tk.deliver("From: a@sender.example\r\n\r\nhello"+end+inner, "250")
		if a := o.one(); !bytes.Contains(a.Data, []byte("smuggled")) {
			t.Errorf("%q ended a mail: %q", end, a.Data)
		}
	}
}

// Dots that senders put before lines with a dot are taken off.
func TestMailDots(t *testing.T) {
	o := startMail(t, nil)
	o.greeted().deliver("..a\r\n.b\r\n...\r\n", "250")
	if a := o.one(); string(a.Data) != ".a\r\nb\r\n..\r\n" {
		t.Errorf("delivered is %q", a.Data)
	}
}

// Who cannot be told now comes again; so does what cannot be kept.
func TestMailComesAgain(t *testing.T) {
	s := newSigners(t)
	fails := errors.New("the disk is full")
	o := startMail(t, func(o *intake.MailOptions) {
		keep := o.Deliver
		o.Deliver = func(ctx context.Context, a *reports.Arrival) error {
			if bytes.Contains(a.Data, []byte("full")) {
				return fails
			}
			return keep(ctx, a)
		}
	})
	tk := o.greeted()
	reply := tk.deliver("full\r\n", "451 4.3.0")
	if strings.Contains(reply, "disk") {
		t.Errorf("the sender is told %q", reply)
	}
	tk.deliver(sign(t, reportMail, s.rsa, "sender.example", "dead", nil), "451 4.7.5")
	tk.deliver(reportMail, "250")
	o.one()
	if o.outcome("not_kept") != 1 || o.outcome("dns") != 1 || o.outcome("taken") != 1 {
		t.Error("they were not counted as not_kept, dns and taken")
	}
}

// By LMTP there is an answer for each recipient.
func TestMailLMTP(t *testing.T) {
	o := startMail(t, func(o *intake.MailOptions) {
		keep := o.Deliver
		o.Deliver = func(ctx context.Context, a *reports.Arrival) error {
			if a.Token == "b" {
				return errors.New("not this one")
			}
			return keep(ctx, a)
		}
	})
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	o.serve(func() error { return o.mail.ServeLMTP(l) })
	tk := dial(t, "unix", path)
	tk.expect("220 mx.example.net LMTP")
	tk.say("EHLO mail.example.net", "500")
	tk.say("LHLO mail.example.net", "250")
	tk.begin("tlsrpt+a@reports.example.net", "tlsrpt+b@reports.example.net", "tlsrpt+A@reports.example.net", ourAddress, ourAddress)
	tk.say("DATA", "354")
	tk.say(reportMail+".", "250 2.0.0 <tlsrpt+a@")
	tk.expect("451 4.3.0 <tlsrpt+b@")
	tk.expect("250 2.0.0 <tlsrpt+A@")
	tk.expect("250 2.0.0 <tlsrpt@")
	tk.expect("250 2.0.0 <tlsrpt@")
	tk.begin("tlsrpt+b@reports.example.net", ourAddress)
	tk.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(reportMail), reportMail))
	tk.expect("451 4.3.0 <tlsrpt+b@")
	tk.expect("250 2.0.0 <tlsrpt@")
	tk.say("QUIT", "221")
	all := o.delivered()
	if len(all) != 3 || all[0].Token != "a" || all[1].Token != "" || all[0].Channel != reports.LMTP || all[0].Source != "local" || string(all[2].Data) != reportMail {
		t.Errorf("delivered is %+v", all)
	}
	o.call().say("LHLO a.example", "500") // that is the other one
}

// A mail may come in chunks (RFC 3030), and commands without waiting for answers.
func TestMailChunks(t *testing.T) {
	o := startMail(t, nil)
	tk := o.greeted()
	head, tail := reportMail[:100], reportMail[100:]
	tk.send(fmt.Sprintf("MAIL FROM:<>\r\nRCPT TO:<%s>\r\nBDAT %d\r\n%sBDAT %d LAST\r\n%s", ourAddress, len(head), head, len(tail), tail))
	for range 4 {
		tk.expect("250")
	}
	if a := o.one(); string(a.Data) != reportMail {
		t.Errorf("delivered is %q", a.Data)
	}
	tk.begin(ourAddress) // given up half-way
	tk.send(fmt.Sprintf("BDAT %d\r\n%s", len(head), head))
	tk.expect("250")
	tk.say("RSET", "250")
	tk.say("MAIL FROM:<>", "421")
	tk = o.greeted() // and cut off
	tk.begin(ourAddress)
	tk.send(fmt.Sprintf("BDAT %d\r\n%s", len(head), head))
	tk.expect("250")
	tk.conn.Close()
	o.waitFor("mtasts_reportmail_messages_total", "cut_off", 2)
	o.one()
}

// Half a mail is none.
func TestMailCutOff(t *testing.T) {
	for _, half := range []string{"", reportMail[:50], reportMail, reportMail + "."} {
		o := startMail(t, nil)
		tk := o.greeted()
		tk.begin(ourAddress)
		tk.say("DATA", "354")
		tk.send(half)
		tk.conn.Close()
		o.waitFor("mtasts_reportmail_messages_total", "cut_off", 1)
		if n := len(o.delivered()); n != 0 {
			t.Errorf("%d mails were delivered", n)
		}
	}
}

func TestNewMailOptions(t *testing.T) {
	good := intake.MailOptions{
		Hostname: "mx.example.net", Addresses: []string{ourAddress}, Authenticator: newAuthenticator(t, records{}),
		Deliver: func(context.Context, *reports.Arrival) error { return nil },
	}
	if _, err := intake.NewMail(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*intake.MailOptions){
		"no host name":        func(o *intake.MailOptions) { o.Hostname = "" },
		"one label":           func(o *intake.MailOptions) { o.Hostname = "localhost" },
		"line end":            func(o *intake.MailOptions) { o.Hostname = "mx.example.net\r\n" },
		"no address":          func(o *intake.MailOptions) { o.Addresses = nil },
		"no domain":           func(o *intake.MailOptions) { o.Addresses = []string{"tlsrpt"} },
		"no local part":       func(o *intake.MailOptions) { o.Addresses = []string{"@example.net"} },
		"a token":             func(o *intake.MailOptions) { o.Addresses = []string{"tlsrpt+a@example.net"} },
		"nobody delivers":     func(o *intake.MailOptions) { o.Deliver = nil },
		"nobody authenticate": func(o *intake.MailOptions) { o.Authenticator = nil },
	} {
		o := good
		change(&o)
		if _, err := intake.NewMail(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
