package policyserve

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// troubleFor is how long it is told of that a connection could not be taken: as long as
// whoever asks every half a minute needs to see it.
const troubleFor = time.Minute

// refused is when the system refused us a connection last, and why.
type refused struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// cannotAccept notes that a connection could not be taken so many times in a row, and makes
// place for it. That a client has gone already means nothing.
func (s *Server) cannotAccept(k kind, err error, times int) {
	if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EINTR) {
		return
	}
	s.metrics.acceptErrors[k].Add(1)
	s.refused.mu.Lock()
	s.refused.at, s.refused.err = time.Now(), err
	s.refused.mu.Unlock()
	s.MakeRoom(times)
}

// mostRoom bounds how many connections are ended at once.
const mostRoom = 128

// MakeRoom ends connections that have gone for longest without a step forward. It is for
// who finds, for so many times in a row, that the system has no file descriptors left: one
// at first, then twice as many as the time before, since it may have taken back thousands.
func (s *Server) MakeRoom(times int) {
	for range min(1<<min(max(times-1, 0), 16), mostRoom) {
		if !s.guard.evictOne() {
			return
		}
		s.metrics.connection(evicted)
	}
}

// Trouble says in one line each what keeps connections from being taken.
func (s *Server) Trouble() []string {
	s.refused.mu.Lock()
	defer s.refused.mu.Unlock()
	if s.refused.at.IsZero() || time.Since(s.refused.at) > troubleFor {
		return nil
	}
	return []string{fmt.Sprintf("connections have to wait, last at %s: %v", s.refused.at.UTC().Format(time.RFC3339), s.refused.err)}
}
