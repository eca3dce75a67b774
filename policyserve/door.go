package policyserve

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// door is the listener that net/http sees: connections come out of it that have been
// looked at, and have shaken hands.
type door struct {
	addr  net.Addr
	ready chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newDoor(addr net.Addr) *door {
	return &door{addr: addr, ready: make(chan net.Conn), done: make(chan struct{})}
}

func (d *door) Addr() net.Addr { return d.addr }

func (d *door) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.ready:
		return c, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// enter hands c over.
func (d *door) enter(c net.Conn) {
	select {
	case d.ready <- c:
	case <-d.done:
		c.Close()
	}
}

// longestNap is how long accept waits when it has no file descriptors left.
const longestNap = time.Second

// accept takes connections from l until it is closed.
func (s *Server) accept(l net.Listener, k kind, d *door) error {
	nap := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !isPassing(err) {
				return err
			}
			if s.guard.evictOne() {
				s.metrics.connection(evicted)
			}
			nap = min(max(2*nap, 5*time.Millisecond), longestNap)
			s.o.Log.Warn("cannot take connections for a moment", "err", err, "wait", nap.String())
			time.Sleep(nap)
			continue
		}
		nap = 0
		s.welcome(nc, k, d)
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

// welcome looks at a new connection and sends it on to net/http, without waiting for
// it.
func (s *Server) welcome(nc net.Conn, k kind, d *door) {
	addr := remoteIP(nc)
	trusted := s.trusts(addr)
	if k == kindPlain && !trusted {
		s.metrics.connection(untrusted)
		nc.Close()
		return
	}
	c := &conn{Conn: nc, guard: s.guard}
	if s.guard.admit(c) {
		s.metrics.connection(evicted)
	}
	v := admitted
	if !trusted {
		v = s.guard.locate(c, addr)
	}
	s.metrics.connection(v)
	if v != admitted {
		c.Close()
		return
	}
	if k != kindHTTPS && !(trusted && s.o.ProxyProtocol) {
		d.enter(c) // net/http does the rest, with its own deadlines
		return
	}
	s.welcomes.Go(func() {
		if ready := s.prepare(c, k, trusted); ready != nil {
			d.enter(ready)
		} else {
			c.Close()
		}
	})
}

// prepare does what comes before the first request: the PROXY header and the
// handshake. It returns nil where the connection is of no use.
func (s *Server) prepare(c *conn, k kind, trusted bool) net.Conn {
	c.deadline = time.Now().Add(s.limits.HandshakeTimeout)
	_ = c.SetDeadline(c.deadline) // on a broken connection the next read says so too
	if trusted && s.o.ProxyProtocol {
		if err := c.readProxyHeader(); err != nil {
			s.o.Log.Debug("a trusted proxy sent no PROXY header that can be read", "err", err)
			return nil
		}
		if c.remote != nil {
			if v := s.guard.locate(c, remoteIP(c)); v != admitted {
				s.metrics.connection(v)
				return nil
			}
		}
	}
	if k != kindHTTPS {
		_ = c.SetDeadline(time.Time{})
		return c
	}
	t := tls.Server(c, s.tls)
	err := t.Handshake()
	c.releaseHandshake()
	s.metrics.handshake(handshakeResult(c, t, err))
	if err != nil || !isHTTP(t.ConnectionState().NegotiatedProtocol) {
		t.Close() // answers a CA's check properly; nothing to say elsewhere
		return nil
	}
	_ = c.SetDeadline(time.Time{})
	s.guard.step(c, false)
	return t
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
