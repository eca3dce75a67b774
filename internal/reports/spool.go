package reports

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

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
// already. Each file is locked by the process that has it: another one, as that which takes
// its place, comes to it when it has ended.
type Spool struct {
	dir   string
	limit int64
	log   *slog.Logger

	mu       sync.Mutex
	files    []*segment // in the order in which they are read
	next     uint64     // number of the next file
	waiting  *group     // what is to be written next
	ended    []ended    // what is to be done to files without mu: a disk that hangs holds up nobody
	flushing bool
	others   bool          // another process has files here
	arrived  chan struct{} // has a value when there is something to read
	memory   *semaphore.Weighted
	looked   time.Time // when files of others were looked for; it is for Next
}

// segment is one file.
type segment struct {
	path    string
	file    *os.File // locked for as long as it is there
	writing bool     // it is the one that is written to
	size    int64    // what is there to stay
	read    int64    // what was read
	stored  int64    // what was stored of it
	left    bool     // another process left it, and may have ended in the middle of a record
	keep    bool     // it stays, for people: there is what can neither be read nor copied

	bad map[int64]int64 // what cannot be read: from where, how much; it is for Next
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
	s := &Spool{dir: dir, limit: limit, log: log, arrived: make(chan struct{}, 1), memory: semaphore.NewWeighted(maxWriting)}
	if err := s.adopt(); err != nil {
		for _, seg := range s.files {
			seg.file.Close() // another process may have it
		}
		return nil, err
	}
	return s, nil
}

// adopt takes the files that nobody has: a process left them that has ended.
func (s *Spool) adopt() error {
	s.looked = time.Now()
	paths, err := filepath.Glob(filepath.Join(s.dir, "*"+segmentSuffix))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	slices.Sort(paths)
	s.mu.Lock()
	paths = slices.DeleteFunc(paths, func(path string) bool {
		return slices.ContainsFunc(s.files, func(seg *segment) bool { return seg.path == path })
	})
	s.mu.Unlock()
	var left []*segment
	next, others := uint64(0), false
	var failed error
	for _, path := range paths { // without mu: a disk that hangs holds up nobody
		var n uint64
		if _, err := fmt.Sscanf(filepath.Base(path), "%016x"+segmentSuffix, &n); err != nil {
			failed = errors.Join(failed, fmt.Errorf("spool: %q does not belong there: move it away", path))
			continue
		}
		next = max(next, n+1)
		seg, err := take(path)
		switch {
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("spool: %w", err))
		case seg == nil:
			others = true
		case seg.size == 0: // a crash came before anything was written
			os.Remove(path) // or it is there at the next start again, and does no harm
			seg.file.Close()
		default:
			left = append(left, seg)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files, s.next, s.others = append(s.files, left...), max(s.next, next), others
	if len(left) > 0 {
		s.wake()
	}
	return failed
}

// take opens the file at path and locks it; nil if another process has it.
func take(path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // who had it is done with it
	}
	if err != nil {
		return nil, err
	}
	seg := &segment{path: path, file: f, left: true, bad: map[int64]int64{}}
	if !lockFile(f) || !seg.inPlace() {
		f.Close()
		return nil, nil
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	seg.size = fi.Size()
	return seg, nil
}

// lockFile reports whether nobody else has f. Where the file system has no locks, nobody has.
func lockFile(f *os.File) bool {
	return !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// wake has Next look again.
func (s *Spool) wake() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
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
