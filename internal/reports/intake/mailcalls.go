package intake

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// callers are the connections by one protocol: not too many from one address, and when
// all places are taken, who has been quiet for longest and brings no mail makes place.
type callers struct {
	limits  MailLimits
	trusted bool // LMTP: a mail server of ours
	metrics *mailMetrics

	mu        sync.Mutex
	leaving   bool
	all       list.List // of *call, who was heard last at the end
	addresses map[netip.Prefix]int
}

func newCallers(limits MailLimits, trusted bool, metrics *mailMetrics) *callers {
	return &callers{limits: limits, trusted: trusted, metrics: metrics, addresses: map[netip.Prefix]int{}}
}

// gate is a listener that lets in whom there is a place for.
type gate struct {
	net.Listener
	callers *callers
}

// Accept returns a *call.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := g.callers.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // nothing was sent before: it takes no time
		_, _ = conn.Write([]byte(tooManyCalls))
		conn.Close()
	}
}

// admit gives a connection a place; nil where there is none.
func (cs *callers) admit(conn net.Conn) *call {
	c := &call{Conn: conn, callers: cs, until: time.Now().Add(cs.limits.Commands)}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	bits := 64
	if c.addr.Is4() {
		bits = 32
	}
	c.from, _ = c.addr.Prefix(bits) // Unix sockets have none
	cs.mu.Lock()
	defer cs.mu.Unlock()
	alone := cs.trusted || c.addr.IsLoopback()
	switch {
	case cs.leaving:
		return nil
	case !alone && cs.addresses[c.from] >= cs.limits.PerAddress:
		cs.metrics.manyFromAddress.Add(1)
		return nil
	case cs.all.Len() >= cs.limits.Connections && !cs.evict():
		cs.metrics.manyCalls.Add(1)
		return nil
	}
	cs.addresses[c.from]++
	c.place = cs.all.PushBack(c)
	return c
}

// evict ends who has been quiet for longest. The mutex is held.
func (cs *callers) evict() bool {
	for e := cs.all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*call); !c.busy {
			cs.metrics.evicted.Add(1)
			cs.forget(c)
			c.Conn.Close()
			return true
		}
	}
	return false
}

// forget takes c out of the books. The mutex is held.
func (cs *callers) forget(c *call) {
	if c.place == nil {
		return
	}
	cs.all.Remove(c.place)
	c.place = nil
	if cs.addresses[c.from]--; cs.addresses[c.from] == 0 {
		delete(cs.addresses, c.from)
	}
}

// aLongTimeAgo ends what waits to read.
var aLongTimeAgo = time.Unix(1, 0)

// finish ends connections, those that bring a mail after it is answered.
func (cs *callers) finish() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.leaving = true
	for e := cs.all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*call); !c.busy {
			_ = c.SetReadDeadline(aLongTimeAgo)
		}
	}
}

// hangUp ends all connections at once.
func (cs *callers) hangUp() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for e := cs.all.Front(); e != nil; e = e.Next() {
		e.Value.(*call).Conn.Close()
	}
}

func (cs *callers) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.all.Len()
}
