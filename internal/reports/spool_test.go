package reports_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mtasts-server/internal/reports"
)

func openSpool(t testing.TB, dir string, limit int64) *reports.Spool {
	t.Helper()
	s, err := reports.OpenSpool(dir, limit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t testing.TB, s *reports.Spool, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := s.Add(t.Context(), arrival([]byte(text))); err != nil {
			t.Fatal(err)
		}
	}
}

// drain reads all that is there, without waiting for more.
func drain(t *testing.T, s *reports.Spool) (texts []string) {
	t.Helper()
	for {
		ctx, cancel := context.WithCancel(t.Context())
		if s.Bytes() == 0 {
			cancel() // Next would wait
		}
		b, err := s.Next(ctx, 3, 1<<20)
		cancel()
		if errors.Is(err, context.Canceled) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range b.Arrivals {
			texts = append(texts, string(a.Data))
		}
		s.Stored(b)
	}
}

// crash is the end of who has the spool in dir: nobody has its files any more.
func crash(t *testing.T, dir string) {
	t.Helper()
	for _, file := range spoolFiles(t, dir, ".spool") {
		data, err := os.ReadFile(file)
		if err := errors.Join(err, os.Remove(file), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func spoolFiles(t *testing.T, dir, suffix string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSpool(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	s := openSpool(t, dir, 1<<20)
	a := arrival([]byte("one\x00\n{\xff"))
	a.Mail, a.MediaType, a.Token, a.Submitter, a.Unauthenticated = true, "x/y", "abc", "", reports.NotSigned
	if err := s.Add(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	b, err := s.Next(t.Context(), 10, 1<<20)
	if err != nil || len(b.Arrivals) != 1 {
		t.Fatal(b, err)
	}
	if got := b.Arrivals[0]; !bytes.Equal(got.Data, a.Data) || got.Token != "abc" || !got.Mail || got.Unauthenticated != reports.NotSigned || !got.Received.Equal(a.Received) {
		t.Errorf("%+v", got)
	}
	s.Again(b)
	add(t, s, "two", "three")
	if got := drain(t, s); strings.Join(got, " ") != "one\x00\n{\xff two three" {
		t.Errorf("%q", got)
	}
	if files := spoolFiles(t, dir, ""); len(files) != 0 || s.Bytes() != 0 {
		t.Errorf("left: %v, %d bytes", files, s.Bytes())
	}
}

// What was added and not stored is there after a crash, whatever stands behind it.
func TestSpoolAfterCrash(t *testing.T) {
	for name, tail := range map[string]string{
		"clean": "", "one byte": "\x00", "a head": "\x00\x00\x00\x09\x12\x34\x56\x78", "half a record": "\x00\x00\x00\x09\x12\x34\x56\x78{}\nab",
		"zeros": string(make([]byte, 100)), "rubbish": strings.Repeat("\xff", 50),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			add(t, openSpool(t, dir, 1<<20), "one", "two")
			files := spoolFiles(t, dir, ".spool")
			if len(files) != 1 {
				t.Fatal(files)
			}
			f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(tail)
			f.Close()
			crash(t, dir)
			s := openSpool(t, dir, 1<<20)
			add(t, s, "three")
			if got := drain(t, s); strings.Join(got, " ") != "one two three" {
				t.Errorf("%q", got)
			}
			if files := spoolFiles(t, dir, ".spool"); len(files) != 0 || s.Bytes() != 0 {
				t.Errorf("left: %v, %d bytes", files, s.Bytes())
			}
			if kept := len(spoolFiles(t, dir, ".damaged")); (kept > 0) != (name == "zeros" || name == "rubbish") {
				t.Errorf("%d damaged files are kept", kept)
			}
		})
	}
}

// A bit that flipped costs the one record that it is in, and that is kept for people.
func TestSpoolBitRot(t *testing.T) {
	dir := t.TempDir()
	add(t, openSpool(t, dir, 1<<20), "one", "two", "three")
	file := spoolFiles(t, dir, ".spool")[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("two"))] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	crash(t, dir)
	if got := drain(t, openSpool(t, dir, 1<<20)); strings.Join(got, " ") != "one three" {
		t.Errorf("%q", got)
	}
	kept, err := os.ReadFile(file + ".damaged")
	if err != nil || !bytes.Contains(kept, []byte("uwo")) {
		t.Errorf("kept %q, %v", kept, err)
	}
}

// A power cut may leave a file longer than what came to disk of it: many zeros are told of
// once, and not by each few of them.
func TestSpoolZeros(t *testing.T) {
	dir := t.TempDir()
	add(t, openSpool(t, dir, 1<<20), "one")
	file := spoolFiles(t, dir, ".spool")[0]
	if fi, err := os.Stat(file); err != nil || os.Truncate(file, fi.Size()+1<<16) != nil {
		t.Fatal(err)
	}
	crash(t, dir)
	var log bytes.Buffer
	s, err := reports.OpenSpool(dir, 1<<20, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s); strings.Join(got, " ") != "one" {
		t.Errorf("%q", got)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

// What can neither be read nor copied stays where it is: it was promised to its sender.
func TestSpoolDamagedAndDiskFull(t *testing.T) {
	dir := t.TempDir()
	add(t, openSpool(t, dir, 1<<20), "one", "two")
	file := spoolFiles(t, dir, ".spool")[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("two"))] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere", "x"), file+".damaged"); err != nil { // it cannot be opened
		t.Fatal(err)
	}
	crash(t, dir)
	if got := drain(t, openSpool(t, dir, 1<<20)); strings.Join(got, " ") != "one" {
		t.Errorf("%q", got)
	}
	if kept, err := os.ReadFile(file + ".damaged"); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("kept %q, %v", kept, err)
	}
}

func TestSpoolFull(t *testing.T) {
	s := openSpool(t, t.TempDir(), 3000)
	big := strings.Repeat("x", 1000)
	add(t, s, big, big)
	if err := s.Add(t.Context(), arrival([]byte(big))); !errors.Is(err, reports.ErrFull) {
		t.Errorf("error %v", err)
	}
	if got := drain(t, s); len(got) != 2 {
		t.Errorf("%d are there", len(got))
	}
	add(t, s, big) // there is room again
}

// Many at a time: each that was added is read once, in files of bounded size.
func TestSpoolParallel(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	s := openSpool(t, dir, 1<<30)
	var wg sync.WaitGroup
	want := map[string]bool{}
	for w := range 16 {
		for i := range 20 {
			want[fmt.Sprintf("%d-%d", w, i)] = true
		}
		wg.Go(func() {
			for i := range 20 {
				text := fmt.Sprintf("%d-%d ", w, i) + strings.Repeat("x", rand.IntN(300_000))
				if err := s.Add(context.Background(), arrival([]byte(text))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(want) > 0 {
			b, err := s.Next(ctx, 7, 1<<20)
			if err != nil {
				return
			}
			if rand.IntN(4) == 0 {
				s.Again(b)
				continue
			}
			for _, a := range b.Arrivals {
				name, _, _ := strings.Cut(string(a.Data), " ")
				if !want[name] {
					t.Errorf("%s was read twice, or never written", name)
				}
				delete(want, name)
			}
			s.Stored(b)
		}
	}()
	wg.Wait()
	<-done
	cancel()
	if files := spoolFiles(t, dir, ""); len(want) > 0 || len(files) > 0 || s.Bytes() != 0 {
		t.Errorf("%d not read; left %v, %d bytes", len(want), files, s.Bytes())
	}
}

// A crash may leave a file that nothing was written to yet. It does not stay for ever.
func TestSpoolEmptyFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0000000000000007.spool"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, dir, 1<<20)
	if left := spoolFiles(t, dir, ""); len(left) != 0 {
		t.Errorf("there is %q", left)
	}
	add(t, s, "one")
	if got := drain(t, s); !slices.Equal(got, []string{"one"}) {
		t.Errorf("read %q", got)
	}
}

// What is taken away is not written to any more, nobody is told that it stays, and what was
// promised before is read all the same.
func TestSpoolTakenAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := openSpool(t, dir, 1<<20)
	add(t, s, "one")
	away := dir + ".away"
	if err := errors.Join(os.Rename(dir, away), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(t.Context(), arrival([]byte("two"))); err == nil {
		t.Error("it says that a report stays where there is no directory")
	}
	if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
	add(t, s, "three")
	if got := drain(t, s); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("read %q after it came back", got)
	}

	add(t, s, "four")
	for _, file := range spoolFiles(t, dir, "") {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	add(t, s, "five")
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, openSpool(t, after, 1<<20)); !slices.Equal(got, []string{"five"}) {
		t.Errorf("a crash would leave %q", got)
	}
	add(t, s, "six")
	if got := drain(t, s); !slices.Equal(got, []string{"four", "five", "six"}) {
		t.Errorf("read %q", got)
	}
	if left := spoolFiles(t, dir, ""); len(left) != 0 {
		t.Errorf("there is %q", left)
	}
}

// What was taken away, or written over, is there still for who has it: it was promised.
func TestSpoolTakenAwayIsRead(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1<<20)
	add(t, s, "one")
	file := spoolFiles(t, dir, ".spool")[0]
	if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte("of another"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s); !slices.Equal(got, []string{"one"}) {
		t.Errorf("read %q", got)
	}
	if left := spoolFiles(t, dir, ""); !slices.Equal(left, []string{file}) {
		t.Errorf("there is %q", left)
	}
}

// What the disk has changed of the file that is written to takes nothing along that came
// behind it.
func TestSpoolBitRotOfOpenFile(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 1<<20)
	add(t, s, "one")
	file := spoolFiles(t, dir, ".spool")[0]
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, "two")
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{0xff}, fi.Size()) // the length of the second
	f.Close()
	b, err := s.Next(t.Context(), 9, 1<<20)
	if err != nil || len(b.Arrivals) != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	s.Again(b) // the database is away
	add(t, s, "three")
	if got := drain(t, s); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("read %q", got)
	}
	copies := spoolFiles(t, dir, ".damaged")
	if len(copies) != 1 {
		t.Fatalf("there is %q", copies)
	}
	if kept, err := os.ReadFile(copies[0]); err != nil || bytes.Count(kept, []byte("two")) != 1 {
		t.Errorf("the copy is %q, %v", kept, err)
	}
}

// While one process takes the place of another, both have the directory: each reads what it
// wrote, and what one leaves the other takes.
func TestSpoolOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		old := openSpool(t, dir, 1<<20)
		add(t, old, "one")
		s := openSpool(t, dir, 1<<20)
		if n := s.Bytes(); n != 0 {
			t.Errorf("it has %d bytes of another's", n)
		}
		add(t, s, "two")
		add(t, old, "three")
		if got := drain(t, s); !slices.Equal(got, []string{"two"}) {
			t.Errorf("read %q", got)
		}
		if got := drain(t, old); !slices.Equal(got, []string{"one", "three"}) {
			t.Errorf("the old one read %q", got)
		}
		add(t, old, "four")
		again := openSpool(t, dir, 1<<20)
		crash(t, dir)
		b, err := again.Next(t.Context(), 9, 1<<20)
		if err != nil || len(b.Arrivals) != 1 || string(b.Arrivals[0].Data) != "four" {
			t.Fatalf("left was %+v, %v", b, err)
		}
		again.Stored(b)
		if left := spoolFiles(t, dir, ""); len(left) != 0 {
			t.Errorf("there is %q", left)
		}
	})
}

// Nor does what one leaves wait for a time when nothing comes in.
func TestSpoolOfTwoBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		add(t, openSpool(t, dir, 1<<20), "left")
		s := openSpool(t, dir, 1<<20)
		crash(t, dir)
		var got []string
		for range 60 {
			add(t, s, "new")
			got = append(got, drain(t, s)...)
			time.Sleep(time.Second)
		}
		if !slices.Contains(got, "left") {
			t.Errorf("what was left is not read within a minute: %d others are", len(got))
		}
	})
}

func TestSpoolForeignFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.spool"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := reports.OpenSpool(dir, 1, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "does not belong there") {
		t.Errorf("error %v", err)
	}
}

func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	add(f, openSpool(f, dir, 1<<20), "one", "two")
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	data, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(slices.Concat(data, data[:20]))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000000000000.spool"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openSpool(t, dir, 1<<30)
		add(t, s, "behind")
		if got := drain(t, s); len(got) == 0 || got[len(got)-1] != "behind" {
			t.Errorf("%q", got)
		}
	})
}
