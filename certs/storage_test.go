package certs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

func openStorage(dir string) *storage {
	return &storage{FileStorage: certmagic.FileStorage{Path: dir}, log: slog.New(slog.DiscardHandler)}
}

// lockData is what certmagic writes into a lock file.
func lockData(t *testing.T, updated time.Time) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]time.Time{"created": updated, "updated": updated})
	check(t, err)
	return data
}

// A killed process and a power cut leave lock files behind. None is in the way for
// long.
func TestLockLeftBehind(t *testing.T) {
	now := time.Now()
	data := lockData(t, now.Add(-staleLock-time.Second))
	for _, c := range []struct {
		why  string
		data []byte
		age  time.Duration // of the file
	}{
		{"by a process that was killed", data, 0},
		{"by one that never refreshed it", []byte(`{"created":"2020-01-01T00:00:00Z"}`), 0},
		{"by a process with another clock", lockData(t, now.Add(time.Hour)), 0},
		{"empty", nil, staleLock + time.Second},
		{"torn", data[:len(data)/2], staleLock + time.Second},
		{"torn at its first byte", data[:1], staleLock + time.Second},
		{"zeros, as a power cut leaves them", make([]byte, len(data)), staleLock + time.Second},
		{"not an object", []byte(`[]`), staleLock + time.Second},
		{"not times", []byte(`{"created":1,"updated":"x"}`), staleLock + time.Second},
		{"as big as no lock", []byte(strings.Repeat(" ", 1<<20)), staleLock + time.Second},
		{"from the future, and torn", data[:9], -time.Hour},
		{"torn a moment ago: it may be being written", data[:9], staleLock - time.Second/2},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			s := openStorage(t.TempDir())
			put(t, s.lockFile("issue_cert_x"), c.data)
			age(t, s.lockFile("issue_cert_x"), time.Now(), c.age)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			check(t, s.Lock(ctx, "issue_cert_x"))
			if at, err := lockTime(s.lockFile("issue_cert_x")); err != nil || time.Since(at) > time.Minute {
				t.Errorf("the lock that was obtained: %v, %v", at, err)
			}
			check(t, s.Unlock(ctx, "issue_cert_x"))
		})
	}
}

// The lock of a process that lives is respected.
func TestLockHeld(t *testing.T) {
	s := openStorage(t.TempDir())
	data := lockData(t, time.Now())
	put(t, s.lockFile("x"), data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Lock(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock: %v, want it to wait", err)
	}
	if err := os.WriteFile(s.lockFile("x"), data[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Lock(ctx, "x"); err == nil {
		t.Error("a lock that is being written was taken")
	}
	if !exists(t, s.lockFile("x")) {
		t.Error("the lock was removed")
	}
}

func TestTryLock(t *testing.T) {
	s := openStorage(t.TempDir())
	put(t, s.lockFile("x"), []byte("{"))
	age(t, s.lockFile("x"), time.Now(), time.Minute)
	ok, err := s.TryLock(t.Context(), "x")
	if !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	check(t, s.Unlock(t.Context(), "x"))
}

// A disk that takes no lock file is an error at once, not a lock to wait for.
func TestLockOnABadDisk(t *testing.T) {
	s := openStorage(t.TempDir())
	put(t, filepath.Join(s.Path, "locks"), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Lock(ctx, "x"); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), syscall.ENOTDIR.Error()) {
		t.Errorf("%v; waited in vain: %v", err, ctx.Err() != nil)
	}
}

func TestStorageSweep(t *testing.T) {
	ca, now := NewTestCA(t), born
	// A directory may have a name that means something to a shell.
	s := openStorage(filepath.Join(t.TempDir(), "state [1] *"))
	site := func(issuer, host string, ago time.Duration) string {
		p := ca.Issue(t, TestLeaf{Names: []string{host}, NotBefore: now.Add(-200 * day), NotAfter: now.Add(-ago)})
		dir := filepath.Join(s.Path, "certificates", issuer, host)
		put(t, filepath.Join(dir, host+".crt"), p.Chain)
		put(t, filepath.Join(dir, host+".key"), p.Key)
		put(t, filepath.Join(dir, host+".json"), []byte("{}"))
		return dir
	}
	type entry struct {
		why, path string
		stays     bool
	}
	entries := []entry{
		{"ours, though it expired long ago", site("ca-a", "ours.example.com", 100*day), true},
		{"it left, and may come back", site("ca-a", "valid.example.com", -day), true},
		{"it expired within the grace", site("ca-a", "recent.example.com", expiredGrace-time.Hour), true},
		{"it expired before", site("ca-a", "old.example.com", expiredGrace+time.Hour), false},
		{"at another CA", site("ca-b", "old.example.com", expiredGrace+time.Hour), false},
		{"not a host name", site("ca-a", "wildcard_.example.com", 100*day), true},
	}
	for _, other := range []string{"acme/ca-a/users/a/a.json", "locks/x.lock", "local/ca.pem", "certificates/stray", "certificates/ca-a/empty.example.com/x"} {
		put(t, filepath.Join(s.Path, other), []byte("x"))
		entries = append(entries, entry{"not a certificate", filepath.Join(s.Path, other), true})
	}
	n, err := s.sweep(t.Context(), func(host string) bool { return host == "ours.example.com" }, now)
	if n != 2 || err != nil {
		t.Errorf("deleted %d, %v; want 2", n, err)
	}
	for _, e := range entries {
		if exists(t, e.path) != e.stays {
			t.Errorf("%s: %s stays is %v", e.why, e.path, !e.stays)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := site("ca-a", "late.example.com", 100*day)
	if n, err := s.sweep(ctx, func(string) bool { return false }, now); n != 0 || err != nil || !exists(t, dir) {
		t.Errorf("swept %d after the end, %v", n, err)
	}
	if n, err := openStorage(filepath.Join(t.TempDir(), "none")).sweep(t.Context(), nil, now); n != 0 || err != nil {
		t.Errorf("nothing there: %d, %v", n, err)
	}
}
