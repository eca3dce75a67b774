package ledger_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Storage that does not answer is waited for a while, once. What is published meanwhile
// is known, and is written when storage answers again.
func TestStorageThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("testing", 86400))))
	journal := filepath.Join(dir, "journal")
	must(t, os.Remove(journal))
	must(t, syscall.Mkfifo(journal, 0o600)) // whoever opens it waits for a writer

	const says = "ledger: storage does not answer since "
	if err := l.Refresh(); err == nil || !strings.HasPrefix(err.Error(), says) {
		t.Fatalf("got %v", err)
	}
	began := time.Now()
	for range 10 {
		err := l.Publish(t0.Add(time.Hour), publication("example.com", body("enforce", 86400)))
		if err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Fatalf("got %v", err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ten publications waited for %s: not only the first one", took)
	}
	wantBody(t, l, "example.com", body("enforce", 86400))

	writer, err := os.OpenFile(journal, os.O_WRONLY, 0)
	must(t, err)
	must(t, writer.Close())
	deadline := time.Now().Add(time.Minute)
	for err = l.Flush(t0); err != nil && time.Now().Before(deadline); err = l.Flush(t0) {
		time.Sleep(10 * time.Millisecond)
	}
	must(t, err)
	wantBody(t, open(t, dir), "example.com", body("enforce", 86400))
}

// That nothing can be written is found out also while there is nothing to write.
func TestStorageThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	obstacle := filepath.Join(dir, ".writable")
	must(t, os.MkdirAll(filepath.Join(obstacle, "file"), 0o755))
	for range 2 {
		if err := l.Flush(t0); err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Fatalf("got %v", err)
		}
	}
	must(t, os.RemoveAll(obstacle))
	must(t, l.Flush(t0))
	if _, err := os.Stat(obstacle); err == nil {
		t.Error("something was left behind")
	}
}
