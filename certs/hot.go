package certs

import (
	"crypto/tls"
	"sync"
)

// hotHosts is how many hosts have their tls.Certificate at hand: 5 MiB. The others
// have it made for each handshake, which costs a tenth of one.
const hotHosts = 2048

// hot keeps tls.Certificates of the hosts that were asked for last, about: whoever is
// not asked for again while 2048 others come loses his.
type hot struct {
	mu   sync.Mutex
	ring [hotHosts]*slot
	next int
}

// ready is a tls.Certificate and what it was made of.
type ready struct {
	tls  *tls.Certificate
	from *certificate
}

// get returns the tls.Certificate of c, which is what s hands out.
func (h *hot) get(s *slot, c *certificate) (*tls.Certificate, error) {
	if r := s.ready.Load(); r != nil && r.from == c {
		return r.tls, nil
	}
	t, err := c.pair()
	if err != nil {
		return nil, err
	}
	if s.ready.Swap(&ready{tls: t, from: c}) == nil {
		h.add(s)
	}
	return t, nil
}

// add takes s in, in the place of who has been here for longest.
func (h *hot) add(s *slot) {
	h.mu.Lock()
	old := h.ring[h.next]
	h.ring[h.next] = s
	h.next = (h.next + 1) % hotHosts
	h.mu.Unlock()
	if old != nil {
		old.ready.Store(nil)
	}
}
