package certs

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// alpnProto marks the handshakes by which a CA checks TLS-ALPN-01
	// (RFC 8737 §6.2).
	alpnProto = "acme-tls/1"

	// challengePath is where a CA looks for HTTP-01 (RFC 8555 §8.3).
	challengePath = "/.well-known/acme-challenge/"
)

// responder answers a CA that checks our control of a host.
type responder interface {
	// challengeCert is what TLS-ALPN-01 is answered with, nil for nothing.
	challengeCert(host string) *tls.Certificate
	// keyAuthorization is what HTTP-01 is answered with.
	keyAuthorization(host, token string) (string, bool)
}

// GetCertificate is for tls.Config. It returns nil, and no error, where there is
// no certificate: without a server name, for a host that is not ours, for one
// that has none yet. crypto/tls then ends the handshake with unrecognized_name.
//
// It reads memory, except for the first handshake of a host after a start, which
// may come before the scheduler has read the host's file. It never waits for a CA, and
// for storage no longer than coldWait.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		return nil, nil
	}
	s := (*m.hosts.Load()).find(hello.ServerName)
	if s == nil {
		return nil, nil
	}
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == alpnProto {
		if m.responder == nil || m.o.DisableTLSALPN01 {
			return nil, nil
		}
		return m.responder.challengeCert(s.host), nil
	}
	looked := s.looked.Load() // before cert, which is there when looked says so
	c := s.cert.Load()
	if c == nil && !looked {
		c = m.readCold(hello.Context(), s)
	}
	if c == nil {
		return nil, nil
	}
	return m.hot.get(s, c)
}

const (
	// coldWait is how long a handshake waits for storage: senders give up after two
	// to four seconds, and others wait for its turn.
	coldWait = 2 * time.Second

	// coldSlow reads that take longer mean that storage hangs. Then others get the
	// time that a good disk takes, as not all of it may hang, until there are coldMost:
	// each keeps a thread.
	coldSlow  = 4
	coldBrief = 100 * time.Millisecond
	coldMost  = 64
)

// readCold reads s from storage. Those who ask for it at the same time share one
// read, and who hangs up, or has waited for long enough, stops waiting for it.
func (m *Manager) readCold(ctx context.Context, s *slot) *certificate {
	wait := coldWait
	if n := m.slow.Load(); n >= coldMost {
		return nil
	} else if n >= coldSlow {
		wait = coldBrief
	}
	done := m.cold.DoChan(s.host, func() (any, error) {
		if s.cert.Load() == nil && !s.looked.Load() {
			late := time.AfterFunc(wait, func() { m.slow.Add(1) })
			m.readStored(s)
			if !late.Stop() {
				m.slow.Add(-1)
			}
		}
		return s.cert.Load(), nil
	})
	var gone <-chan struct{}
	if ctx != nil {
		gone = ctx.Done()
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case r := <-done:
		return r.Val.(*certificate)
	case <-gone:
	case <-patience.C:
	}
	return nil
}

// readStored reads s from storage once. Errors, and even panics below, which would
// end the program here, are the scheduler's to tell: it is about to read the same.
func (m *Manager) readStored(s *slot) {
	defer func() {
		_ = recover()
		s.looked.Store(true)
	}()
	// Not with the context of a handshake: others wait for it too.
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	if c, err := m.engine.stored(ctx, s.host); err == nil {
		s.cert.CompareAndSwap(nil, c)
	}
}

// NextProtos lists what to add to tls.Config.NextProtos.
func (m *Manager) NextProtos() []string {
	if m.responder == nil || m.o.DisableTLSALPN01 {
		return nil
	}
	return []string{alpnProto}
}

// HTTPHandler answers HTTP-01 for our hosts, from memory, and leaves everything
// else to next. It belongs on port 80.
func (m *Manager) HTTPHandler(next http.Handler) http.Handler {
	if m.responder == nil || m.o.DisableHTTP01 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.URL.Path, challengePath)
		if !ok || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
			next.ServeHTTP(w, r)
			return
		}
		s := (*m.hosts.Load()).find(hostOnly(r.Host))
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		auth, ok := m.responder.keyAuthorization(s.host, token)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555 §8.3
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(auth))
	})
}

// hostOnly strips the port from a Host header.
func hostOnly(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}
