package policyserve

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// guard bounds how many connections there are, in all and per address, and how many
// compute their handshakes (turns.go). When all places are taken, whoever comes gets the
// place of a connection that has gone for long without a step forward: a handshake done,
// a request begun, an answer given. So who opens many connections, and is silent or slow
// on them, ends his own, while a sender, who is done in a fraction of a second, gets
// through.
type guard struct {
	max, maxPerAddress int
	writeTimeout       time.Duration // of each connection

	mu        sync.Mutex
	all       *list.List // of *conn, the one whose last step is longest ago first
	addresses map[netip.Prefix]*address

	free      int       // turns that nobody has
	woken     int       // how many have waited for theirs
	newcomers list.List // of *address, those that wait for their first turn
	turns     list.List // of *address, those that wait for another; next first
}

// address is who connections come from.
type address struct {
	block   netip.Prefix
	open    int
	waiting list.List     // of *conn, for a turn
	line    *list.List    // newcomers or turns, where it stands; nil: none of them waits
	place   *list.Element // in that
	known   bool          // it has had a turn
}

func newGuard(limits Limits) *guard {
	return &guard{
		max: limits.Connections, maxPerAddress: limits.ConnectionsPerAddress, writeTimeout: limits.WriteTimeout,
		all: list.New(), addresses: map[netip.Prefix]*address{},
		free: limits.Handshakes,
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

// admit gives c a place, as one of addr's; the zero Addr is nobody's. evict says that
// somebody lost his for it.
func (g *guard) admit(c *conn, addr netip.Addr) (v verdict, evict bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// First the share: whom his own address leaves no place takes none from others.
	if v = g.share(c, addr); v != admitted {
		return v, false
	}
	if g.all.Len() >= g.max {
		evict = g.evict()
	}
	c.place = g.all.PushBack(c)
	return admitted, evict
}

// locate counts c, which was nobody's, among those of its address, which is known now.
func (g *guard) locate(c *conn, addr netip.Addr) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.place == nil {
		return admitted // and evicted since, as its next read will tell
	}
	return g.share(c, addr)
}

// share counts c among those of its address. The mutex is held.
func (g *guard) share(c *conn, addr netip.Addr) verdict {
	at := block(addr)
	if !at.IsValid() {
		return admitted
	}
	a := g.addresses[at]
	if a == nil {
		a = &address{block: at}
		g.addresses[at] = a
	}
	if a.open >= g.maxPerAddress {
		return tooMany
	}
	a.open++
	c.from = a
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

// evictionWindow is among how many connections, those whose last step is longest ago,
// one is chosen that loses its place.
const evictionWindow = 16

// evict ends the connection in the window whose address has most of them open; among
// equals one for which we wait, and not one that waits for us. Those that it spares begin
// anew. The mutex is held.
func (g *guard) evict() bool {
	var victim *list.Element
	most := -1
	for e, n := g.all.Front(), 0; e != nil && n < evictionWindow; e, n = e.Next(), n+1 {
		c := e.Value.(*conn)
		rank := 2 * c.siblings()
		if !c.ours {
			rank++
		}
		if rank > most {
			victim, most = e, rank
		}
	}
	if victim == nil {
		return false
	}
	for g.all.Front() != victim {
		g.all.MoveToBack(g.all.Front())
	}
	c := victim.Value.(*conn)
	g.forget(c)
	g.end(c)
	return true
}

// siblings is how many connections the address of c has open; 0 for nobody's.
func (c *conn) siblings() int {
	if c.from == nil {
		return 0
	}
	return c.from.open
}

// end ends c at once. The mutex is held.
func (g *guard) end(c *conn) {
	g.stopWaiting(c)
	c.hangUp()
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
	if a := c.from; a != nil {
		if a.open--; a.open == 0 {
			delete(g.addresses, a.block)
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
			g.end(c)
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
