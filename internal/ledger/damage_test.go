package ledger_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
)

// Who puts another journal in the place of ours changes nothing of what is served, and
// ours is written again.
func TestForeignJournal(t *testing.T) {
	for _, foreign := range []string{"", "garbage\n", "older"} {
		dir := t.TempDir()
		l := open(t, dir)
		must(t, l.Publish(t0, publication("example.com", body("testing", 60))))
		file := filepath.Join(dir, "journal")
		text := []byte(foreign)
		if foreign == "older" {
			var err error
			text, err = os.ReadFile(file)
			must(t, err)
		}
		must(t, l.Publish(t0, publication("example.org", body("enforce", 60))))
		must(t, os.WriteFile(file+".x", text, 0o600))
		must(t, os.Rename(file+".x", file))
		must(t, l.Refresh())
		wantBody(t, l, "example.com", body("testing", 60))
		wantBody(t, l, "example.org", body("enforce", 60))
		must(t, l.Flush(t0))
		l = open(t, dir)
		wantBody(t, l, "example.com", body("testing", 60))
		wantBody(t, l, "example.org", body("enforce", 60))
	}
}

// A lock that somebody does not give back costs a second, and is said.
func TestLockThatStays(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("testing", 60))))
	f, err := os.Open(filepath.Join(dir, "journal"))
	must(t, err)
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	if err := l.Publish(t0, publication("example.org", body("testing", 60))); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("published: %v", err)
	}
	wantBody(t, l, "example.org", body("testing", 60))
	must(t, f.Close())
	must(t, l.Flush(t0))
	wantBody(t, open(t, dir), "example.org", body("testing", 60))
}

// A clock that was set back does not make senders forget.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("enforce", 86400))))
	must(t, l.Publish(t0.Add(-1000*24*time.Hour), publication("example.com", body("none", 86400))))
	if at, ok := mustEntry(t, l).WithdrawnAt(); !ok || at.Before(t0.Add(24*time.Hour)) {
		t.Errorf("withdrawn at %v %v", at, ok)
	}
}

// Of who begins with none nobody knows what senders hold.
func TestNoneFromTheBeginning(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("none", 86400))))
	for range 2 {
		if at, ok := mustEntry(t, l).WithdrawnAt(); !ok || at.Before(t0.Add(365*24*time.Hour)) {
			t.Errorf("withdrawn at %v %v", at, ok)
		}
		l = open(t, dir)
	}
}

// A visitor leaves no traces.
func TestVisit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Visit(dir)
	must(t, err)
	if _, err := os.Stat(dir); l.Len() != 0 || !os.IsNotExist(err) {
		t.Errorf("%d entries, %v", l.Len(), err)
	}
}

// A line that is lost may have said that a policy was served which senders hold for a year:
// who withdraws later waits for that.
func TestLostLineIsWaitedForAtTheEnd(t *testing.T) {
	for _, when := range []string{"written before the loss is seen", "written after it"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			must(t, l.Publish(t0, publication("example.com", body("testing", 86400))))
			must(t, l.Publish(t0.Add(time.Hour), publication("example.com", body("enforce", 31557600))))
			withdraw := func() {
				must(t, l.Publish(t0.Add(2*time.Hour), publication("example.com", body("none", 86400))))
			}
			if when == "written before the loss is seen" {
				withdraw()
			}
			file := filepath.Join(dir, "journal")
			text, err := os.ReadFile(file)
			must(t, err)
			lines := strings.SplitAfter(string(text), "\n")
			lines[1] = "x" + lines[1][1:]
			must(t, os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600))
			l = open(t, dir)
			if len(l.Damage()) != 1 {
				t.Fatalf("damage: %v", l.Damage())
			}
			if when == "written after it" {
				withdraw()
			}
			for range 2 {
				if at, ok := mustEntry(t, l).WithdrawnAt(); !ok || at.Before(t0.Add(2*time.Hour+31557600*time.Second)) {
					t.Errorf("withdrawn at %v %v", at, ok)
				}
				l = open(t, dir)
			}
		})
	}
}
