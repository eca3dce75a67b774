package policyserve

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guard bounds how many connections there are, in all and per address. When all
// places are taken, whoever comes gets the place of the connection that has gone for
// longest without a step forward: a handshake done, a request begun, an answer given.
// So who opens many connections, and is silent or slow on them, ends his own, while a
// sender, who is done in a fraction of a second, gets through.
type guard struct {
	max, maxPerAddress int
	writeTimeout       time.Duration // of each connection

	mu        sync.Mutex
	all       *list.List // of *conn, the one whose last step is longest ago first
	addresses map[netip.Prefix]int
}

func newGuard(limits Limits) *guard {
	return &guard{
		max: limits.Connections, maxPerAddress: limits.ConnectionsPerAddress, writeTimeout: limits.WriteTimeout,
		all: list.New(), addresses: map[netip.Prefix]int{},
	}
}

// verdict says what became of a new connection. It is a metric label.
type verdict string

const (
	admitted  verdict = "admitted"
	tooMany   verdict = "too_many_per_address" // the address has its share
	evicted   verdict = "evicted"              // ended, being slow, for somebody else
	untrusted verdict = "untrusted"            // not an address that may use the plain listener
)

// admit gives c a place. evict says that somebody lost his for it.
func (g *guard) admit(c *conn) (evict bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all.Len() >= g.max {
		evict = g.evict()
	}
	c.place = g.all.PushBack(c)
	return evict
}

// locate counts c among those of its address, which is known now.
func (g *guard) locate(c *conn, addr netip.Addr) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := block(addr)
	if !at.IsValid() {
		return admitted
	}
	if g.addresses[at] >= g.maxPerAddress {
		return tooMany
	}
	g.addresses[at]++
	c.at = at
	return admitted
}

// block is what counts as one address: IPv6 networks are given out as /64 and more.
func block(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no IP address, as of a Unix socket
	}
	return p
}

// evict ends the connection whose last step is longest ago. The mutex is held.
func (g *guard) evict() bool {
	e := g.all.Front()
	if e == nil {
		return false
	}
	c := e.Value.(*conn)
	g.forget(c)
	c.hangUp()
	return true
}

// evictOne makes place where the system has no file descriptors left.
func (g *guard) evictOne() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.evict()
}

// release gives c's place to others.
func (g *guard) release(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(c)
}

// forget takes c out of the books. The mutex is held.
func (g *guard) forget(c *conn) {
	if c.place == nil {
		return
	}
	g.all.Remove(c.place)
	c.place = nil
	if c.at.IsValid() {
		if g.addresses[c.at]--; g.addresses[c.at] == 0 {
			delete(g.addresses, c.at)
		}
	}
}

// step notes that c got on. asked says that it has come to a request.
func (g *guard) step(c *conn, asked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.asked = c.asked || asked
	if c.place != nil {
		g.all.MoveToBack(c.place)
	}
}

// closeFresh ends the connections on which nothing was asked yet: http's own Shutdown
// would wait for them for five seconds.
func (g *guard) closeFresh() { g.closeIf(func(c *conn) bool { return !c.asked }) }

// closeAll ends all connections.
func (g *guard) closeAll() { g.closeIf(func(*conn) bool { return true }) }

func (g *guard) closeIf(f func(*conn) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); f(c) {
			c.hangUp()
		}
	}
}

// count returns how many connections there are.
func (g *guard) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all.Len()
}

// remoteIP is the address of c's other end, the zero Addr where it has none.
func remoteIP(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
