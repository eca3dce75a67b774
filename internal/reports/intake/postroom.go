package intake

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

var (
	errPostNoRoom = errors.New("no room")
	errPostTooBig = errors.New("too big")
)

// postRoom bounds the memory that bodies take, in all and per address. A body has as much of
// it as its buffer, which grows with what came: an announced length takes nothing. Who
// finds no room waits in line for a while.
type postRoom struct {
	limits       PostLimits
	small, large *semaphore.Weighted // bytes, for bodies of either kind
	taken        atomic.Int64        // bytes, of both

	mu     sync.Mutex
	shares map[netip.Prefix]*postShare
}

// postShare is what an address may take.
type postShare struct {
	at              netip.Prefix
	requests, bytes *semaphore.Weighted
	users           int // who holds or waits for it. The room's mutex
}

func newPostRoom(l PostLimits) *postRoom {
	small := l.Bytes / 20 * 9
	return &postRoom{
		limits: l, shares: map[netip.Prefix]*postShare{},
		small: semaphore.NewWeighted(small), large: semaphore.NewWeighted(l.Bytes - small),
	}
}

// postHeld is what one request has of the room.
type postHeld struct {
	room         *postRoom
	share        *postShare // nil: nobody's
	small, large int64
}

// enter lets in a request from addr; the zero Addr is nobody's. The error is errPostNoRoom, or
// that of ctx. Without one, leave gives back all that the request took since.
func (m *postRoom) enter(ctx context.Context, addr netip.Addr) (*postHeld, error) {
	h := &postHeld{room: m, share: m.join(postBlock(addr))}
	if h.share == nil {
		return h, nil
	}
	if err := m.acquire(ctx, h.share.requests, 1); err != nil {
		m.part(h.share)
		return nil, err
	}
	return h, nil
}

// leave gives everything back.
func (h *postHeld) leave() {
	h.room.small.Release(h.small)
	h.room.large.Release(h.large)
	h.room.taken.Add(-h.small - h.large)
	if h.share != nil {
		h.share.bytes.Release(h.small + h.large)
		h.share.requests.Release(1)
		h.room.part(h.share)
	}
}

// take has n bytes more for a buffer of that size. Errors are those of enter.
func (h *postHeld) take(ctx context.Context, n int64) error {
	if h.share != nil {
		if err := h.room.acquire(ctx, h.share.bytes, n); err != nil {
			return err
		}
	}
	if err := h.room.acquire(ctx, h.kind(n), n); err != nil {
		if h.share != nil {
			h.share.bytes.Release(n)
		}
		return err
	}
	h.note(n, n)
	return nil
}

// drop gives back what a buffer of n bytes had.
func (h *postHeld) drop(n int64) {
	h.kind(n).Release(n)
	if h.share != nil {
		h.share.bytes.Release(n)
	}
	h.note(n, -n)
}

// kind is where a buffer of n bytes has its room.
func (h *postHeld) kind(n int64) *semaphore.Weighted {
	if n <= smallPost {
		return h.room.small
	}
	return h.room.large
}

// note writes down that a buffer of n bytes has more.
func (h *postHeld) note(n, more int64) {
	h.room.taken.Add(more)
	if n <= smallPost {
		h.small += more
		return
	}
	h.large += more
}

// acquire waits for n of s, for as long as there is patience.
func (m *postRoom) acquire(ctx context.Context, s *semaphore.Weighted, n int64) error {
	if s.TryAcquire(n) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, m.limits.Wait)
	defer cancel()
	if s.Acquire(wait, n) == nil {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errPostNoRoom
}

// join returns the share of an address, and notes one more user of it.
func (m *postRoom) join(at netip.Prefix) *postShare {
	if !at.IsValid() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shares[at]
	if s == nil {
		s = &postShare{
			at:       at,
			requests: semaphore.NewWeighted(int64(m.limits.RequestsPerAddress)),
			bytes:    semaphore.NewWeighted(m.limits.BytesPerAddress),
		}
		m.shares[at] = s
	}
	s.users++
	return s
}

// part forgets a share that nobody uses any more.
func (m *postRoom) part(s *postShare) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(m.shares, s.at)
	}
}

// postBlock is what counts as one address: IPv6 networks are given out as /64 and more.
func postBlock(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // not valid for the zero Addr
	return p
}
