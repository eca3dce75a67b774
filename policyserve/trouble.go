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

// cannotAccept notes that a connection could not be taken, and makes place for it. That a
// client has gone already means nothing.
func (s *Server) cannotAccept(k kind, err error) {
	if errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EINTR) {
		return
	}
	s.metrics.acceptErrors[k].Add(1)
	s.refused.mu.Lock()
	s.refused.at, s.refused.err = time.Now(), err
	s.refused.mu.Unlock()
	s.MakeRoom()
}

// MakeRoom ends the connection that has gone for longest without a step forward. It is
// for who finds that the system has no file descriptors left.
func (s *Server) MakeRoom() bool {
	ended := s.guard.evictOne()
	if ended {
		s.metrics.connection(evicted)
	}
	return ended
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
