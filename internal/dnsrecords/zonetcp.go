package dnsrecords

import (
	"container/list"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// Limits of TCP, which resolvers use for what is truncated: a question or a few.
	maxTCP           = 256
	maxTCPPerAddress = 16
	maxTCPQuestions  = 64

	// tcpIdle is until when the next question has come in full, tcpWrite how long an
	// answer may take (RFC 7766 §6.2.3: "on the order of a few seconds").
	tcpIdle  = 5 * time.Second
	tcpWrite = 5 * time.Second

	// tcpParting is how long who has had all his answers may take to see that.
	tcpParting = time.Second

	// maxTCPQuestion bounds a question: a name, an OPT record, perhaps padded, a TSIG.
	maxTCPQuestion = 4 << 10

	// acceptNap is how long to wait where the system has no file descriptors left.
	acceptNap = 100 * time.Millisecond
)

// ServeTCP answers questions on l until Shutdown, and then returns nil. It closes l.
func (z *Zone) ServeTCP(l net.Listener) error {
	defer l.Close()
	if !z.servers.begin(l, func() { l.Close() }) {
		return nil
	}
	defer z.servers.end(l)
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
		case z.servers.isClosed() || errors.Is(err, net.ErrClosed):
			return nil
		case isPassing(err):
			z.servers.callers.evict()
			time.Sleep(acceptNap)
			continue
		default:
			return err
		}
		c, evicted := z.servers.callers.admit(conn)
		if evicted {
			z.metrics.evicted.Add(1)
		}
		if c == nil {
			z.metrics.turnedAway.Add(1)
			conn.Close()
			continue
		}
		calls.Go(func() {
			defer z.servers.callers.release(c)
			z.answerCall(c)
		})
	}
}

// answerCall answers the questions on one connection, in their order.
func (z *Zone) answerCall(c *caller) {
	defer c.Close()
	question, answer := make([]byte, 0, minUDP), make([]byte, 2+maxUDP)
	for range maxTCPQuestions {
		if !z.servers.callers.awaits(c) {
			return
		}
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(head[:]))
		if n > maxTCPQuestion {
			return
		}
		if cap(question) < n {
			question = make([]byte, n)
		}
		question = question[:n]
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		out := z.respond(answer[2:cap(answer)], question, c.addr, false)
		if out == nil {
			return // that was no question
		}
		answer = append(answer[:2], out...) // where it is already, unless it was too long
		binary.BigEndian.PutUint16(answer, uint16(len(out)))
		_ = c.SetWriteDeadline(time.Now().Add(tcpWrite))
		if _, err := c.Write(answer); err != nil { // in one piece (RFC 7766 §8)
			return
		}
	}
	// What is under way to whoever asks on would be lost by an end at once.
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(tcpParting))
		_, _ = io.CopyN(io.Discard, c, maxTCPQuestions*maxTCPQuestion)
	}
}

// callers are the connections to the zone: not too many from one address, and when all
// places are taken, who has been quiet for longest makes place.
type callers struct {
	mu        sync.Mutex
	finishing bool
	all       list.List // of *caller, the one whose last question is longest ago first
	addresses map[netip.Prefix]int
}

// caller is a connection.
type caller struct {
	net.Conn
	addr  netip.Addr
	from  netip.Prefix  // whom it counts for
	place *list.Element // nil: it has lost it
}

// admit gives a connection a place; nil where its address has its share. evicted says that
// somebody lost his for it.
func (cs *callers) admit(conn net.Conn) (c *caller, evicted bool) {
	c = &caller{Conn: conn, addr: addrOf(conn.RemoteAddr())}
	bits := 64
	if c.addr.Is4() {
		bits = 32
	}
	c.from, _ = c.addr.WithZone("").Prefix(bits) // those without an address are one
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.finishing || cs.addresses[c.from] >= maxTCPPerAddress {
		return nil, false
	}
	if cs.all.Len() >= maxTCP {
		evicted = cs.evictFirst()
	}
	if cs.addresses == nil {
		cs.addresses = map[netip.Prefix]int{}
	}
	cs.addresses[c.from]++
	c.place = cs.all.PushBack(c)
	return c, evicted
}

// awaits gives c its time for the next question. It returns false for one that is to end.
func (cs *callers) awaits(c *caller) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.finishing || c.place == nil {
		return false
	}
	cs.all.MoveToBack(c.place)
	return c.SetReadDeadline(time.Now().Add(tcpIdle)) == nil
}

// release gives the place of c to others.
func (cs *callers) release(c *caller) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.forget(c)
}

// forget takes c out of the books. The mutex is held.
func (cs *callers) forget(c *caller) {
	if c.place == nil {
		return
	}
	cs.all.Remove(c.place)
	c.place = nil
	if cs.addresses[c.from]--; cs.addresses[c.from] == 0 {
		delete(cs.addresses, c.from)
	}
}

// evict ends who has been quiet for longest.
func (cs *callers) evict() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.evictFirst()
}

// evictFirst does so. The mutex is held.
func (cs *callers) evictFirst() bool {
	first := cs.all.Front()
	if first == nil {
		return false
	}
	c := first.Value.(*caller)
	cs.forget(c)
	c.Close()
	return true
}

// finish ends connections after the answers under way.
func (cs *callers) finish() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.finishing = true
	for e := cs.all.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*caller).SetReadDeadline(aLongTimeAgo)
	}
}

// hangUp ends all connections at once.
func (cs *callers) hangUp() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for e := cs.all.Front(); e != nil; e = e.Next() {
		e.Value.(*caller).Close()
	}
}

func (cs *callers) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.all.Len()
}
