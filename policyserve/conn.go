package policyserve

import (
	"bufio"
	"container/list"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// conn is a connection in the books of the guard: what lies below TLS, or below HTTP
// where there is no TLS.
//
// It costs the system few calls. What we say goes out as one packet: it is held back
// until we listen, or hang up, so that a session ticket, an answer and the end of TLS
// are one write. And a deadline is handed down only when it comes
// earlier than the one that is set; when that one is over too early, it is set anew.
type conn struct {
	net.Conn
	guard *guard

	place *list.Element // in the guard's list; nil: none any more. The guard's mutex
	from  *address      // nil: nobody's. The guard's mutex
	turn  *turn         // to compute the handshake; nil: it never waited. The guard's mutex
	ours  bool          // it waits for a turn, or computes: the client waits for us. The guard's mutex
	asked bool          // a request came. The guard's mutex

	remote    net.Addr      // as a proxy announced it; nil: the connection's own
	ahead     *bufio.Reader // what was read while looking for a PROXY header; nil: nothing
	computing bool          // it has a turn to compute its handshake

	born     time.Time
	deadline time.Time // of the handshake
	nameless bool      // the handshake had no name that there is a certificate for

	mu      sync.Mutex // held while writing, not while reading
	open    bool       // the handshake is over: everything is held back until we listen
	early   int        // how many bytes came before it was
	said    *[]byte    // what is held back; nil: nothing
	spoke   bool       // there is more in it than a ticket, which nobody waits for
	ending  bool       // this is the last write
	failed  bool       // a write did
	readBy  time.Time  // the deadline that reads have
	armed   time.Time  // the deadline that is set for them; none or earlier, except while that is
	reading bool       // somebody waits for the client

	once sync.Once
	err  error
}

// mostHeld is how much is held back at the most: many times a policy.
const mostHeld = 8 << 10

// held keeps buffers for what is held back.
var held = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// recordAppData is the first byte of a TLS record that is encrypted under TLS 1.3
// (RFC 8446 §5.1). Before the end of the handshake only a ticket comes so, or an alert
// before we hang up: the server's flight begins with a ServerHello in the clear.
const recordAppData = 23

// Write says b, at once during the handshake, later when we listen.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open && (len(b) == 0 || b[0] != recordAppData) {
		// The expensive part of the handshake is over; the rest is waiting for the client.
		c.giveTurn()
		if err := c.flush(); err != nil {
			return 0, err
		}
		return len(b), c.send(b)
	}
	if c.said == nil {
		c.said = held.Get().(*[]byte)
	}
	*c.said = append(*c.said, b...)
	c.spoke = c.spoke || c.open
	if len(*c.said) < mostHeld {
		return len(b), nil
	}
	return len(b), c.flush()
}

// Flush sends what is held back.
func (c *conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}

// flush sends what is held back. The mutex is held.
func (c *conn) flush() error {
	c.spoke = false
	if c.said == nil {
		return nil
	}
	b := c.said
	c.said = nil
	err := c.send(*b)
	if cap(*b) <= 2*mostHeld {
		*b = (*b)[:0]
		held.Put(b)
	}
	return err
}

// send writes b. If the client does not read it ends after the write timeout, and what
// was left of the deadline that was set last.
func (c *conn) send(b []byte) (err error) {
	defer func() { c.failed = c.failed || err != nil }()
	n, err := c.Conn.Write(b)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	timeout := c.guard.writeTimeout
	if c.ending {
		timeout = min(timeout, partingTimeout)
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err = c.Conn.Write(b[n:])
	return err
}

// Read listens: it sends what is held back, and waits for the client.
func (c *conn) Read(b []byte) (int, error) {
	if c.ahead != nil {
		if c.ahead.Buffered() > 0 {
			return c.ahead.Read(b)
		}
		c.ahead = nil
	}
	for {
		if err := c.listen(); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if again, err := c.heard(n, err); !again {
			return n, err
		}
	}
}

// listen comes before waiting for the client.
func (c *conn) listen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readBy.IsZero() && c.readBy.Before(c.born) {
		// net/http reads while a request is answered, to learn of a client that goes
		// away, and ends that with a deadline that is long over.
		return os.ErrDeadlineExceeded
	}
	if c.spoke {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.reading = true
	return c.arm()
}

// heard comes after waiting for the client. again is whether to wait once more.
func (c *conn) heard(n int, err error) (again bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if !c.open {
		if c.early += n; c.early > mostEarly {
			return false, errTooMuch
		}
	}
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	c.armed = past
	return c.readBy.IsZero() || time.Now().Before(c.readBy), err
}

// past stands for a deadline that is over.
var past = time.Unix(1, 0)

// arm sets the deadline for reads, if it must be.
func (c *conn) arm() error {
	if c.armed.Equal(c.readBy) || !c.armed.IsZero() && !c.armed.Equal(past) && (c.readBy.IsZero() || c.armed.Before(c.readBy)) {
		return nil
	}
	c.armed = c.readBy
	return c.Conn.SetReadDeadline(c.readBy)
}

// SetReadDeadline is for net/http, and for crypto/tls. What comes before the first
// request has a deadline already, of which net/http knows nothing.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return nil
	}
	c.readBy = t
	if !c.reading {
		return nil
	}
	return c.arm()
}

// SetWriteDeadline does nothing: every write has the same time.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is that of reads.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// begin sets the first deadline: timeout from now on, for all that comes before the
// first request.
func (c *conn) begin(timeout time.Duration) {
	c.born = time.Now()
	c.deadline = c.born.Add(timeout)
	c.readBy, c.armed = c.deadline, c.deadline
	_ = c.Conn.SetDeadline(c.deadline) // on a broken connection the next read says so too
}

// settle notes that the first request may come, until deadline, and that from here on
// what we say is held back.
func (c *conn) settle(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.readBy = true, deadline
}

// Close gives the place back, however often it is called. It sends what is held back;
// who does not take it is hung up on, and so is who did not take what came before.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.guard.release(c)
		if c.stuck() {
			c.hangUp()
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ending = true
		if c.flush() != nil || c.failed {
			c.hangUp()
			return
		}
		c.err = c.Conn.Close()
	})
	return c.err
}

// stuck reports whether a write does not get on at this moment.
func (c *conn) stuck() bool {
	if !c.mu.TryLock() {
		return true
	}
	c.mu.Unlock()
	return false
}

// hangUp ends the connection below, so that whoever reads or writes gets an error
// and closes c. It waits for nobody.
func (c *conn) hangUp() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // nothing is left to be said: no state is kept for it
	}
	_ = c.Conn.Close()
}

// RemoteAddr is the client's address, as the proxy announced it if there is one.
func (c *conn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// takeTurn waits until c may compute its handshake.
func (c *conn) takeTurn() error {
	err := c.guard.takeTurn(c)
	c.computing = err == nil
	return err
}

// giveTurn lets another compute his, if c has a turn.
func (c *conn) giveTurn() {
	if c.computing {
		c.computing = false
		c.guard.giveTurn(c)
	}
}

// readProxyHeader reads the header of the PROXY protocol, version 1 or 2, if there is
// one. Without it, as from a load balancer's own health check, or with one that names
// nobody (LOCAL, UNKNOWN), the connection counts as the proxy's.
func (c *conn) readProxyHeader() error {
	c.ahead = bufio.NewReaderSize(c.Conn, 512) // a header without extensions takes at most 107 bytes
	header, err := proxyproto.Read(c.ahead)
	if errors.Is(err, proxyproto.ErrNoProxyProtocol) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	if header.Command.IsProxy() {
		if from, _, ok := header.TCPAddrs(); ok {
			c.remote = from
		}
	}
	return nil
}
