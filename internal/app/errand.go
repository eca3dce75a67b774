package app

import (
	"fmt"
	"sync"
	"time"
)

const (
	// waitFor is how long an errand is waited for.
	waitFor = 5 * time.Second

	// tellAfter is when an errand that has not ended is told of: reading 100,000
	// domains anew takes a few seconds on a busy machine.
	tellAfter = 10 * time.Second
)

// errand is work on storage that may not answer, as a network file system whose server
// is gone. It is done beside whoever asks for it, one at a time: a reload, a stop and
// what tells of them must not hang with it.
type errand struct {
	name string // what is being done, for people

	mu    sync.Mutex
	again bool          // it was asked for while it was under way
	ended chan struct{} // closed when it has ended; nil: it is not under way
	since time.Time     // when it began
	last  time.Time     // when it ended last
	took  time.Duration // the last time
}

// sparing is how many times as long as an errand takes it is left alone after it.
const sparing = 9

// beginSparingly is begin, unless that would have the errand be done for more than a
// tenth of all time. It is for what is asked for again and again.
func (e *errand) beginSparingly(f func()) {
	e.mu.Lock()
	soon := e.ended != nil || time.Since(e.last) < sparing*e.took
	e.mu.Unlock()
	if !soon {
		e.begin(f)
	}
}

// do has f done, and waits for that a while.
func (e *errand) do(f func()) {
	ended := e.begin(f)
	timer := time.NewTimer(waitFor)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// begin has f done, and waits for nothing. If it is under way already it is done once
// more after that. ended is closed then.
func (e *errand) begin(f func()) (ended <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended == nil {
		e.ended, e.since = make(chan struct{}), time.Now()
		go e.run(f)
	} else {
		e.again = true
	}
	return e.ended
}

func (e *errand) run(f func()) {
	for {
		f()
		if e.end() {
			return
		}
	}
}

// end notes that the errand was done. It returns false if it is to be done once more.
func (e *errand) end() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = time.Now()
	e.took = e.last.Sub(e.since)
	if e.again {
		e.again, e.since = false, e.last
		return false
	}
	close(e.ended)
	e.ended = nil
	return true
}

// stuck says that the errand does not end, "" where it does.
func (e *errand) stuck() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended == nil || time.Since(e.since) < tellAfter {
		return ""
	}
	return fmt.Sprintf("storage does not answer since %s: %s", e.since.UTC().Format(time.RFC3339), e.name)
}
