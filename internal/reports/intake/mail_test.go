package intake_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"path/filepath"
	"strings"
	"testing"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/tlsrpt"
)

// A report comes as it does from a large sender: by STARTTLS, signed, to an address with
// a token.
func TestMailTakesReports(t *testing.T) {
	s := newSigners(t)
	dns := records{"rsa._domainkey.sender.example": record(t, s.rsa, "s=tlsrpt; ")}
	o := startMail(t, func(o *intake.MailOptions) { o.Authenticator = newAuthenticator(t, dns) })
	mail := sign(t, reportMail, s.rsa, "sender.example", "rsa", nil)

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
