package alert

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// maxRecipients of all messages: a list of people is an address of its own.
	maxRecipients = 20

	// maxPassword bounds what is read of the password's file.
	maxPassword = 4 << 10
)

// plainAddress is an address that SMTP and a header take as it stands (RFC 5321 §4.1.2, a
// Dot-string at a Domain); others exist, and nobody needs them here.
var plainAddress = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$")

// MailOptions say how mail is sent. Server, From, To and Now are required.
type MailOptions struct {
	Server       string // "host:port"; STARTTLS is required, but on this machine
	Implicit     bool   // TLS from the first byte on, as on port 465 (RFC 8314 §3.3)
	User         string // "" where the server wants none
	PasswordFile string // is read for each connection: a new password needs no restart
	From         string // "name <address>" or an address; what cannot be delivered comes back there
	To           []string
	ToOwners     bool           // an alert's Owner has it as well, if that is an address
	Roots        *x509.CertPool // nil: the system's
	Now          func() time.Time
}

// Mail sends messages through an SMTP server, each recipient a mail of its own.
type Mail struct {
	o    MailOptions
	host string
	from *mail.Address
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewMail returns a Mail. The server is not asked yet.
func NewMail(o MailOptions) (*Mail, error) {
	host, port, err := net.SplitHostPort(o.Server)
	switch {
	case err != nil || host == "" || port == "":
		return nil, fmt.Errorf("alert: want an SMTP server as host:port, have %q", o.Server)
	case o.Now == nil:
		return nil, errors.New("alert: mail needs a clock")
	case (o.User == "") != (o.PasswordFile == ""):
		return nil, errors.New("alert: an SMTP server's user needs a password file, and the file a user")
	case len(o.To) == 0 || len(o.To) > maxRecipients:
		return nil, fmt.Errorf("alert: want 1 to %d addresses to send mail to, have %d", maxRecipients, len(o.To))
	}
	m := &Mail{o: o, host: host, dial: (&net.Dialer{Timeout: dialFor}).DialContext}
	if m.from, err = parseAddress(o.From); err != nil {
		return nil, err
	}
	m.o.To = nil
	for _, text := range o.To {
		to, err := parseAddress(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(m.o.To, to.Address) {
			m.o.To = append(m.o.To, to.Address)
		}
	}
	return m, nil
}

func parseAddress(text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || !isAddress(a.Address) {
		return nil, fmt.Errorf("alert: want a plain mail address in ASCII, have %q", clean(text, maxLine))
	}
	a.Name = clean(a.Name, maxLine)
	return a, nil
}

func isAddress(s string) bool { return len(s) <= maxName && plainAddress.MatchString(s) }

// writesTo reports whether owner is an address that has no copy anyway.
func (m *Mail) writesTo(owner string) bool {
	return isAddress(owner) && !slices.ContainsFunc(m.o.To, func(to string) bool { return strings.EqualFold(to, owner) })
}

// Test sends each recipient a mail that says it is a test. The error says what to mend.
func (m *Mail) Test(ctx context.Context) error {
	test := newMessage(Test, m.o.Now())
	var errs []error
	for _, to := range m.o.To {
		errs = append(errs, m.send(ctx, test, to))
	}
	return errors.Join(errs...)
}

func (m *Mail) password() (string, error) {
	f, err := os.Open(m.o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	defer f.Close()
	b := make([]byte, maxPassword)
	n, err := f.Read(b)
	text := strings.TrimRight(string(b[:n]), "\r\n")
	if n == 0 || text == "" || strings.ContainsRune(text, 0) {
		return "", errors.Join(fmt.Errorf("there is no password in %q", m.o.PasswordFile), err)
	}
	return text, nil
}
