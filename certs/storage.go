package certs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/certmagic"
)

// staleLock is the age at which a lock file counts as left behind by a killed
// process. certmagic refreshes the ones it holds every 5 s, and itself waits for
// two such intervals.
const staleLock = 10 * time.Second

// storage is certmagic's file storage with locks that cannot get stuck. In
// v0.25.6 a lock file that was torn by a power cut is an error for ever
// ("decoding lockfile contents"), and a stale one is reported past our log.
//
// Store itself is sound: it writes a temporary file, syncs it and renames it.
type storage struct {
	certmagic.FileStorage
	log *slog.Logger
}

func (s *storage) Lock(ctx context.Context, name string) error {
	s.removeStale(name)
	for {
		err := s.FileStorage.Lock(ctx, name)
		if err == nil || ctx.Err() != nil || !s.torn(name) {
			return err
		}
		select { // it may be torn because it is being written
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		s.removeStale(name)
	}
}

func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	s.removeStale(name)
	return s.FileStorage.TryLock(ctx, name)
}

func (s *storage) lockFile(name string) string {
	return filepath.Join(s.Path, "locks", certmagic.StorageKeys.Safe(name)+".lock")
}

// torn reports whether there is a lock file of name, and it is not what certmagic
// writes.
func (s *storage) torn(name string) bool {
	_, err := lockTime(s.lockFile(name))
	var path *fs.PathError
	return err != nil && !errors.As(err, &path)
}

// removeStale removes the lock of a process that is gone.
func (s *storage) removeStale(name string) {
	path := s.lockFile(name)
	at, err := lockTime(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil { // torn: the file system still knows when
		info, err := os.Stat(path)
		if err != nil {
			return
		}
		at = info.ModTime()
	}
	if age := time.Since(at); age > staleLock || age < -staleLock {
		s.log.Info("removing a lock left behind", "lock", name, "age", age.Round(time.Second).String())
		os.Remove(path)
	}
}

// lockTime returns when the lock file at path was last refreshed.
func lockTime(path string) (time.Time, error) {
	data, err := readFile(path, 4<<10)
	if err != nil {
		return time.Time{}, err
	}
	var meta struct{ Created, Updated time.Time }
	if err := json.Unmarshal(data, &meta); err != nil {
		return time.Time{}, fmt.Errorf("reading lock file %q: %w", path, err)
	}
	if meta.Updated.IsZero() {
		return meta.Created, nil
	}
	return meta.Updated, nil
}

// sweep deletes what certmagic keeps of hosts that left, a while after it expired,
// and returns of how many. It leaves alone what it does not know.
func (s *storage) sweep(ctx context.Context, ours func(host string) bool, now time.Time) (int, error) {
	sites, err := fs.Glob(os.DirFS(s.Path), "certificates/*/*")
	if err != nil {
		return 0, fmt.Errorf("sweeping certmagic's storage: %w", err)
	}
	deleted := 0
	var errs []error
	for _, site := range sites {
		if ctx.Err() != nil {
			break
		}
		site = filepath.Join(s.Path, filepath.FromSlash(site))
		host := filepath.Base(site)
		if !validHost(host) || ours(host) || !outlived(filepath.Join(site, host+".crt"), now) {
			continue
		}
		if err := os.RemoveAll(site); err != nil {
			errs = append(errs, fmt.Errorf("sweeping certmagic's storage: %w", err))
			continue
		}
		deleted++
	}
	return deleted, errors.Join(errs...)
}
