package sendercheck

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

const (
	// maxReplyLine is longer than the 512 octets of RFC 5321 §4.5.3.1.5, which some
	// servers exceed; maxReplyLines is for EHLO, where some twenty are usual.
	maxReplyLine  = 2048
	maxReplyLines = 100
)

type certificate = x509.Certificate

var mxCerts = certCodes{MXCertName, MXCertExpired, MXCertUntrusted, MXCertExpiresSoon}

// The stages of a probe.
const (
	stageConnect   = "connect"
	stageGreeting  = "greeting"
	stageEHLO      = "ehlo"
	stageSTARTTLS  = "starttls"
	stageHandshake = "handshake"
	stageDone      = "done"
)

// probe has a session with an MX host at one of its addresses, as a sender does up to
// where it would hand over mail (RFC 8461 §4.2, RFC 3207).
func (r *Run) probe(ctx context.Context, host string, addr netip.Addr, tlsa []*dns.TLSA, dane bool) Probe {
	p := Probe{Addr: addr, Stage: stageConnect}
	done, err := r.c.targets.turn(ctx, addr)
	if err != nil {
		p.fail(MXNotProbed, err.Error())
		return p
	}
	defer done()
	begun := r.c.now()
	within, cancel := context.WithTimeout(ctx, r.c.smtpTimeout)
	defer cancel()
	r.probeNow(within, host, &p, tlsa, dane)
	p.Took = r.c.now().Sub(begun)
	if ctx.Err() != nil && p.Stage != stageDone { // whatever it says, it is not the host's fault
		p = Probe{Addr: addr, Stage: stageConnect}
		p.fail(MXNotProbed, ctx.Err().Error())
	}
	return p
}

func (p *Probe) fail(code, evidence string) {
	p.troubles = append(p.troubles, trouble{code, plain(evidence)})
	if p.Error == "" {
		p.Error, p.Result = plain(catalogue[code].text+": "+evidence), catalogue[code].result
	}
}

func (r *Run) probeNow(ctx context.Context, host string, p *Probe, tlsa []*dns.TLSA, dane bool) {
	s := r.session(ctx, p)
	if s == nil {
		return
	}
	defer s.close()
	if !s.startTLS(p) {
		return
	}
	t, err := shakeHands(ctx, s.conn, host)
	if err != nil {
		r.mxHandshakeFailed(ctx, host, p, err)
		return
	}
	p.Stage = stageDone
	state := t.ConnectionState()
	p.TLS, p.NotAfter = tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter
	for _, t := range r.c.judge(state, host, mxCerts) {
		if t.code == MXCertExpiresSoon {
			p.troubles = append(p.troubles, t)
		} else {
			p.fail(t.code, t.evidence)
		}
	}
	if fits, usable := fitsTLSA(tlsa, state.PeerCertificates); dane && usable && !fits {
		p.troubles = append(p.troubles, trouble{DANEMismatch, fmt.Sprintf("none of %d TLSA records fits", len(tlsa))})
	}
	_, _ = io.WriteString(t, "QUIT\r\n")
}

// session connects, unless it is known by now that this machine may not.
func (r *Run) session(ctx context.Context, p *Probe) *smtpSession {
	if r.port25.closed() {
		p.fail(MXNotProbed, "no connection was tried, since none to any other host came about")
		return nil
	}
	connecting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := r.c.dial(connecting, p.Addr, r.c.smtp)
	if err != nil {
		code := dialCode(err, MXAddressRefused, MXNoRoute, MXNotProbed, MXNotProbed)
		if code == MXNotProbed && !errors.Is(ctx.Err(), context.Canceled) {
			r.port25.failed(p.Addr)
		}
		p.fail(code, dialEvidence(err))
		return nil
	}
	r.port25.worked()
	return newSMTPSession(ctx, conn, r.c.helloFrom(conn))
}

// mxHandshakeFailed says why there was no handshake: too old a server, or else.
func (r *Run) mxHandshakeFailed(ctx context.Context, host string, p *Probe, err error) {
	if !timedOut(err) {
		var ignored Probe
		if s := r.session(ctx, &Probe{Addr: p.Addr}); s != nil {
			defer s.close()
			if s.startTLS(&ignored) {
				if old := oldVersion(ctx, s.conn, host); old != "" {
					p.fail(MXTLSOld, "it speaks "+old)
					return
				}
			}
		}
	}
	p.fail(MXTLSFailed, handshakeEvidence(err))
}

// smtpSession is a client's side of an SMTP session.
type smtpSession struct {
	conn  net.Conn
	in    *bufio.Reader
	hello string
	stop  func() bool
}

func newSMTPSession(ctx context.Context, conn net.Conn, hello string) *smtpSession {
	return &smtpSession{conn: conn, in: bufio.NewReaderSize(conn, maxReplyLine), hello: hello, stop: limit(ctx, conn)}
}

func (s *smtpSession) close() {
	s.stop()
	_ = s.conn.Close()
}

// startTLS brings the session to where the handshake begins.
func (s *smtpSession) startTLS(p *Probe) bool {
	p.Stage = stageGreeting
	code, lines, err := s.reply()
	switch {
	case err != nil:
		p.fail(MXSMTPFailed, "the greeting: "+smtpEvidence(err))
		return false
	case code != 220:
		p.fail(MXRefused, "the greeting is "+said(code, lines))
		s.quit()
		return false
	}
	p.Greeting = bounded(lines[0])
	p.Stage = stageEHLO
	code, lines, err = s.command("EHLO " + s.hello)
	switch {
	case err != nil:
		p.fail(MXSMTPFailed, "the answer to EHLO: "+smtpEvidence(err))
		return false
	case code == 421 || code/100 == 4, code == 550 || code == 554:
		p.fail(MXRefused, "the answer to EHLO is "+said(code, lines))
		s.quit()
		return false
	case code != 250:
		p.fail(MXNoSTARTTLS, "the answer to EHLO is "+said(code, lines)) // RFC 5321 §2.2.1: it knows no extensions
		s.quit()
		return false
	}
	if !offers(lines, "STARTTLS") {
		p.fail(MXNoSTARTTLS, "the answer to EHLO does not name it: "+said(code, lines))
		s.quit()
		return false
	}
	p.Stage = stageSTARTTLS
	code, lines, err = s.command("STARTTLS")
	switch {
	case err != nil:
		p.fail(MXSTARTTLSRefused, "the answer to STARTTLS: "+smtpEvidence(err))
		return false
	case code != 220:
		p.fail(MXSTARTTLSRefused, "the answer to STARTTLS is "+said(code, lines))
		s.quit()
		return false
	case s.in.Buffered() > 0: // before TLS, so it may be anybody's (CVE-2011-0411)
		p.fail(MXSTARTTLSRefused, "more is said in clear after the answer to STARTTLS")
		return false
	}
	p.Stage = stageHandshake
	return true
}

func offers(lines []string, keyword string) bool {
	for _, line := range lines[1:] {
		word, _, _ := strings.Cut(line, " ")
		if strings.EqualFold(word, keyword) {
			return true
		}
	}
	return false
}

func (s *smtpSession) quit() { _, _ = io.WriteString(s.conn, "QUIT\r\n") }

func (s *smtpSession) command(line string) (int, []string, error) {
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return 0, nil, err
	}
	return s.reply()
}

var (
	errReplyLong = fmt.Errorf("it is longer than %d lines of %d bytes", maxReplyLines, maxReplyLine)
	errNoReply   = errors.New("it is no SMTP reply")
)

// reply reads a reply of one or more lines (RFC 5321 §4.2).
func (s *smtpSession) reply() (code int, lines []string, err error) {
	for range maxReplyLines {
		line, err := s.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return 0, nil, errReplyLong
		}
		if err != nil {
			return 0, nil, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		n, more, ok := readReplyLine(text)
		if !ok || code != 0 && n != code {
			return 0, nil, fmt.Errorf("%w: %s", errNoReply, quote(text))
		}
		code, lines = n, append(lines, strings.TrimSpace(text[min(4, len(text)):]))
		if !more {
			return code, lines, nil
		}
	}
	return 0, nil, errReplyLong
}

func readReplyLine(text string) (code int, more, ok bool) {
	if len(text) < 3 || len(text) > 3 && text[3] != ' ' && text[3] != '-' {
		return 0, false, false
	}
	for i := range 3 {
		if text[i] < '0' || text[i] > '9' {
			return 0, false, false
		}
		code = 10*code + int(text[i]-'0')
	}
	return code, len(text) > 3 && text[3] == '-', code >= 200 && code < 600
}

func said(code int, lines []string) string {
	return fmt.Sprintf("%d %s", code, quote(strings.Join(lines, " / ")))
}

func smtpEvidence(err error) string {
	switch {
	case timedOut(err):
		return "none in time"
	case errors.Is(err, io.EOF):
		return "the connection is closed"
	}
	return dialEvidence(err)
}
