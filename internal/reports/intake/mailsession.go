package intake

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"

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
	results, err := s.take(r, s.recipients())
	for _, each := range results {
		err = cmp.Or(err, each)
	}
	return err
}

// LMTPData takes a mail by LMTP, which has an answer for each recipient.
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	to := s.recipients()
	results, err := s.take(r, to)
	if err != nil {
		return err // for all
	}
	for _, rcpt := range to {
		status.SetStatus(rcpt.written, results[rcpt.token])
	}
	return nil
}

// take reads a mail, finds out who sent it, and delivers it once for each token. It
// returns what became of each, or an error for all. There is one also where nobody is left
// to deliver to: a mail in chunks is given up before it is looked at.
func (s *session) take(r io.Reader, to []recipient) (map[string]error, error) {
	inFull := false
	s.call.begin()
	defer func() { s.call.end(inFull) }()
	data, letGo, err := s.mail.memory.read(s.mail.alive, &pacedReader{r: r, call: s.call})
	defer letGo()
	if errors.Is(err, smtp.ErrDataReset) { // Reset comes a moment later
		s.call.giveUp()
	}
	if err != nil {
		return nil, s.mail.failed(err)
	}
	inFull = true
	ctx, cancel := context.WithTimeout(s.mail.alive, deliverLimit)
	defer cancel()
	arrival, err := s.arrival(ctx, data)
	if err != nil {
		return nil, err
	}
	results := map[string]error{}
	for _, rcpt := range to {
		if _, done := results[rcpt.token]; !done {
			each := *arrival
			each.Token = rcpt.token
			results[rcpt.token] = s.mail.keep(ctx, &each)
		}
	}
	return results, nil
}

// arrival makes an Arrival of a mail, but for its token.
func (s *session) arrival(ctx context.Context, data []byte) (*reports.Arrival, error) {
	a := &reports.Arrival{Channel: s.channel, Received: s.mail.now(), Source: s.call.source(), Data: data, Mail: true}
	var err error
	a.Submitter, a.Unauthenticated, err = s.mail.authenticator.Authenticate(ctx, data)
	if err != nil {
		s.mail.metrics.count(mailUnknown)
		s.mail.log.Debug("a report by mail is to come again", "source", a.Source, "err", err)
		return nil, errUnknown
	}
	return a, nil
}
