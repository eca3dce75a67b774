package alert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

const (
	dialFor = 20 * time.Second // to connect

	// maxTalk bounds what a server may say in a session: certificates and some lines.
	maxTalk = 1 << 20
)

// boundedConn ends a server that never stops to talk.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("it talks without an end")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (m *Mail) send(ctx context.Context, msg *Message, to string) error {
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	if err := m.session(ctx, msg, to); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return fmt.Errorf("the mail server at %s: %w", m.o.Server, err)
	}
	return nil
}

func (m *Mail) session(ctx context.Context, msg *Message, to string) error {
	raw, err := m.dial(ctx, "tcp", m.o.Server)
	if err != nil {
		return fmt.Errorf("it cannot be reached: %w", err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	client, err := m.greet(ctx, &boundedConn{raw, maxTalk})
	if err != nil {
		return err
	}
	err = m.login(client)
	if err == nil {
		err = m.hand(client, msg, to)
	}
	if _, answered := errors.AsType[*answer](err); err == nil || answered {
		_ = client.Quit() // what became of the mail is known
	}
	return err
}

// greet returns a client that may be told secrets.
func (m *Mail) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	local := isLoopback(conn.RemoteAddr())
	// On this machine nobody stands between, and certificates there are for other names.
	config := &tls.Config{ServerName: m.host, RootCAs: m.o.Roots, InsecureSkipVerify: local}
	if m.o.Implicit {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS from the first byte on fails: %w", err)
		}
		conn = secure
	}
	client, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return nil, said("it does not greet", err)
	}
	if err := client.Hello(literal(conn.LocalAddr())); err != nil {
		return nil, said("it does not take EHLO", err)
	}
	if m.o.Implicit {
		return client, nil
	}
	return client, m.startTLS(client, config, local)
}

func (m *Mail) startTLS(client *smtp.Client, config *tls.Config, local bool) error {
	if ok, _ := client.Extension("STARTTLS"); !ok {
		if local {
			return nil
		}
		return errors.New("it offers no STARTTLS")
	}
	if err := client.StartTLS(config); err != nil {
		return said("STARTTLS fails", err)
	}
	return nil
}

// login tells user and password. Without TLS, only a server on this machine comes so far.
func (m *Mail) login(client *smtp.Client) error {
	if m.o.User == "" {
		return nil
	}
	ok, offered := client.Extension("AUTH")
	switch {
	case !ok:
		return errors.New("it offers no AUTH, and a user is configured")
	case !slices.Contains(strings.Fields(strings.ToUpper(offered)), "PLAIN"):
		return fmt.Errorf("it offers AUTH %s, and not PLAIN", clean(offered, maxLine))
	}
	password, err := m.password()
	if err != nil {
		return err
	}
	if err := client.Auth(plain{m.o.User, password}); err != nil {
		return said("it refused the user or the password", err)
	}
	return nil
}

// plain is the mechanism of RFC 4616. That of net/smtp knows three names of this machine only.
type plain struct{ user, password string }

func (p plain) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + p.user + "\x00" + p.password), nil
}

func (p plain) Next([]byte, bool) ([]byte, error) { return nil, nil }

// hand gives the mail away.
func (m *Mail) hand(client *smtp.Client, msg *Message, to string) error {
	if err := m.mailFrom(client); err != nil {
		return said("it refused the sender "+m.from.Address, err)
	}
	if err := client.Rcpt(to); err != nil {
		err = said("it refused the recipient "+to, err)
		if slices.Contains(m.o.To, to) {
			return err // somebody mends a setting, and then the mail is to go
		}
		return final(err)
	}
	w, err := client.Data()
	if err != nil {
		return said("it refused DATA", err)
	}
	if _, err := io.WriteString(w, m.compose(msg, to)); err != nil {
		return said("it broke off", err)
	}
	if err := w.Close(); err != nil {
		return final(said("it refused the mail", err))
	}
	return nil
}

// mailFrom does without the SMTPUTF8 that net/smtp asks for wherever it is offered: a server
// further on that knows none would refuse a mail that needs none (RFC 6531 §3.2).
func (m *Mail) mailFrom(client *smtp.Client) error {
	id, err := client.Text.Cmd("MAIL FROM:<%s>", m.from.Address)
	if err != nil {
		return err
	}
	client.Text.StartResponse(id)
	defer client.Text.EndResponse(id)
	_, _, err = client.Text.ReadResponse(250)
	return err
}

// said is what a server says, as it may be shown.
func said(what string, err error) error {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return &answer{reply.Code, fmt.Sprintf("%s: %d %s", what, reply.Code, clean(reply.Msg, maxLine))}
	}
	return fmt.Errorf("%s: %w", what, err)
}

type answer struct {
	code int
	text string
}

func (a *answer) Error() string { return a.text }

// final makes an answer that stays (RFC 5321 §4.2.1) a refusal. A sender or a password that is
// refused is none: somebody mends that, and then the mail is to go.
func final(err error) error {
	if a, ok := errors.AsType[*answer](err); ok && a.code/100 == 5 {
		return &refusal{err}
	}
	return err
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// literal is who we say we are: the address, which is always true (RFC 5321 §4.1.4).
func literal(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	switch {
	case !ok:
		return "localhost"
	case tcp.IP.To4() == nil:
		return "[IPv6:" + tcp.IP.String() + "]"
	}
	return "[" + tcp.IP.String() + "]"
}
