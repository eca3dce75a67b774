package policyserve

import (
	"container/list"
	"errors"
	"runtime"
	"time"
)

// A handshake is computed when it is its turn. Turns go round by address, so that who has
// a thousand connections gets one in each round, like who has two. The first turn of an
// address comes before that: a sender with one connection waits for nobody's second. An
// address without connections is forgotten, and has a first turn again.

// turnsInARow are given before all else that could run does. Who is woken goes before
// that, and wakes the next when his turn is over: new connections would wait to be
// accepted until none of these waits.
const turnsInARow = 4

// errBusy ends the handshake of who did not get his turn while there was time.
var errBusy = errors.New("too many handshakes at once")

// turn is what a connection waits for.
type turn struct {
	place *list.Element // among those of its address; nil: it waits no more
	given bool          // and not: it has lost its place
	over  chan struct{} // closed when the waiting is
}

// takeTurn waits until c may compute its handshake; then it must give the turn back.
// The error is errBusy.
func (g *guard) takeTurn(c *conn) error {
	if g.await(c) {
		return nil
	}
	timer := time.NewTimer(time.Until(c.deadline))
	defer timer.Stop()
	select {
	case <-c.turn.over:
	case <-timer.C:
	}
	g.mu.Lock()
	g.stopWaiting(c)
	given := c.turn.given
	g.woken++
	yield := g.woken%turnsInARow == 0
	g.mu.Unlock()
	if yield {
		runtime.Gosched()
	}
	if !given {
		return errBusy
	}
	return nil
}

// await gives c its turn, or has it wait.
func (g *guard) await(c *conn) (given bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ours = true
	if g.free > 0 {
		g.free--
		c.from.meet()
		return true
	}
	c.turn = &turn{over: make(chan struct{})}
	if c.place == nil {
		close(c.turn.over) // it was evicted a moment ago
		return false
	}
	if c.from == nil {
		c.from = &address{open: 1} // nobody's counts as one of its own
	}
	a := c.from
	c.turn.place = a.waiting.PushBack(c)
	g.standInLine(a)
	return false
}

// giveTurn gives the turn of c to the next who waits. From now on the client's time runs.
func (g *guard) giveTurn(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ours = false
	if c.place != nil {
		g.all.MoveToBack(c.place)
	}
	g.nextTurn()
}

// nextTurn gives a turn to the next who waits. The mutex is held.
func (g *guard) nextTurn() {
	next := g.newcomers.Front()
	if next == nil {
		next = g.turns.Front()
	}
	if next == nil {
		g.free++
		return
	}
	a := next.Value.(*address)
	c := a.waiting.Front().Value.(*conn)
	c.turn.given = true
	a.meet()
	g.leaveLine(a)
	g.stopWaiting(c)
	if a.waiting.Len() > 0 {
		g.standInLine(a)
	}
}

// meet notes that a has had a turn.
func (a *address) meet() {
	if a != nil {
		a.known = true
	}
}

// standInLine puts a, one of whose connections waits, behind the others. The mutex is held.
func (g *guard) standInLine(a *address) {
	if a.line != nil {
		return
	}
	a.line = &g.newcomers
	if a.known {
		a.line = &g.turns
	}
	a.place = a.line.PushBack(a)
}

// leaveLine is the end of that. The mutex is held.
func (g *guard) leaveLine(a *address) {
	if a.line != nil {
		a.line.Remove(a.place)
		a.line, a.place = nil, nil
	}
}

// stopWaiting ends c's waiting for its turn. The mutex is held.
func (g *guard) stopWaiting(c *conn) {
	if c.turn == nil || c.turn.place == nil {
		return
	}
	a := c.from
	a.waiting.Remove(c.turn.place)
	c.turn.place = nil
	close(c.turn.over)
	if a.waiting.Len() == 0 {
		g.leaveLine(a)
	}
}
