package config_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mtasts-server/config"
)

// watching runs a Watcher on dirs and files until the end of the test and returns
// what receives after each look.
func watching(t *testing.T, poll time.Duration, dirs, files []string) (looks <-chan struct{}, w *config.Watcher, n *atomic.Int64) {
	t.Helper()
	w = config.NewWatcher(poll, slog.New(slog.DiscardHandler))
	w.Watch(dirs, files)
	ctx, cancel := context.WithCancel(context.Background())
	looked := make(chan struct{}, 10_000)
	n = new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		w.Run(ctx, func() { n.Add(1); looked <- struct{}{} })
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return looked, w, n
}

func look(t *testing.T, looks <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-looks:
	case <-time.After(20 * time.Second):
		t.Fatalf("nobody looked after %s", what)
	}
}

func TestWatchEvents(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "a.toml", "1")
	write(t, "elsewhere/b", "1")
	symlink(t, "elsewhere/b", "b.toml")
	symlink(t, "elsewhere", "..data")
	looks, w, _ := watching(t, time.Hour, []string{dir}, []string{filepath.Join(dir, "a.toml")})
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a write in place", func() { write(t, "a.toml", "2") }},
		{"rename and replace, as editors do", func() { write(t, "elsewhere/next", "3"); rename(t, "elsewhere/next", "a.toml") }},
		{"a write in place after that", func() { write(t, "a.toml", "4") }},
		{"a new file", func() { write(t, "c.toml", "1") }},
		{"a removal", func() { remove(t, "c.toml") }},
		{"a link that is swapped, as Kubernetes does", func() { symlink(t, "elsewhere2", "elsewhere/tmp"); rename(t, "elsewhere/tmp", "..data") }},
		{"a call for later", func() { w.Soon(10 * time.Millisecond) }},
	} {
		step.do()
		look(t, looks, step.what)
		w.Watch([]string{dir}, []string{filepath.Join(dir, "a.toml")})
	}
}

// A single file that is mounted over another shows events of its own only.
func TestWatchSingleFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, "a.toml", "1")
	looks, _, _ := watching(t, time.Hour, nil, []string{filepath.Join(dir, "a.toml")})
	write(t, "a.toml", "2")
	look(t, looks, "a write")
}

// A storm of events is a few looks, and none of its edits goes unseen.
func TestWatchStorm(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	looks, _, n := watching(t, time.Hour, []string{dir}, nil)
	for i := range 1000 {
		write(t, fmt.Sprintf("%d.toml", i%100), fmt.Sprint(i))
	}
	look(t, looks, "a storm")
	if got := n.Load(); got > 100 {
		t.Errorf("a thousand events made %d looks", got)
	}
}

// Where there are no events there is the poll.
func TestWatchPoll(t *testing.T) {
	looks, _, _ := watching(t, 5*time.Millisecond, []string{filepath.Join(t.TempDir(), "nowhere")}, nil)
	look(t, looks, "some time")
	look(t, looks, "some more time")
}

func TestWatchPaths(t *testing.T) {
	s := newSite(t)
	write(t, "policies/a.toml", policy("a.example", "mx.example"))
	write(t, "secret/x", "")
	symlink(t, "../secret/b.toml", "policies/b.toml")
	write(t, "secret/b.toml", policy("b.example", "mx.example"))
	dirs, files := s.want("a.example=mx.example", "b.example=mx.example").WatchPaths()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{".", "policies", "secret"} {
		if !contains(dirs, filepath.Join(wd, dir)) {
			t.Errorf("%s is not watched: %q", dir, dirs)
		}
	}
	if len(files) != 3 {
		t.Errorf("files: %q", files)
	}
}

// A poll does not look at files that are just being written: they would be left for
// later, and the edit with them.
func TestPollWaitsForQuiet(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	looks, _, _ := watching(t, 200*time.Millisecond, []string{dir}, nil)
	for range 5 {
		look(t, looks, "a poll")
		began := time.Now()
		write(t, "a.toml", began.String())
		look(t, looks, "a write")
		if took := time.Since(began); took < 250*time.Millisecond {
			t.Errorf("looked %v after the write", took)
		}
	}
}
