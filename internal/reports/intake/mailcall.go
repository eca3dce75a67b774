package intake

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// call is a connection. It keeps to time and amount itself, below TLS: the library has
// but one time for each command. The mutex of callers guards what changes.
type call struct {
	net.Conn
	callers *callers
	addr    netip.Addr
	from    netip.Prefix // whom it counts for

	place   *list.Element // nil: it has lost it
	busy    bool          // it brings a mail
	spoiled bool          // it gave one up half-way
	began   time.Time     // with it
	until   time.Time     // it may read
	read    int64         // bytes, for this mail
	replies int
}

// errTooMuch is for whoever sends more than any mail has.
var errTooMuch = errors.New("too much for one mail")

// source says where it comes from.
func (c *call) source() string {
	if !c.addr.IsValid() {
		return "local"
	}
	return c.addr.String()
}

// Read reads while there is time.
func (c *call) Read(b []byte) (int, error) {
	if err := c.mayRead(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	c.heard(n)
	return n, err
}

func (c *call) mayRead() error {
	cs := c.callers
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case c.place == nil:
		return net.ErrClosed
	case cs.leaving && !c.busy:
		return os.ErrDeadlineExceeded
	case c.read > maxCallBytes:
		return errTooMuch
	}
	deadline := time.Now().Add(cs.limits.Idle)
	if deadline.After(c.until) {
		deadline = c.until
	}
	return c.SetReadDeadline(deadline)
}

func (c *call) heard(n int) {
	cs := c.callers
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.read += int64(n)
	if n > 0 && c.place != nil {
		cs.all.MoveToBack(c.place)
	}
}

// Write answers, a line each time.
func (c *call) Write(b []byte) (int, error) {
	if err := c.mayWrite(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *call) mayWrite() error {
	cs := c.callers
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.replies++; c.replies > cs.limits.Replies {
		c.until = aLongTimeAgo // the library does not look whether it can write
		return os.ErrDeadlineExceeded
	}
	return c.SetWriteDeadline(time.Now().Add(replyLimit))
}

// Close gives the place to others.
func (c *call) Close() error {
	c.callers.mu.Lock()
	c.callers.forget(c)
	c.callers.mu.Unlock()
	return c.Conn.Close()
}

// begin says that a mail comes: it may take its time, and is not cut off.
func (c *call) begin() {
	c.callers.mu.Lock()
	defer c.callers.mu.Unlock()
	c.busy = true
	c.began = time.Now()
	c.pace(0)
}

// pace gives time for n bytes of a mail and the next ones. The mutex is held.
func (c *call) pace(n int64) {
	c.until = c.began.Add(c.callers.limits.Grace + time.Duration(n)*time.Second/mailRate)
}

// end says that the mail was read, or never will be. Only after one that came in full is
// there time for another.
func (c *call) end(inFull bool) {
	c.callers.mu.Lock()
	defer c.callers.mu.Unlock()
	c.busy = false
	c.read = 0
	if inFull {
		c.until = time.Now().Add(c.callers.limits.Commands)
	}
}

// giveUp notes that a mail in chunks is given up, if there is one. The library would take
// its end for that of the next mail, so there is none on this connection.
func (c *call) giveUp() {
	c.callers.mu.Lock()
	defer c.callers.mu.Unlock()
	c.spoiled = c.spoiled || c.busy
}

func (c *call) isSpoiled() bool {
	c.callers.mu.Lock()
	defer c.callers.mu.Unlock()
	return c.spoiled
}

// pacedReader reads a mail, and gives it time as it comes.
type pacedReader struct {
	r    io.Reader
	call *call
	n    int64
}

// Read reads some of it.
func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), paceStep)])
	p.n += int64(n)
	p.call.callers.mu.Lock()
	defer p.call.callers.mu.Unlock()
	p.call.pace(p.n)
	return n, err
}

// paceStep is after how many bytes the time is looked at.
const paceStep = 32 << 10
