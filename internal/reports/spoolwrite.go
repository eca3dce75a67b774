package reports

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ended is a file that nothing is written to any more.
type ended struct {
	seg  *segment
	size int64
	gone bool // it is to be removed
}

// unlock unlocks mu, and does then what waits for that.
func (s *Spool) unlock() {
	all := s.ended
	s.ended = nil
	s.mu.Unlock()
	for _, e := range all {
		if !e.gone {
			_ = e.seg.file.Truncate(e.size) // half a record would be told of at the next start
			continue
		}
		remove := os.Remove
		if e.seg.keep {
			remove = func(path string) error { return os.Rename(path, path+damagedSuffix) }
		}
		if !e.seg.inPlace() { // what stands there is of somebody else
			s.log.Warn("a file of the spool was moved or removed; what was in it is stored", "file", e.seg.path)
		} else if err := remove(e.seg.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a file of the spool cannot be removed; it is read again at the next start, without effect", "err", err)
		}
		e.seg.file.Close() // all of it was synced, or is of no use
	}
}

// flush writes groups until none waits.
func (s *Spool) flush() {
	s.mu.Lock()
	defer s.unlock()
	for s.waiting != nil {
		g := s.waiting
		s.waiting = nil
		s.unlock()
		g.err = s.write(g)
		g.records = nil
		s.memory.Release(g.memory)
		s.mu.Lock()
		if s.waiting == nil {
			s.flushing = false
			s.tidy()
		}
		close(g.done)
	}
}

// write brings a group to disk. Only one does at a time.
func (s *Spool) write(g *group) error {
	seg, err := s.current()
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(seg.file, 64<<10) // most are small
	for _, record := range g.records {
		_, _ = w.Write(record) // Flush has its error
	}
	if err = w.Flush(); err == nil {
		err = seg.file.Sync()
	}
	s.mu.Lock()
	defer s.unlock()
	if err != nil {
		// What came to disk of it is not known, so nothing is written behind it.
		s.finish(seg)
		return fmt.Errorf("spool: %w", err)
	}
	seg.size += g.size
	if seg.size >= segmentSize {
		s.finish(seg)
	}
	s.wake()
	return nil
}

// current returns the file to write to, and begins one where there is none.
func (s *Spool) current() (*segment, error) {
	s.mu.Lock()
	seg := s.open()
	s.mu.Unlock()
	if seg != nil {
		if seg.inPlace() {
			return seg, nil
		}
		s.mu.Lock()
		s.finish(seg)
		s.unlock()
	}
	for {
		s.mu.Lock()
		path := filepath.Join(s.dir, fmt.Sprintf("%016x%s", s.next, segmentSuffix))
		s.next++
		s.mu.Unlock()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
		if errors.Is(err, fs.ErrExist) {
			continue // another process has begun it
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		if err := syncDir(s.dir); err != nil {
			f.Close()
			os.Remove(path)
			return nil, err
		}
		if seg := (&segment{path: path, file: f, writing: true, bad: map[int64]int64{}}); lockFile(f) && seg.inPlace() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.files = append(s.files, seg)
			return seg, nil
		}
		f.Close() // another process took it for left over
	}
}

// inPlace reports whether the file is where it is looked for after a crash: what is written
// to one that somebody moved or removed does not stay.
func (seg *segment) inPlace() bool {
	is, err := seg.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(seg.path)
	return err == nil && os.SameFile(is, there)
}

// open returns the file that is written to; nil for none. mu is held.
func (s *Spool) open() *segment {
	if i := slices.IndexFunc(s.files, func(seg *segment) bool { return seg.writing }); i >= 0 {
		return s.files[i]
	}
	return nil
}

// finish has nothing more written to seg. mu is held.
func (s *Spool) finish(seg *segment) {
	if !seg.writing {
		return
	}
	seg.writing = false
	s.ended = append(s.ended, ended{seg: seg, size: seg.size})
	if seg.stored >= seg.size {
		s.remove(seg)
	}
}

// tidy takes away the file that is written to where all in it was stored. mu is held.
func (s *Spool) tidy() {
	if seg := s.open(); seg != nil && !s.flushing && seg.size > 0 && seg.stored >= seg.size {
		s.finish(seg)
	}
}

// remove takes away a file of which all was stored. mu is held.
func (s *Spool) remove(seg *segment) {
	if !slices.Contains(s.files, seg) {
		return
	}
	s.ended = append(s.ended, ended{seg: seg, gone: true})
	s.files = slices.DeleteFunc(s.files, func(x *segment) bool { return x == seg })
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}
