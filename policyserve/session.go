package policyserve

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"
)

// session is a connection as net/http sees it. It begins, with the PROXY header and the
// handshake, when net/http reads from it for the first time: so one goroutine, that of
// net/http, carries a connection from its first byte to its last.
//
// net/http speaks both of its protocols to it as if there were no TLS: for HTTP/2 it
// would ask for a *tls.Conn otherwise, which holds nothing back.
type session struct {
	conn
	s       *Server
	kind    kind
	trusted bool // from a trusted proxy

	tls            *tls.Conn // nil without TLS
	begun, useless bool      // whether shake was called, and returned false
	http2          bool
	soon           *time.Timer // sends the head of an answer whose body does not come; nil: not needed yet
	words          int         // from the client, of the goroutine that reads them

	// serverName is what the client asked for in the handshake, "" without TLS.
	serverName string
}

// Read waits for what the client says. The error is io.EOF where the session did not
// come about: nobody is left to be answered.
func (s *session) Read(b []byte) (int, error) {
	if !s.begun {
		s.begun, s.useless = true, !s.shake()
	}
	if s.useless {
		return 0, io.EOF
	}
	if s.tls == nil {
		return s.conn.Read(b)
	}
	if s.http2 {
		s.yield()
	}
	return s.tls.Read(b)
}

// yield lets others run now and then.
func (s *session) yield() {
	if s.words++; s.words%wordsInARow == 0 {
		runtime.Gosched()
	}
}

// Write says b, which goes out when we listen. Over HTTP/2 we always do: there it goes
// out at once, unless an answer has just begun.
func (s *session) Write(b []byte) (n int, err error) {
	if s.tls == nil {
		return s.conn.Write(b)
	}
	n, err = s.tls.Write(b)
	switch {
	case err != nil || !s.http2:
	case beginsAnswer(b):
		s.flushSoon()
	default:
		err = s.Flush()
	}
	return n, err
}

// answerGap is how long the head of an answer waits for its body. It comes a few
// microseconds later, unless the client's window is closed.
const answerGap = time.Millisecond

// flushSoon sends what is held back in a moment, if nobody does so before.
func (s *session) flushSoon() {
	if s.soon == nil {
		s.soon = time.AfterFunc(answerGap, func() { _ = s.Flush() }) // the next write says so too
		return
	}
	s.soon.Reset(answerGap)
}

// beginsAnswer reports whether the last of the HTTP/2 frames in b is a HEADERS frame
// behind which a body comes (RFC 9113 §6.2). net/http sends the two one by one.
func beginsAnswer(b []byte) bool {
	const headerLen, headers, endStream = 9, 1, 1
	for len(b) >= headerLen {
		size := headerLen + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
		if size == len(b) {
			return b[3] == headers && b[4]&endStream == 0
		}
		b = b[min(size, len(b)):]
	}
	return false
}

// CloseWrite ends our side.
func (s *session) CloseWrite() error {
	if s.tls != nil {
		_ = s.tls.CloseWrite() // says the end of TLS, if there is anybody to hear it
		return s.Flush()
	}
	err := s.Flush()
	if c, ok := s.Conn.(*net.TCPConn); ok && err == nil {
		err = c.CloseWrite()
	}
	return err
}

// Close ends both sides.
func (s *session) Close() error {
	if s.stuck() {
		s.hangUp() // or the end of TLS would wait for what does not get on
	}
	if s.tls != nil {
		return s.tls.Close()
	}
	return s.conn.Close()
}

// shake does what comes before the first request. It returns false where the session
// is of no use.
func (s *session) shake() bool {
	if s.trusted && s.s.o.ProxyProtocol {
		if err := s.readProxyHeader(); err != nil {
			s.s.o.Log.Debug("a trusted proxy sent no PROXY header that can be read", "err", err)
			return false
		}
		if s.remote != nil {
			if v := s.guard.locate(&s.conn, remoteIP(s)); v != admitted {
				s.s.metrics.connection(v)
				return false
			}
		}
	}
	if s.tls != nil {
		err := s.tls.Handshake()
		s.giveTurn()
		state := s.tls.ConnectionState()
		s.s.metrics.handshake(handshakeResult(&s.conn, &state, err))
		if err != nil || !isHTTP(state.NegotiatedProtocol) {
			return false // Close answers a CA's check properly; nothing to say elsewhere
		}
		s.serverName, s.http2 = state.ServerName, state.NegotiatedProtocol == protoHTTP2
		s.guard.step(&s.conn, false)
	}
	s.settle(time.Now().Add(s.s.limits.HeaderTimeout))
	return true
}

type sessionKey struct{}

// withSession is http.Server.ConnContext.
func withSession(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, sessionKey{}, c)
}

// serverName is the name that the client of r asked for in the handshake; "" for none,
// and without TLS.
func serverName(r *http.Request) string {
	if s, ok := r.Context().Value(sessionKey{}).(*session); ok {
		return s.serverName
	}
	if r.TLS != nil {
		return r.TLS.ServerName
	}
	return ""
}
