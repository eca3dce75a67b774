package reports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// segmentSize is where a new file of the spool is begun: what is read again after a
	// crash is about as much.
	segmentSize = 16 << 20

	// maxWriting bounds what is in memory while a disk takes its time, or hangs: two of the
	// largest mails.
	maxWriting = 2 * maxRecord

	segmentSuffix = ".spool"
	damagedSuffix = ".damaged"
)

// ErrFull says that the spool has no room. Who sends is to try again later.
var ErrFull = errors.New("reports: the spool is full")

// Spool keeps what came in, on disk, until the database has it. Add returns once it is
// there to stay, and then the sender may be told so.
//
// It is a directory of files that are written once, from start to end. A record is its
// length and CRC-32C, four bytes each, and then an Arrival; a file goes when all in it
// was stored. After a crash what is left is read again: the database knows what it has
// already. Only one process may use the directory at a time.
type Spool struct {
	dir   string
	limit int64
	log   *slog.Logger

	mu       sync.Mutex
	files    []*segment // in order; the last one may be written to
	next     uint64     // number of the next file
	waiting  *group     // what is to be written next
	ended    []ended    // what is to be done to files without mu: a disk that hangs holds up nobody
	flushing bool
	arrived  chan struct{} // has a value when there is something to read
	memory   *semaphore.Weighted
}

// segment is one file.
type segment struct {
	path   string
	file   *os.File // that it is written by; nil: no more
	size   int64    // what is there to stay
	read   int64    // what was read
	stored int64    // what was stored of it
	keep   bool     // it stays, for people: there is what can neither be read nor copied
}

// group is what is brought to disk at once, as that takes the same time for one and many.
type group struct {
	records [][]byte
	size    int64
	memory  int64 // that it has of the spool's
	done    chan struct{}
	err     error
}

// OpenSpool opens the spool in dir, which may take limit bytes.
func OpenSpool(dir string, limit int64, log *slog.Logger) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	slices.Sort(paths)
	s := &Spool{dir: dir, limit: limit, log: log, arrived: make(chan struct{}, 1), memory: semaphore.NewWeighted(maxWriting)}
	for _, path := range paths {
		fi, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		var n uint64
		if _, err := fmt.Sscanf(filepath.Base(path), "%016x"+segmentSuffix, &n); err != nil {
			return nil, fmt.Errorf("spool: %q does not belong there: move it away", path)
		}
		s.next = max(s.next, n+1)
		if fi.Size() == 0 { // a crash came before anything was written
			os.Remove(path) // or it is there at the next start again, and does no harm
			continue
		}
		s.files = append(s.files, &segment{path: path, size: fi.Size()})
	}
	if len(s.files) > 0 {
		s.arrived <- struct{}{}
	}
	return s, nil
}

// Bytes returns how much waits to be stored.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unstored()
}

func (s *Spool) unstored() (n int64) {
	for _, seg := range s.files {
		n += seg.size - seg.stored
	}
	return n
}

// Limit returns how much may wait.
func (s *Spool) Limit() int64 { return s.limit }

// Add puts a on disk, and returns when it is there to stay. Where there is no room it
// returns ErrFull; with any error nothing is promised of a.
func (s *Spool) Add(ctx context.Context, a *Arrival) error {
	size := int64(len(a.Data))
	if size > maxRecord {
		return fmt.Errorf("spool: %d bytes are too much", size)
	}
	if err := s.memory.Acquire(ctx, size); err != nil {
		return err
	}
	g, err := s.join(a)
	if err != nil {
		s.memory.Release(size)
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done(): // a disk that hangs; it may come to be there all the same, and is known then
		return ctx.Err()
	}
}

// join adds a to what is written next.
func (s *Spool) join(a *Arrival) (*group, error) {
	record, err := encodeArrival(a)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := int64(0)
	if s.waiting != nil {
		pending = s.waiting.size
	}
	if s.unstored()+pending+int64(len(record)) > s.limit {
		return nil, ErrFull
	}
	if s.waiting == nil {
		s.waiting = &group{done: make(chan struct{})}
	}
	g := s.waiting
	g.records, g.size, g.memory = append(g.records, record), pending+int64(len(record)), g.memory+int64(len(a.Data))
	if !s.flushing {
		s.flushing = true
		go s.flush()
	}
	return g, nil
}
