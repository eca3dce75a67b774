package dnsrecords

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// perSecond is how many answers by UDP a network gets in a second. Whoever forges
	// senders makes no more of us than that; a large sender's resolvers ask for some
	// domains a second, and come by TCP beyond.
	perSecond = 200

	// slipsPerSecond is how many more are told to come by TCP, in an answer as short as
	// the question. To be silent at once would keep resolvers waiting, and whoever forges
	// answers for them has as long.
	slipsPerSecond = 10 * perSecond

	// limiterRows of limiterPlaces each, 1.1 MiB, are the networks that are told apart.
	limiterRows   = 1 << 14
	limiterPlaces = 4
)

// passage is what becomes of an answer.
type passage int

const (
	pass passage = iota
	slip         // answered by "come by TCP"
	drop
)

// limiter bounds answers for each network, an IPv4 /24 or an IPv6 /56, as response rate
// limiting does, since the sender of a datagram may be forged. It takes the same memory
// whoever asks: of the networks that fall into one row, those that asked least in this
// second make place. Which ones fall together nobody outside knows.
type limiter struct {
	seed maphash.Seed
	rows [limiterRows]limiterRow
}

type limiterRow struct {
	mu     sync.Mutex
	places [limiterPlaces]allowance
}

// allowance is what a network was given in a second.
type allowance struct {
	network uint64 // its hash
	second  uint32
	used    uint32
}

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// take counts an answer to addr.
func (l *limiter) take(addr netip.Addr, now time.Time) passage {
	addr = addr.Unmap().WithZone("")
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil || !addr.IsValid() {
		return drop // there is no address to answer to
	}
	hash, second := maphash.Comparable(l.seed, network), uint32(now.Unix())
	row := &l.rows[hash%limiterRows]
	row.mu.Lock()
	defer row.mu.Unlock()
	a := &row.places[0]
	for i := range row.places {
		p := &row.places[i]
		if p.network == hash {
			a = p
			break
		}
		if p.recent(second) < a.recent(second) {
			a = p
		}
	}
	if a.network != hash || a.second != second {
		*a = allowance{network: hash, second: second}
	}
	a.used++
	switch {
	case a.used <= perSecond:
		return pass
	case a.used <= perSecond+slipsPerSecond:
		return slip
	}
	return drop
}

// recent is what was given in this second.
func (a *allowance) recent(second uint32) uint32 {
	if a.second != second {
		return 0
	}
	return a.used
}
