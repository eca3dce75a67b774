package intake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mtasts-server/internal/reports"
	"mtasts-server/tlsrpt"
)

// MailOptions are what NewMail needs.
type MailOptions struct {
	// Hostname is how the server greets: the name that MX records have for it.
	Hostname string

	// Addresses are those that reports are taken for, as tlsrpt@reports.example.net. Mail
	// to tlsrpt+TOKEN@reports.example.net is taken too; see Arrival.Token.
	Addresses []string

	// TLS offers STARTTLS; nil does not. It is never required: reports tell of TLS that
	// fails, and "must be accepted" without it (RFC 8460 §3).
	TLS *tls.Config

	Authenticator *Authenticator

	// Deliver keeps what came. After an error the sender is asked to try again. The
	// memory of Data counts as used until it returns; it may be called by several
	// goroutines, and is to look at its context.
	Deliver func(ctx context.Context, a *reports.Arrival) error

	Limits MailLimits   // each of 0 is as the constants have it
	Log    *slog.Logger // of what is wrong on our side; nil is none
	Now    func() time.Time
}

// Mail takes reports by SMTP and LMTP, and nothing else: it relays no mail, and has no
// mailboxes. It is a prometheus.Collector.
type Mail struct {
	hostname      string
	addresses     addresses
	authenticator *Authenticator
	deliver       func(ctx context.Context, a *reports.Arrival) error
	limits        MailLimits
	log           *slog.Logger
	now           func() time.Time

	memory     *memory
	metrics    mailMetrics
	complained atomic.Int64 // when it was last logged that nothing can be kept

	smtp, lmtp *door
	alive      context.Context // until Shutdown gives up
	kill       context.CancelFunc
}

// door is one of the two protocols.
type door struct {
	server  *smtp.Server
	callers *callers

	mu     sync.Mutex
	closed bool
	gates  []*gate
}

// NewMail returns a Mail, which takes mail once it is given listeners.
func NewMail(o MailOptions) (*Mail, error) {
	hostname := asciiDomain(o.Hostname)
	switch {
	case hostname == "":
		return nil, fmt.Errorf("reports by mail: %q is no host name", o.Hostname)
	case o.Authenticator == nil || o.Deliver == nil:
		return nil, errors.New("reports by mail: nobody to authenticate them, or to deliver them to")
	}
	known, err := parseAddresses(hostname, o.Addresses)
	if err != nil {
		return nil, fmt.Errorf("reports by mail: %w", err)
	}
	m := &Mail{hostname: hostname, addresses: known, authenticator: o.Authenticator, deliver: o.Deliver, limits: o.Limits.orDefaults(), log: o.Log, now: o.Now}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.now == nil {
		m.now = time.Now
	}
	m.memory = newMemory(m.limits)
	m.alive, m.kill = context.WithCancel(context.Background())
	m.smtp = m.newDoor(reports.SMTP, o.TLS)
	m.lmtp = m.newDoor(reports.LMTP, o.TLS)
	return m, nil
}

func (m *Mail) newDoor(channel reports.Channel, config *tls.Config) *door {
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return m.newSession(c.Conn(), channel), nil
	}))
	s.Domain = m.hostname
	s.TLSConfig = config
	s.LMTP = channel == reports.LMTP
	s.MaxMessageBytes = tlsrpt.MaxMessageSize
	s.MaxRecipients = maxRecipients
	s.MaxLineLength = maxMailLine
	s.ErrorLog = smtpLog{m.log}
	return &door{server: s, callers: newCallers(m.limits, s.LMTP, &m.metrics)}
}

// ServeSMTP takes mail on l until Shutdown, and then returns nil. It closes l.
func (m *Mail) ServeSMTP(l net.Listener) error { return m.smtp.serve(l) }

// ServeLMTP does so by LMTP (RFC 2033), for a mail server of ours that passes reports on:
// whoever it takes them from is bounded there, so that one address may have all
// connections. l may be a Unix socket.
func (m *Mail) ServeLMTP(l net.Listener) error { return m.lmtp.serve(l) }

func (d *door) serve(l net.Listener) error {
	g := &gate{l, d.callers}
	defer g.Close()
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.gates = append(d.gates, g)
	d.mu.Unlock()
	err := d.server.Serve(g)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gates = slices.DeleteFunc(d.gates, func(other *gate) bool { return other == g })
	if d.closed {
		return nil
	}
	return err
}

// Shutdown ends connections, those that bring a mail after it is answered. When ctx is done
// it cuts off what is left, and returns the reason. Mail that was not answered comes again.
func (m *Mail) Shutdown(ctx context.Context) error {
	defer m.kill()
	m.smtp.close()
	m.lmtp.close()
	err := m.smtp.server.Shutdown(ctx)
	if other := m.lmtp.server.Shutdown(ctx); ctx.Err() == nil && err == nil {
		err = other
	}
	if ctx.Err() == nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, smtp.ErrServerClosed)) {
		err = nil // we closed it, before
	}
	m.smtp.callers.hangUp()
	m.lmtp.callers.hangUp()
	return err
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, g := range d.gates {
		g.Close()
	}
	d.callers.finish()
}
