package policyserve

import (
	"bufio"
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// conn is a connection in the books of the guard.
type conn struct {
	net.Conn
	guard *guard

	place *list.Element // in the guard's list; nil: none any more. The guard's mutex
	at    netip.Prefix  // what it counts as. The guard's mutex
	asked bool          // a request came. The guard's mutex

	remote  net.Addr      // as a proxy announced it; nil: the connection's own
	ahead   *bufio.Reader // what was read while looking for a PROXY header; nil: nothing
	release func()        // gives the handshake's turn to others; nil: it has none

	deadline time.Time // of the handshake
	nameless bool      // the handshake had no name that there is a certificate for

	once sync.Once
	err  error
}

// Close gives the place back, however often it is called.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.guard.release(c)
		c.err = c.Conn.Close()
	})
	return c.err
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

func (c *conn) Read(b []byte) (int, error) {
	if c.ahead != nil {
		if c.ahead.Buffered() > 0 {
			return c.ahead.Read(b)
		}
		c.ahead = nil
	}
	return c.Conn.Read(b)
}

// Write releases the handshake's place with the server's first flight: then the
// expensive part is over, and the rest is waiting for the client.
func (c *conn) Write(b []byte) (int, error) {
	c.releaseHandshake()
	return c.Conn.Write(b)
}

func (c *conn) releaseHandshake() {
	if c.release != nil {
		c.release()
		c.release = nil
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
