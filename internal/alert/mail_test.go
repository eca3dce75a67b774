package alert_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/alert"
)

// relay is a mail server that takes mail from those who know the password.
type relay struct {
	addr  string
	roots *x509.CertPool

	mu         sync.Mutex
	mechanisms []string
	refuse     map[string]*smtp.SMTPError // by address, or "data"
	mails      []received
	talkers    []string // who said EHLO
}

type received struct {
	from, to string
	smtp.MailOptions
	text []byte
}

func startRelay(t *testing.T, implicit bool) *relay {
	t.Helper()
	web := httptest.NewTLSServer(nil) // its certificate is for 127.0.0.1
	defer web.Close()
	r := &relay{roots: x509.NewCertPool(), mechanisms: []string{"PLAIN"}, refuse: map[string]*smtp.SMTPError{}}
	r.roots.AddCert(web.Certificate())
	s := smtp.NewServer(r)
	s.TLSConfig = &tls.Config{Certificates: web.TLS.Certificates}
	s.ErrorLog = log.New(io.Discard, "", 0)
	s.Domain, s.AllowInsecureAuth, s.EnableSMTPUTF8 = "relay.test", true, true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return r
}

func (r *relay) NewSession(c *smtp.Conn) (smtp.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.talkers = append(r.talkers, c.Hostname())
	return &relaySession{r: r}, nil
}

type relaySession struct {
	r      *relay
	known  bool
	letter received
}

func (s *relaySession) AuthMechanisms() []string { return s.r.mechanisms }

func (s *relaySession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.known = user == "mtasts" && password == "pass word"; !s.known {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "who are\x1b you"}
		}
		return nil
	}), nil
}

func (s *relaySession) Mail(from string, o *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	s.letter = received{from: from, MailOptions: *o}
	return s.r.refusal(from)
}

func (s *relaySession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = to
	return s.r.refusal(to)
}

func (s *relaySession) Data(from io.Reader) error {
	var err error
	if s.letter.text, err = io.ReadAll(from); err != nil {
		return err
	}
	if err := s.r.refusal("data"); err != nil {
		return err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.mails = append(s.r.mails, s.letter)
	return nil
}

func (s *relaySession) Reset()        {}
func (s *relaySession) Logout() error { return nil }

func (r *relay) refusal(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.refuse[what]; e != nil {
		return e
	}
	return nil
}

func (r *relay) options(t *testing.T) alert.MailOptions {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("pass word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return alert.MailOptions{
		Server: r.addr, User: "mtasts", PasswordFile: file, Roots: r.roots,
		From: "MTA-STS für alle <mtasts@example.org>", To: []string{"night@example.org"}, Now: func() time.Time { return noon },
	}
}

func newMail(t *testing.T, o alert.MailOptions) *alert.Mail {
	t.Helper()
	m, err := alert.NewMail(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// letter is a mail as a reader shows it.
type letter struct {
	mail.Header
	subject, body string
}

func open(t *testing.T, text []byte) letter {
	t.Helper()
	for line := range strings.SplitSeq(string(text), "\r\n") {
		if len(line) > 78 || strings.ContainsAny(line, "\r\n") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the line %q", line)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return letter{m.Header, subject, strings.ReplaceAll(string(body), "\r\n", "\n")}
}

// postbox gives a desk mail as well.
func (d *desk) postbox(o alert.MailOptions) {
	d.t.Helper()
	o.Now = d.clock
	d.o.Mail = newMail(d.t, o)
	d.restart()
}

func TestMailForTheNight(t *testing.T) {
	r := startRelay(t, false)
	d := newDesk(t, onDisk(t))
	d.postbox(r.options(t))
	d.raise(alert.Alert{
		Key: "mx-not-in-policy example.com mx2.example.com", Domain: "example.com", Code: "mx-not-in-policy", Severity: alert.Error, Urgent: true,
		Title:    "mail will be lost: MX mx2.example.com is not in the policy",
		Text:     "DNS names an MX that the policy of example.com, which is enforced, does not allow. Senders that hold the policy do not deliver there.",
		Evidence: "MX 20 mx2.example.com. from the name server ns1.example.net, 192.0.2.53",
		Fix:      "Add mx2.example.com to the policy, or take it out of DNS – until then mail waits at its senders.",
		Owner:    "dns@example.net", At: noon.Add(-time.Hour),
	})
	d.now = d.now.Add(time.Minute)
	d.want(0, "opened mx-not-in-policy example.com mx2.example.com")
	if len(r.mails) != 1 || r.mails[0].from != "mtasts@example.org" || r.mails[0].to != "night@example.org" || r.mails[0].UTF8 || r.talkers[0] != "[127.0.0.1]" {
		t.Fatalf("%+v %q", r.mails, r.talkers)
	}
	m := open(t, r.mails[0].text)
	if want := "[mtasts] example.com: mail will be lost: MX mx2.example.com is not in the policy"; m.subject != want {
		t.Errorf("subject %q", m.subject)
	}
	want := `example.com: mail will be lost: MX mx2.example.com is not in the policy
What      DNS names an MX that the policy of example.com, which is enforced,
          does not allow. Senders that hold the policy do not deliver there.
Since     2026-11-27 11:00 UTC
Evidence  MX 20 mx2.example.com. from the name server ns1.example.net,
          192.0.2.53
Fix       Add mx2.example.com to the policy, or take it out of DNS – until
          then mail waits at its senders.
Who       dns@example.net
Code      mx-not-in-policy

Sent at once, as mail is lost meanwhile. You are told when it is mended;
until then each daily digest names it.
`
	if diff := cmp.Diff(want, m.body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if at, err := m.Date(); err != nil || !at.Equal(d.now) {
		t.Errorf("date %v, %v", at, err)
	}
	from, err := m.AddressList("From")
	if err != nil || from[0].Name != "MTA-STS für alle" || m.Get("Auto-Submitted") != "auto-generated" || !strings.HasSuffix(m.Get("Message-ID"), "@example.org>") {
		t.Errorf("%v, error %v", m.Header, err)
	}
	d.raise(alert.Alert{Key: "mx-not-in-policy example.com mx2.example.com", Closed: true})
	d.after(0)
	end := open(t, r.mails[1].text)
	if end.subject != "[mtasts] example.com: mended: mail will be lost: MX mx2.example.com is not in the policy" || end.Get("References") != m.Get("References") || end.Get("Message-ID") == m.Get("Message-ID") {
		t.Errorf("%q %v", end.subject, end.Header)
	}
}

func TestDigestAsMail(t *testing.T) {
	r := startRelay(t, false)
	d := newDesk(t, onDisk(t))
	d.postbox(r.options(t))
	d.raise(urgent("a"), warning("b"), warning("c"))
	d.raise(closed("c"))
	d.after(d.tomorrow())
	m := open(t, r.mails[1].text)
	want := `New: 1
======

b.example: nobody reports
What      text
Since     2026-11-27 12:00 UTC
Code      no-tlsrpt

Mended: 1
=========

c.example: nobody reports
What      text
Since     2026-11-27 12:00 UTC
Mended    2026-11-27 12:00 UTC
Code      no-tlsrpt

Still open, and losing mail: 1
==============================

a.example: mail will be lost
What      text
Since     2026-11-27 12:00 UTC
Code      mx-not-in-policy

`
	if diff := cmp.Diff(want, m.body); diff != "" || m.subject != "[mtasts] digest: 1 new, 1 mended, 1 still losing mail" {
		t.Errorf("%q (-want +got):\n%s", m.subject, diff)
	}
}

func TestNothingIsInjected(t *testing.T) {
	r := startRelay(t, false)
	d := newDesk(t, onDisk(t))
	o := r.options(t)
	o.ToOwners = true
	d.postbox(o)
	evil := "x\r\nBcc: victim@example.com\r\n\r\n.\r\nMAIL FROM:<a@b>\r\n\u202e\u200b=?utf-8?q?=0d=0a?= \x00\xff" + strings.Repeat("ü", 3000)
	a := alert.Alert{Key: evil, Domain: evil, Code: evil, Severity: alert.Error, Urgent: true, Title: evil, Text: evil, Evidence: evil, Fix: evil, Owner: "a@example.com>\r\nRCPT TO:<victim@example.com"}
	b := a
	b.Key += "another"
	d.raise(a, b)
	d.after(0)
	if len(r.mails) != 2 || r.mails[0].to != "night@example.org" || r.mails[1].to != "night@example.org" {
		t.Fatalf("%d mails: %+v", len(r.mails), r.mails)
	}
	m := open(t, r.mails[0].text)
	var names []string
	for name := range m.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "References", "Subject", "To"}; !slices.Equal(names, want) {
		t.Errorf("headers %q", names)
	}
	for _, text := range []string{m.subject, m.body} {
		if strings.ContainsAny(text, "\r\x00\u202e\u200b") || strings.Contains(text, "\nBcc") || len(text) > 12000 {
			t.Errorf("it shows %q", text)
		}
	}
	if !strings.Contains(m.body, `\u202e\u200b=?utf-8?q?`) || !strings.Contains(m.subject, `= ?utf-8?q?`) {
		t.Errorf("%q: %q", m.subject, m.body)
	}
}

func TestOwners(t *testing.T) {
	r := startRelay(t, false)
	d := newDesk(t, onDisk(t))
	o := r.options(t)
	d.postbox(o)
	own := func(a alert.Alert, owner string) alert.Alert {
		a.Owner = owner
		return a
	}
	to := func() (list []string) {
		for _, m := range r.mails {
			list = append(list, m.to)
		}
		slices.Sort(list)
		r.mails = nil
		return list
	}
	want := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, to()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	d.raise(own(urgent("a"), "dns@example.net"))
	d.after(0)
	want("night@example.org") // owners have nothing unless that is wanted
	o.ToOwners = true
	d.postbox(o)
	d.raise(own(urgent("b"), "mx@example.net"), own(warning("c"), "dns@example.net"), own(warning("d"), "NIGHT@example.org"), own(warning("e"), "the DNS people"))
	d.after(0)
	want("mx@example.net", "night@example.org")
	d.after(d.tomorrow())
	digests := slices.Clone(r.mails)
	want("dns@example.net", "mx@example.net", "night@example.org")
	for _, m := range digests {
		body := open(t, m.text).body
		if theirs := strings.Contains(body, "c.example"); theirs == (m.to == "mx@example.net") {
			t.Errorf("%s has %s", m.to, body)
		}
		if strings.Contains(body, "e.example") != (m.to == "night@example.org") {
			t.Errorf("%s has %s", m.to, body)
		}
	}
	var many []alert.Alert
	for i := range 150 {
		many = append(many, own(warning(fmt.Sprint(i)), fmt.Sprintf("owner%d@example.net", i)))
	}
	d.raise(many...)
	d.after(d.tomorrow())
	if n := len(r.mails); n != 101 {
		t.Errorf("%d mails", n)
	}
	if body := open(t, r.mails[0].text).body; !strings.Contains(body, "52 owners were not written to") {
		t.Errorf("%s", body)
	}
}

func TestMailTroubles(t *testing.T) {
	no := func(code int, text string) *smtp.SMTPError {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: text}
	}
	for name, c := range map[string]struct {
		change func(*relay, *alert.MailOptions)
		want   string
	}{
		"no STARTTLS":     {func(r *relay, o *alert.MailOptions) { o.Server = saying(t, "220 hi", "250 relay") }, "offers no STARTTLS"},
		"no AUTH":         {func(r *relay, _ *alert.MailOptions) { r.mechanisms = nil }, "it offers no AUTH, and a user is configured"},
		"other AUTH":      {func(r *relay, _ *alert.MailOptions) { r.mechanisms = []string{"LOGIN", "XOAUTH2"} }, "it offers AUTH LOGIN XOAUTH2, and not PLAIN"},
		"unknown CA":      {func(_ *relay, o *alert.MailOptions) { o.Roots = x509.NewCertPool() }, "certificate"},
		"wrong password":  {func(_ *relay, o *alert.MailOptions) { overwrite(t, o.PasswordFile, "other") }, `it refused the user or the password: 535 5.7.8 who are\x1b you`},
		"empty password":  {func(_ *relay, o *alert.MailOptions) { overwrite(t, o.PasswordFile, "\n") }, "there is no password in"},
		"no password":     {func(_ *relay, o *alert.MailOptions) { os.Remove(o.PasswordFile) }, "no such file"},
		"sender":          {func(r *relay, _ *alert.MailOptions) { r.refuse["mtasts@example.org"] = no(553, "not yours") }, "it refused the sender mtasts@example.org: 553 not yours"},
		"recipient":       {func(r *relay, _ *alert.MailOptions) { r.refuse["night@example.org"] = no(550, "no such user") }, "it refused the recipient night@example.org: 550 no such user"},
		"content":         {func(r *relay, _ *alert.MailOptions) { r.refuse["data"] = no(554, "spam") }, "it refused the mail: 554 spam"},
		"nobody there":    {func(_ *relay, o *alert.MailOptions) { o.Server = "127.0.0.1:1" }, "cannot be reached: "},
		"not SMTP":        {func(_ *relay, o *alert.MailOptions) { o.Server = saying(t, "HTTP/1.1 400 Bad Request") }, "it does not greet"},
		"implicit at 587": {func(_ *relay, o *alert.MailOptions) { o.Implicit = true }, "TLS from the first byte on fails"},
		"endless":         {func(_ *relay, o *alert.MailOptions) { o.Server = endless(t) }, "talks without an end"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, false)
			o := r.options(t)
			c.change(r, &o)
			m := newMail(t, o)
			m.Elsewhere()
			err := m.Test(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "the mail server at "+o.Server) || strings.Contains(err.Error(), "pass word") || len(err.Error()) > 1000 {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if len(r.mails) != 0 {
				t.Errorf("a mail arrived")
			}
		})
	}
}

func overwrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// saying is a server that says lines, one for each that it hears, and then nothing more.
func saying(t *testing.T, lines ...string) string {
	return listen(t, func(conn net.Conn) {
		b := make([]byte, 4096)
		for _, line := range lines {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				return
			}
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, conn)
	})
}

func endless(t *testing.T) string {
	return listen(t, func(conn net.Conn) {
		line := []byte("220-" + strings.Repeat("hello ", 100) + "\r\n")
		for {
			if _, err := conn.Write(line); err != nil {
				return
			}
		}
	})
}

func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wait.Wait()
	})
	return l.Addr().String()
}

func TestMailServerThatHangs(t *testing.T) {
	r := startRelay(t, false)
	for name, addr := range map[string]string{"before it greets": saying(t), "after EHLO": saying(t, "220 hi")} {
		t.Run(name, func(t *testing.T) {
			o := r.options(t)
			o.Server = addr
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			if err := newMail(t, o).Test(ctx); err == nil || !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMailOnThisMachine(t *testing.T) {
	// Neither does nobody's certificate matter there, nor TLS at all.
	r := startRelay(t, false)
	o := r.options(t)
	o.Roots = nil
	if err := newMail(t, o).Test(t.Context()); err != nil || len(r.mails) != 1 {
		t.Errorf("error %v, %d mails", err, len(r.mails))
	}
	m := open(t, r.mails[0].text)
	if m.subject != "[mtasts] a test: alerts arrive here" || !strings.Contains(m.body, "Nothing is wrong.") {
		t.Errorf("%q: %q", m.subject, m.body)
	}
	implicit := startRelay(t, true)
	o = implicit.options(t)
	o.Implicit = true
	elsewhere := newMail(t, o)
	elsewhere.Elsewhere()
	if err := elsewhere.Test(t.Context()); err != nil || len(implicit.mails) != 1 {
		t.Errorf("error %v, %d mails", err, len(implicit.mails))
	}
}

func TestRefusedRecipients(t *testing.T) {
	r := startRelay(t, false)
	d := newDesk(t, onDisk(t))
	o := r.options(t)
	o.ToOwners, o.To = true, []string{"night@example.org", "day@example.org"}
	for _, a := range []string{"day@example.org", "gone@example.net"} {
		r.refuse[a] = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	d.postbox(o)
	a := urgent("a")
	a.Owner = "gone@example.net"
	d.raise(a)
	d.after(0)
	if len(r.mails) != 1 || r.mails[0].to != "night@example.org" {
		t.Fatalf("%+v", r.mails)
	}
	lines := strings.Join(d.sender.Trouble(), "\n")
	for _, want := range []string{"refused the recipient day@example.org: 550", "was given up", "refused the recipient gone@example.net"} {
		if !strings.Contains(lines, want) {
			t.Errorf("trouble %q, want %q", lines, want)
		}
	}
	clear(r.refuse) // somebody mends it
	d.after(time.Hour)
	if len(r.mails) != 2 || r.mails[1].to != "day@example.org" {
		t.Errorf("%+v", r.mails)
	}
}

func TestMailOptions(t *testing.T) {
	good := alert.MailOptions{Server: "smtp.example.net:587", From: "a@example.org", To: []string{"b@example.org"}, Now: time.Now}
	if _, err := alert.NewMail(good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*alert.MailOptions)
		want   string
	}{
		"no port":     {func(o *alert.MailOptions) { o.Server = "smtp.example.net" }, "host:port"},
		"no password": {func(o *alert.MailOptions) { o.User = "u" }, "needs a password file"},
		"nobody":      {func(o *alert.MailOptions) { o.To = nil }, "addresses to send mail to"},
		"crowd":       {func(o *alert.MailOptions) { o.To = make([]string, 21) }, "have 21"},
		"two lines":   {func(o *alert.MailOptions) { o.From = "a@example.org\r\nBcc: c@example.org" }, "plain mail address"},
		"quoted":      {func(o *alert.MailOptions) { o.To = []string{`"a> b"@example.org`} }, "plain mail address"},
		"not ASCII":   {func(o *alert.MailOptions) { o.To = []string{"a@exämple.org"} }, "plain mail address"},
	} {
		o := good
		c.change(&o)
		if _, err := alert.NewMail(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
