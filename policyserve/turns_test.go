package policyserve

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// waiters are connections that want to compute a handshake, by name.
type waiters struct {
	t     *testing.T
	g     *guard
	conns map[string]*conn

	mu    sync.Mutex
	order []string // who had his turn, or that it was refused
	have  []*conn  // a turn
}

func newWaiters(t *testing.T, turns int) *waiters {
	return &waiters{t: t, g: newGuard(Limits{Handshakes: turns}.withDefaults()), conns: map[string]*conn{}}
}

// come has a connection from an address wait for its turn.
func (w *waiters) come(name, from string) {
	w.t.Helper()
	ours, theirs := net.Pipe()
	w.t.Cleanup(func() { ours.Close(); theirs.Close() })
	c := &conn{Conn: ours, guard: w.g, deadline: time.Now().Add(10 * time.Second)}
	if v, _ := w.g.admit(c, netip.MustParseAddr(from)); v != admitted {
		w.t.Fatal(v)
	}
	w.conns[name] = c
	go func() {
		err := w.g.takeTurn(c)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case err == nil:
			w.have = append(w.have, c)
		case errors.Is(err, errBusy):
			name = "not " + name
		default:
			w.t.Error(err)
		}
		w.order = append(w.order, name)
	}()
	synctest.Wait()
}

// give has the one who has had a turn for longest give it to others.
func (w *waiters) give() {
	c := w.have[0]
	w.have = w.have[1:]
	w.g.giveTurn(c)
	synctest.Wait()
}

func (w *waiters) want(order ...string) {
	w.t.Helper()
	if !slices.Equal(w.order, order) {
		w.t.Errorf("turns: %q, want %q", w.order, order)
	}
}

// However many connections an address has that wait, others wait for one of them only;
// and who comes for the first time waits for nobody's second.
func TestTurnsGoByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiters(t, 2)
		for _, name := range []string{"a1", "a2", "a3", "a4", "a5"} {
			w.come(name, "192.0.2.1")
		}
		w.come("b1", "192.0.2.2")
		w.come("b2", "192.0.2.2")
		w.come("b3", "192.0.2.2")
		w.come("c1", "2001:db8::1")
		w.come("c2", "2001:db8::2") // the same /64
		w.want("a1", "a2")
		for range 5 {
			w.give()
		}
		w.want("a1", "a2", "b1", "c1", "a3", "b2", "c2")
		w.come("d1", "192.0.2.4")
		w.come("c3", "2001:db8::3")
		for range 7 { // five wait
			w.give()
		}
		w.want("a1", "a2", "b1", "c1", "a3", "b2", "c2", "d1", "a4", "b3", "c3", "a5")
		w.come("d2", "192.0.2.4")
		w.come("d3", "192.0.2.4")
		w.come("d4", "192.0.2.4")
		w.want("a1", "a2", "b1", "c1", "a3", "b2", "c2", "d1", "a4", "b3", "c3", "a5", "d2", "d3")
		w.give()
		w.want("a1", "a2", "b1", "c1", "a3", "b2", "c2", "d1", "a4", "b3", "c3", "a5", "d2", "d3", "d4")
	})
}

// Who lost his place, or has waited too long, is waited for by nobody.
func TestTurnsAreForWhoIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiters(t, 1)
		w.come("a1", "192.0.2.1")
		w.come("a2", "192.0.2.1")
		w.come("b1", "192.0.2.2")
		w.g.evictOne() // a1 computes
		w.g.evictOne()
		synctest.Wait()
		w.want("a1", "not a2")
		w.give()
		w.want("a1", "not a2", "b1")
		w.come("b2", "192.0.2.2")
		w.come("b3", "192.0.2.2")
		w.g.closeAll()
		synctest.Wait()
		slices.Sort(w.order[3:])
		w.want("a1", "not a2", "b1", "not b2", "not b3")
		w.come("c1", "192.0.2.3")
		time.Sleep(time.Minute) // of the test's own clock
		synctest.Wait()
		w.want("a1", "not a2", "b1", "not b2", "not b3", "not c1")
		w.give()
		w.come("d1", "192.0.2.4")
		w.want("a1", "not a2", "b1", "not b2", "not b3", "not c1", "d1")
	})
}

// Who waits for us keeps his place where we wait for another, however long it took us.
func TestWaitingIsNotQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiters(t, 1)
		w.g.max = 3
		w.come("a1", "192.0.2.1")
		w.come("b1", "192.0.2.2")
		w.come("c1", "192.0.2.3")
		w.give() // to b1; a1 may speak
		w.come("d1", "192.0.2.4")
		w.want("a1", "b1")
		w.out("a1")
		w.come("e1", "192.0.2.5") // and all of them wait for us
		w.want("a1", "b1")
		w.out("a1", "b1")
		w.give()
		w.want("a1", "b1", "c1")
		w.g.closeAll()
		synctest.Wait()
	})
}

// out wants these, and no others, to have lost their places.
func (w *waiters) out(names ...string) {
	w.t.Helper()
	for name, c := range w.conns {
		if out := c.place == nil; out != slices.Contains(names, name) {
			w.t.Errorf("%s has lost its place: %v", name, out)
		}
	}
}

// An address owes nothing for a connection that was evicted before a proxy said whose it
// is.
func TestLocatedTooLate(t *testing.T) {
	g := newGuard(Limits{ConnectionsPerAddress: 1}.withDefaults())
	addr := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := &conn{Conn: ours, guard: g}
		g.admit(c, netip.Addr{})
		g.evictOne()
		if v := g.locate(c, addr); v != admitted {
			t.Fatal(v)
		}
		c.Close()
	}
	if len(g.addresses) != 0 || g.count() != 0 {
		t.Errorf("%d addresses, %d connections are left", len(g.addresses), g.count())
	}
}
