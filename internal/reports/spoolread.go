package reports

import (
	"bufio"
	"context"
	"errors"
	"io"
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
		wait := time.Until(s.looked.Add(adoptEvery))
		if others && wait <= 0 { // however much there is to read
			if err := s.adopt(); err != nil {
				return nil, err
			}
			continue
		}
		if seg != nil {
			b := s.read(seg, count, bytes)
			if len(b.Arrivals) > 0 {
				return b, nil
			}
			s.Stored(b) // it was damaged, and is out of the way
			continue
		}
		var again <-chan time.Time
		if others {
			again = time.After(wait)
		}
		select {
		case <-s.arrived:
		case <-again:
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

// read reads what is in seg by the file that is open: it has all that was promised, wherever
// somebody moved it, or whatever was put in its place.
func (s *Spool) read(seg *segment, count int, limit int64) *Batch {
	s.mu.Lock()
	from, end := seg.read, seg.size
	s.mu.Unlock()
	r := bufio.NewReaderSize(io.NewSectionReader(seg.file, from, end-from), 1<<16)
	b := &Batch{seg: seg, end: from}
	for len(b.Arrivals) < count && b.end-from < limit && b.end < end {
		if n := seg.bad[b.end]; n > 0 { // it is read again, as the database was away
			_, _ = r.Discard(int(n))
			b.end += n
			continue
		}
		a, n, err := decodeArrival(r)
		switch {
		case err == nil:
			b.Arrivals = append(b.Arrivals, a)
		case n > 0:
			s.keepDamaged(seg, b.end, n, err)
		default:
			s.pass(b, end, err)
			n = end - b.end
		}
		if err != nil {
			seg.bad[b.end] = n
		}
		b.end += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.read = b.end
	return b
}

// tornAtMost is how much a crash may leave half written as a rule. More may be a length that
// the disk has changed, with good records behind it.
const tornAtMost = 1 << 20

// pass passes over the rest of what is to be read: of a file that a crash left, half a record,
// which was promised to nobody, unless the disk is at fault. So a copy is kept where it is
// more, or of this process. What is written behind it meanwhile is not touched.
func (s *Spool) pass(b *Batch, end int64, why error) {
	torn := errors.Is(why, io.ErrUnexpectedEOF) || errors.Is(why, io.EOF)
	if !b.seg.left || !torn || end-b.end > tornAtMost {
		s.keepDamaged(b.seg, b.end, end-b.end, why)
	}
}

// keepDamaged copies what cannot be read of a file, for people to look at. Where that fails,
// as on a disk that is full or broken, the whole file stays.
func (s *Spool) keepDamaged(seg *segment, from, n int64, why error) {
	to := seg.path + damagedSuffix
	s.log.Error("the spool has what cannot be read; a copy is kept", "file", to, "from", from, "bytes", n, "err", why)
	if err := copyPart(seg.file, to, from, n); err != nil {
		s.log.Error("copying what cannot be read of the spool; the whole file is kept", "file", to, "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		seg.keep = true
	}
}

func copyPart(f *os.File, to string, from, n int64) error {
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
