package policyserve

import (
	"crypto/tls"
	"errors"
	"os"
	"slices"
)

const protoHTTP2 = "h2"

var httpProtos = []string{protoHTTP2, "http/1.1"}

// isHTTP reports whether the protocol that was agreed on is ours to speak.
func isHTTP(proto string) bool { return proto == "" || slices.Contains(httpProtos, proto) }

// errTooMuch ends the handshake of who talks on and on.
var errTooMuch = errors.New("the handshake is too long")

// tlsConfigs returns the configuration of handshakes for our hosts, and the one for
// others: without certificate and without resumption, it ends with unrecognized_name
// (RFC 6066 §3), never with somebody else's certificate.
func (s *Server) tlsConfigs() (ours, refusal *tls.Config) {
	ours = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         slices.Concat(httpProtos, s.o.NextProtos),
		GetConfigForClient: s.configFor,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := s.o.GetCertificate(hello)
			hello.Conn.(*conn).nameless = cert == nil && err == nil
			return cert, err
		},
	}
	refusal = &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			hello.Conn.(*conn).nameless = true
			return nil, nil
		},
	}
	return ours, refusal
}

// configFor chooses by the server name, and has the handshakes of our hosts wait for
// their turn. What a stranger asks for costs no turn.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if !s.known(hello.ServerName) {
		return s.refusal, nil
	}
	return nil, hello.Conn.(*conn).takeTurn()
}

// result is how a handshake ended. Its name is a metric label.
type result int

const (
	resultFull result = iota
	resultResumed
	resultACME    // a CA checked our control of a host
	resultUnknown // no, or an unknown, server name, or one without a certificate yet
	resultTimeout
	resultFailed
	resultCount
)

var resultNames = [resultCount]string{"full", "resumed", "acme", "unrecognized_name", "timeout", "failed"}

func handshakeResult(c *conn, state *tls.ConnectionState, err error) result {
	switch {
	case err == nil && !isHTTP(state.NegotiatedProtocol):
		return resultACME
	case err == nil && state.DidResume:
		return resultResumed
	case err == nil:
		return resultFull
	case c.nameless:
		return resultUnknown
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errBusy):
		return resultTimeout
	}
	return resultFailed
}
