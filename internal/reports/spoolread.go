package reports

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// adoptEvery is how often files are looked for that another process had, and has left.
const adoptEvery = 30 * time.Second

// Batch is what Next read.
type Batch struct {
	Arrivals []*Arrival
	seg      *segment
	end      int64
}

// Next waits for what came in, and returns the oldest that was not read yet: at most
// count, or bytes and one more. Only one may ask at a time.
func (s *Spool) Next(ctx context.Context, count int, bytes int64) (*Batch, error) {
	for {
		s.mu.Lock()
		seg, others := s.unread(), s.others
		s.mu.Unlock()
		if seg != nil {
			b, err := s.read(seg, count, bytes)
			if errors.Is(err, fs.ErrNotExist) {
				s.forget(seg)
				continue
			}
			if err != nil || len(b.Arrivals) > 0 {
				return b, err
			}
			s.Stored(b) // it was damaged, and is out of the way
			continue
		}
		var again <-chan time.Time
		if others {
			again = time.After(adoptEvery)
		}
		select {
		case <-s.arrived:
		case <-again:
			if err := s.adopt(); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// unread returns the first file of which something was not read. mu is held.
func (s *Spool) unread() *segment {
	for _, seg := range s.files {
		if seg.read < seg.size {
			return seg
		}
	}
	return nil
}

func (s *Spool) read(seg *segment, count int, limit int64) (*Batch, error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	s.mu.Lock()
	from, end := seg.read, seg.size
	s.mu.Unlock()
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, end-from), 1<<16)
	b := &Batch{seg: seg, end: from}
	for len(b.Arrivals) < count && b.end-from < limit && b.end < end {
		a, n, err := decodeArrival(r)
		switch {
		case err == nil:
			b.Arrivals = append(b.Arrivals, a)
		case n > 0:
			s.keepDamaged(seg, b.end, n, err)
		default:
			s.cut(b, end, err)
			end = b.end
		}
		b.end += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.read = b.end
	return b, nil
}

// forget gives up a file that somebody took away: who comes after it is not to wait for it.
// Where it comes back, it is read at the next start.
func (s *Spool) forget(seg *segment) {
	s.mu.Lock()
	defer s.unlock()
	s.log.Error("a file of the spool is gone, and the reports in it with it; put it back and start again to have them", "file", seg.path, "bytes", seg.size-seg.stored)
	seg.stored = seg.size
	s.finish(seg)
	s.remove(seg)
}

// tornAtMost is how much a crash may leave half written as a rule. More may be a length that
// the disk has changed, with good records behind it.
const tornAtMost = 1 << 20

// cut takes the end off a file, as a crash left it in the middle of a record. That was
// promised to nobody, unless the disk is at fault: so a copy is kept where it is more.
func (s *Spool) cut(b *Batch, end int64, why error) {
	torn := errors.Is(why, io.ErrUnexpectedEOF) || errors.Is(why, io.EOF)
	if !torn || end-b.end > tornAtMost {
		s.keepDamaged(b.seg, b.end, end-b.end, why)
	}
	s.mu.Lock()
	defer s.unlock()
	b.seg.size = b.end
	if b.seg.stored >= b.seg.size {
		s.remove(b.seg)
	}
}

// keepDamaged copies what cannot be read of a file, for people to look at. Where that fails,
// as on a disk that is full or broken, the whole file stays.
func (s *Spool) keepDamaged(seg *segment, from, n int64, why error) {
	to := seg.path + damagedSuffix
	s.log.Error("the spool has what cannot be read; a copy is kept", "file", to, "from", from, "bytes", n, "err", why)
	if err := copyPart(seg.path, to, from, n); err != nil {
		s.log.Error("copying what cannot be read of the spool; the whole file is kept", "file", to, "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		seg.keep = true
	}
}

func copyPart(path, to string, from, n int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(f, from, n))
	return errors.Join(err, w.Close())
}

// Stored says that the database has all of b.
func (s *Spool) Stored(b *Batch) {
	s.mu.Lock()
	defer s.unlock()
	b.seg.stored = b.end
	if !b.seg.writing && b.seg.stored >= b.seg.size {
		s.remove(b.seg)
		return
	}
	s.tidy()
}

// Again has Next return b once more.
func (s *Spool) Again(b *Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.seg.read = b.seg.stored
	s.wake()
}
