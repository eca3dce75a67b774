package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// The journal is a text file. Each line is eight hexadecimal digits, the CRC-32C
// of what follows the blank after them, and an event in JSON. A line that a crash
// cut short fails its checksum; so does one that was tampered with by accident.

type event struct {
	Time   time.Time `json:"time"`
	Op     string    `json:"op"`
	Domain string    `json:"domain"`
	ID     string    `json:"id,omitempty"`
	Source string    `json:"source,omitempty"`
	Body   string    `json:"body,omitempty"`
	RUA    string    `json:"rua,omitempty"`
	By     string    `json:"by,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

const (
	opPublish = "publish"
	opForget  = "forget"
	opWas     = "was"  // a replaced policy was served until Until; written when the journal is begun anew
	opHeld    = "held" // senders may hold a replaced policy until Time; written when the journal is begun anew

	opAnnounce   = "announce"
	opUnannounce = "unannounce"
)

// spare is how many lines of history the journal carries along at least before it
// is begun anew with what is still of use; the old one is kept beside it.
const spare = 100_000

// maxLine is longer than a line can be: a policy of 64 KiB, escaped, and names.
const maxLine = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(to *bytes.Buffer, ev event) error {
	line, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "%08x %s\n", crc32.Checksum(line, castagnoli), line)
	return nil
}

func decode(line []byte) (ev event, ok bool) {
	if len(line) < 10 || line[8] != ' ' {
		return ev, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[9:], castagnoli) {
		return ev, false
	}
	known := []string{opPublish, opForget, opWas, opHeld, opAnnounce, opUnannounce}
	return ev, json.Unmarshal(line[9:], &ev) == nil && slices.Contains(known, ev.Op)
}

// catchUp reads what the journal has gained since the last time.
func (l *Ledger) catchUp() error {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		l.lost = l.file != nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	return l.readFrom(f)
}

// readFrom reads what f has that was not read yet. A journal that another process
// began anew is read from its start, in place of what was known. One that was
// emptied, cut or taken away says nothing: what this process knows is the truth
// then, and the next flush writes all of it.
func (l *Ledger) readFrom(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	switch known := l.file != nil; {
	case known && !l.guest && !os.SameFile(l.file, fi):
		// Only the process that keeps the journal begins it anew. Whoever put
		// another one in its place, as a backup, says nothing of what is served.
		l.lost = true
		return nil
	case known && (fi.Size() == 0 || os.SameFile(l.file, fi) && fi.Size() < l.offset):
		l.lost = l.offset > 0
		return nil
	case !known || !os.SameFile(l.file, fi):
		l.offset, l.lines = 0, 0
		l.mu.Lock()
		l.entries, l.held, l.announced = make(map[string]*record), make(map[string]time.Time), make(map[string]announcement)
		l.past = make(map[string][]Version)
		l.mu.Unlock()
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, ev := range l.pending {
				l.apply(ev)
			}
		}()
	}
	l.file, l.lost = fi, false
	if fi.Size() == l.offset {
		return nil
	}
	if _, err := f.Seek(l.offset, io.SeekStart); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	r := bufio.NewReaderSize(f, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.offset += int64(len(line)) // no line of ours: its rest fails too
			l.damaged("a line is too long")
			continue
		case errors.Is(err, io.EOF):
			return nil // what is left was cut short; the next append mends it
		case err != nil:
			return fmt.Errorf("ledger: reading %q: %w", l.path, err)
		}
		l.offset += int64(len(line))
		l.lines++
		if ev, ok := decode(line[:len(line)-1]); ok {
			l.learn(ev)
		} else {
			l.damaged("fails its checksum")
		}
	}
}

// learn takes in an event that is in the journal.
func (l *Ledger) learn(ev event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	l.apply(ev)
}

func (l *Ledger) damaged(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	l.lose()
	const most = 20 // enough for a person to see
	if len(l.damage) < most {
		l.damage = append(l.damage, fmt.Sprintf("line %d of %s: %s", l.lines, l.path, what))
	}
}

// proveEvery is how often the journal's directory is written to at least: so long a disk
// that became read-only or full goes unnoticed while there is nothing to record.
const proveEvery = time.Minute

// flush appends what is pending, and syncs it.
func (l *Ledger) flush(now time.Time) error {
	var err error
	switch {
	case len(l.unwritten()) > 0 || l.lost:
		err = l.append(now)
	case l.guest || time.Since(l.proved) < proveEvery:
		return nil
	default:
		err = l.prove()
	}
	if err != nil {
		l.proved = time.Time{} // try again, and soon
		return fmt.Errorf("ledger: %w", err)
	}
	l.proved = time.Now()
	return nil
}

// prove finds out whether the journal's directory can be written to.
func (l *Ledger) prove() error {
	path := filepath.Join(l.Dir(), ".writable")
	err := writeSynced(path, make([]byte, 4096))
	return errors.Join(err, os.Remove(path))
}

// unwritten is what is pending now.
func (l *Ledger) unwritten() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clip(l.pending)
}

// written notes that the first n of what is pending are on disk.
func (l *Ledger) written(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending = l.pending[n:]; len(l.pending) == 0 {
		l.pending = nil
	}
}

func (l *Ledger) append(now time.Time) error {
	if err := os.MkdirAll(l.Dir(), 0o750); err != nil {
		return err
	}
	f, err := l.lock()
	if err != nil {
		return err
	}
	defer f.Close() // unlocks
	if err := l.readFrom(f); err != nil {
		return err
	}
	if l.lost {
		return l.renew(now)
	}
	var b bytes.Buffer
	// What a crash left behind has no end of line; it must not swallow ours. A
	// write that failed half-way is cut off, so that trying again writes no twin.
	if fi, err := f.Stat(); err != nil {
		return err
	} else if fi.Size() > l.offset {
		if err := f.Truncate(l.offset); err != nil {
			return err
		}
	}
	pending := l.unwritten()
	for _, ev := range pending {
		if err := encode(&b, ev); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(b.Bytes(), l.offset); err != nil {
		return errors.Join(err, f.Truncate(l.offset))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if l.offset == 0 {
		if err := syncDir(l.Dir()); err != nil {
			return err
		}
	}
	l.offset += int64(b.Len())
	l.lines += len(pending)
	l.written(len(pending))
	if !l.guest && l.lines > 2*l.alive()+spare {
		return l.renew(now)
	}
	return nil
}

// lock opens the journal and takes it for this process alone. It is held for a
// few writes only. A journal that was begun anew meanwhile is opened again.
func (l *Ledger) lock() (*os.File, error) {
	for {
		f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			f.Close()
			return nil, err
		}
		held, err1 := f.Stat()
		now, err2 := os.Stat(l.path)
		if err1 == nil && err2 == nil && os.SameFile(held, now) {
			return f, nil
		}
		f.Close()
		if err1 != nil {
			return nil, err1
		}
	}
}

// patience is how long the lock is waited for. Who has it holds it for milliseconds,
// unless he is stopped or means harm; policies must not wait for that.
const patience = time.Second

func flock(f *os.File) error {
	deadline := time.Now().Add(patience)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("another process has had %q locked for %s", f.Name(), patience)
		default:
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// renew begins the journal anew with what is published or still held, and keeps
// the old one beside it for the record. The caller holds the lock on the old one.
func (l *Ledger) renew(now time.Time) error {
	var b bytes.Buffer
	lines, pending, err := l.extract(&b, now)
	if err != nil {
		return err
	}
	tmp := l.path + ".new"
	if err := writeSynced(tmp, b.Bytes()); err != nil {
		return err
	}
	if old, err := os.Stat(l.path); err == nil {
		if owner, ok := old.Sys().(*syscall.Stat_t); ok {
			_ = os.Chown(tmp, int(owner.Uid), int(owner.Gid)) // as root only, and only then it matters
		}
	}
	// The old one is for the record only: a file system without links does without.
	_ = os.Link(l.path, filepath.Join(l.Dir(), "journal-until-"+now.UTC().Format("20060102T150405.000Z")))
	if err := os.Rename(tmp, l.path); err != nil {
		return err
	}
	fi, err := os.Stat(l.path)
	if err != nil {
		return err
	}
	l.file, l.offset, l.lines, l.lost = fi, int64(b.Len()), lines, false
	l.written(pending)
	return syncDir(l.Dir())
}

// extract writes down what is published or still held, with what is pending, in lines.
func (l *Ledger) extract(to *bytes.Buffer, now time.Time) (lines, pending int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	write := func(ev event) error { lines++; return encode(to, ev) }
	for domain := range l.entries {
		l.holdLost(domain, now) // nobody sees in the new journal that a line was lost
	}
	for domain, until := range l.held {
		if !until.After(now) && l.entries[domain] == nil {
			delete(l.held, domain)
		} else if err := write(event{Time: until, Op: opHeld, Domain: domain}); err != nil {
			return 0, 0, err
		}
	}
	for domain := range l.past {
		for _, v := range l.remembered(domain, now) {
			if err := write(event{Time: v.From, Until: v.Until, Op: opWas, Domain: domain, ID: v.ID, Body: string(v.Body)}); err != nil {
				return 0, 0, err
			}
		}
	}
	for domain, r := range l.entries {
		e := l.entry(domain, r)
		if err := write(event{Time: e.From, Op: opPublish, Domain: domain, ID: e.ID, Source: e.Source, Body: string(e.Body)}); err != nil {
			return 0, 0, err
		}
	}
	for domain, a := range l.announced {
		if err := write(event{Time: a.of(domain).At, Op: opAnnounce, Domain: domain, ID: a.id, RUA: a.rua, By: a.by}); err != nil {
			return 0, 0, err
		}
	}
	return lines, len(l.pending), nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// alive is how many lines a journal that is begun anew has, about.
func (l *Ledger) alive() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.entries) + len(l.announced) + len(l.held)
	for _, versions := range l.past {
		n += len(versions)
	}
	return n
}
