package intake

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"mtasts-server/internal/reports"
)

// session is one connection's talk, until STARTTLS or the end. A mail in chunks (RFC 3030)
// is read beside the commands, so that both look at it.
type session struct {
	mail    *Mail
	call    *call
	channel reports.Channel

	mu    sync.Mutex
	to    []recipient
	mails int
}

// recipient is one of our addresses, as it was written, and its token.
type recipient struct{ written, token string }

func (m *Mail) newSession(conn net.Conn, channel reports.Channel) *session {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	return &session{mail: m, call: conn.(*call), channel: channel}
}

// Mail takes any sender: reports are bounced by nobody, and who sent them is told by
// signatures.
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.call.isSpoiled() {
		return errGivenUp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mails++; s.mails > s.mail.limits.Mails {
		return errManyMails
	}
	return nil
}

// Rcpt takes our addresses alone.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	token, err := s.mail.addresses.find(to)
	if err != nil {
		s.mail.metrics.refused.Add(1)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = append(s.to, recipient{to, token})
	return nil
}

// Reset forgets the recipients.
func (s *session) Reset() {
	s.call.giveUp()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = nil
}

// Logout comes before STARTTLS, and at the end.
func (s *session) Logout() error {
	s.call.giveUp()
	return nil
}

// recipients are a copy, since a reset may come in between.
func (s *session) recipients() []recipient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.to)
}

// Data takes a mail by SMTP: for all recipients, or for none.
func (s *session) Data(r io.Reader) error {
	for _, err := range s.take(r, s.recipients()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// LMTPData takes a mail by LMTP, which has an answer for each recipient.
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	to := s.recipients()
	results := s.take(r, to)
	for _, rcpt := range to {
		status.SetStatus(rcpt.written, results[rcpt.token])
	}
	return nil
}

// take reads a mail, finds out who sent it, and delivers it once for each token. It
// returns what became of each.
func (s *session) take(r io.Reader, to []recipient) map[string]error {
	inFull := false
	s.call.begin()
	defer func() { s.call.end(inFull) }()
	ctx, cancel := context.WithTimeout(s.mail.alive, s.mail.limits.Wait+deliverLimit)
	defer cancel()
	results := map[string]error{}
	arrival, letGo, err := s.read(ctx, r)
	defer letGo()
	inFull = arrival != nil
	for _, rcpt := range to {
		if _, done := results[rcpt.token]; done {
			continue
		}
		if err == nil {
			each := *arrival
			each.Token = rcpt.token
			results[rcpt.token] = s.mail.keep(ctx, &each)
		} else {
			results[rcpt.token] = err
		}
	}
	return results
}

// read makes an Arrival of a mail; there is one, with an error, where it came in full and
// its sender cannot be known now. The memory it takes counts until letGo is called.
func (s *session) read(ctx context.Context, r io.Reader) (a *reports.Arrival, letGo func(), err error) {
	data, letGo, err := s.mail.memory.read(ctx, &pacedReader{r: r, call: s.call})
	if err != nil {
		letGo()
		return nil, func() {}, s.mail.failed(err)
	}
	a = &reports.Arrival{Channel: s.channel, Received: s.mail.now(), Source: s.call.source(), Data: data, Mail: true}
	a.Submitter, a.Unauthenticated, err = s.mail.authenticator.Authenticate(ctx, data)
	if err != nil {
		s.mail.metrics.count(mailUnknown)
		s.mail.log.Debug("a report by mail is to come again", "source", a.Source, "err", err)
		return a, letGo, errUnknown
	}
	return a, letGo, nil
}

// failed counts why a mail was not read, and says it to the sender.
func (m *Mail) failed(err error) error {
	outcome, reply := mailCutOff, errCutOff
	switch {
	case errors.Is(err, smtp.ErrDataTooLarge):
		outcome, reply = mailTooLarge, smtp.ErrDataTooLarge
	case errors.Is(err, smtp.ErrTooLongLine):
		outcome, reply = mailLongLine, errLongLine
	case errors.Is(err, errNoPlace):
		outcome, reply = mailNoPlace, errBusy
	}
	m.metrics.count(outcome)
	return reply
}

// keep delivers, and says to the sender how that went.
func (m *Mail) keep(ctx context.Context, a *reports.Arrival) error {
	if err := m.deliver(ctx, a); err != nil {
		m.metrics.count(mailNotKept)
		m.complain(err)
		return errNotKept
	}
	m.metrics.count(mailTaken)
	return nil
}

// complainEvery bounds the log while nothing can be kept, whoever sends how much.
const complainEvery = time.Minute

func (m *Mail) complain(err error) {
	now, last := m.now().UnixNano(), m.complained.Load()
	if last != 0 && now-last < int64(complainEvery) || !m.complained.CompareAndSwap(last, now) {
		return
	}
	m.log.Warn("a report by mail was not kept: its sender was asked to try again", "err", err)
}
