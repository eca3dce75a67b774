package config

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long no event must come before a change is looked at: editors
	// and copy programs cause several events for one change.
	quiet = 300 * time.Millisecond

	// patience is the longest that events may put off looking: an edit in the midst
	// of a storm of others is to be live within a second too.
	patience = 600 * time.Millisecond

	// maxWatchedFiles bounds the watches on single files, which only bind-mounted
	// files need; the system's limit on watches is shared with all other programs.
	maxWatchedFiles = 256

	// maxWatchedDirs bounds the watches on directories for the same reason.
	maxWatchedDirs = 4096
)

// Watcher says when files may have changed. It watches directories, since a watch
// on a file is lost when an editor or Kubernetes replaces the file; it watches a
// bounded number of files as well, since a file that is mounted alone shows its
// changes nowhere else; and it says so anyway every now and then, since network
// file systems show nothing at all. Whether anything did change is for the one who
// is told to find out.
type Watcher struct {
	fs   *fsnotify.Watcher // nil where the system has no events to give
	poll time.Duration
	log  *slog.Logger
	kick chan struct{}
}

// NewWatcher returns a Watcher that also calls every poll, whatever happens.
// Without events from the system it works by polling alone, and says so in the log.
func NewWatcher(poll time.Duration, log *slog.Logger) *Watcher {
	w := &Watcher{poll: poll, log: log, kick: make(chan struct{}, 1)}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("no file events, changes are found by polling", "every", poll, "err", err)
	}
	return w
}

// Watch replaces what is watched: directories, and files, of which those that can
// be watched are. Call it again after each change, since a file or directory that
// was replaced needs a new watch.
func (w *Watcher) Watch(dirs, files []string) {
	if w.fs == nil {
		return
	}
	files = files[:min(len(files), maxWatchedFiles)]
	dirs = dirs[:min(len(dirs), maxWatchedDirs)]
	want := make(map[string]bool, len(dirs)+len(files))
	for _, path := range slices.Concat(dirs, files) {
		want[path] = true
	}
	for _, path := range w.fs.WatchList() {
		if !want[path] {
			_ = w.fs.Remove(path) // a watch that is lost already is as good as removed
		}
	}
	for path := range want {
		if err := w.fs.Add(path); err != nil {
			w.log.Debug("watching failed, polling goes on", "file", path, "err", err)
		}
	}
}

// Soon makes Run call once more after the time d.
func (w *Watcher) Soon(d time.Duration) {
	time.AfterFunc(d, func() {
		select {
		case w.kick <- struct{}{}:
		default: // it is called anyway
		}
	})
}

// Run calls look after each burst of events and every poll until ctx is done.
func (w *Watcher) Run(ctx context.Context, look func()) {
	var events chan fsnotify.Event
	var errs chan error
	if w.fs != nil {
		events, errs = w.fs.Events, w.fs.Errors
		defer w.fs.Close()
	}
	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	var first time.Time // of the burst
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if settled == nil {
				first = time.Now()
			}
			settled = time.After(min(quiet, max(0, patience-time.Since(first))))
			continue
		case err := <-errs:
			// Most often events were lost because too many came at once.
			w.log.Debug("file events", "err", err)
		case <-w.kick:
		case <-ticker.C:
			if settled != nil {
				continue // what is there to see is looked at when it is quiet
			}
		case <-settled:
		}
		settled = nil
		look()
	}
}

// WatchPaths returns what a Watcher should watch for the files of a Snapshot:
// the directories that hold them, also behind symbolic links, and the files.
func (s *Snapshot) WatchPaths() (dirs, files []string) {
	files = []string{s.Settings.File}
	dirs = []string{filepath.Dir(s.Settings.File)}
	for _, pattern := range s.Settings.Policies {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // refused when the main file was read
		}
		files = append(files, found...)
		dirs = append(dirs, patternDirs(pattern)...)
	}
	for _, f := range files[:min(len(files), maxWatchedFiles)] {
		if target, err := filepath.EvalSymlinks(f); err == nil && target != f {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), files
}

// patternDirs returns the directories in which files that match may come up. Of a
// directory that does not exist yet, the nearest one above it.
func patternDirs(pattern string) []string {
	dir := filepath.Dir(pattern)
	if strings.ContainsAny(dir, `*?[\`) {
		found, err := filepath.Glob(dir)
		if err != nil {
			return nil
		}
		return append(found, patternDirs(dir)...)
	}
	for {
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() || dir == filepath.Dir(dir) {
			return []string{dir}
		}
		dir = filepath.Dir(dir)
	}
}

// String names what the watcher relies on, for people.
func (w *Watcher) String() string {
	if w.fs == nil {
		return fmt.Sprintf("polling every %s", w.poll)
	}
	return fmt.Sprintf("file events, polling every %s", w.poll)
}
