package policyserve

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// door is the listener that net/http sees: who comes in has been looked at.
type door struct {
	net.Listener
	s    *Server
	kind kind
}

// longestNap is how long Accept waits when the system has no file descriptors left.
const longestNap = time.Second

// Accept waits for the next connection that may come in, until the listener is closed.
func (d *door) Accept() (net.Conn, error) {
	nap := time.Duration(0)
	for times := 1; ; times++ {
		nc, err := d.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !isPassing(err) {
				return nil, err
			}
			d.s.cannotAccept(d.kind, err, times)
			nap = min(max(2*nap, 5*time.Millisecond), longestNap)
			d.s.o.Log.Warn("cannot take connections for a moment", "err", err, "wait", nap.String())
			time.Sleep(nap)
			continue
		}
		nap, times = 0, 0
		if s := d.welcome(nc); s != nil {
			return s, nil
		}
	}
}

// isPassing reports whether an error of Accept says something of this moment, and not
// of the listener.
func isPassing(err error) bool {
	for _, e := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// welcome looks at a new connection. It waits for nothing, and returns nil for who is
// sent away.
func (d *door) welcome(nc net.Conn) *session {
	addr := remoteIP(nc)
	trusted := d.s.trusts(addr)
	if d.kind == kindPlain && !trusted {
		d.s.metrics.connection(untrusted)
		nc.Close()
		return nil
	}
	s := &session{conn: conn{Conn: nc, guard: d.s.guard}, s: d.s, kind: d.kind, trusted: trusted}
	if trusted {
		addr = netip.Addr{} // a proxy brings many clients
	}
	v, evict := d.s.guard.admit(&s.conn, addr)
	if evict {
		d.s.metrics.connection(evicted)
	}
	d.s.metrics.connection(v)
	if v != admitted {
		s.conn.Close()
		return nil
	}
	if d.kind == kindHTTPS {
		s.tls = tls.Server(&s.conn, d.s.tls)
	}
	s.begin(d.s.limits.HandshakeTimeout)
	return s
}

// trusts reports whether addr is a trusted proxy's. Who comes over a Unix socket, as
// systemd may hand us one, was let in by the file system.
func (s *Server) trusts(addr netip.Addr) bool {
	if !addr.IsValid() {
		return true
	}
	for _, p := range s.o.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
