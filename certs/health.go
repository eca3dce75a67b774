package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// proveEvery is how often storage is written to and read, to find out whether it
	// can be; proveSoon is how often after it could not.
	proveEvery = 30 * time.Second
	proveSoon  = 5 * time.Second

	// answerWithin is how long storage may take for that. A disk under heavy load
	// takes a second or two.
	answerWithin = 5 * time.Second

	// holdOrders is when orders that wait for storage are looked at again.
	holdOrders = proveSoon
)

// errNotRead is for storage that gives back other bytes than were written.
var errNotRead = errors.New("what was written is not what is read")

// health tells whether the shelf of certificates can be written and read. It asks
// by doing so: between two renewals, weeks may pass.
type health struct {
	dir string

	mu    sync.Mutex
	began time.Time // of a proof under way; zero: there is none
	bad   error     // nil: all is well, or not known yet
	since time.Time // when it began to be bad
}

// trouble returns since when storage is bad, and why. It waits for nothing.
func (h *health) trouble() (since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.began.IsZero() && time.Since(h.began) > answerWithin {
		return h.began, errStalled
	}
	return h.since, h.bad
}

// errStalled is for storage that does not answer.
var errStalled = errors.New("it does not answer")

// prove finds out, and returns the error that trouble tells from now on.
func (h *health) prove() error {
	h.mu.Lock()
	now := time.Now()
	h.began = now
	h.mu.Unlock()
	err := h.try()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = time.Time{}
	if err != nil && h.bad == nil {
		h.since = now
	}
	h.bad = err
	return err
}

func (h *health) try() error {
	path := filepath.Join(h.dir, "writable")
	data := bytes.Repeat([]byte("written to find out whether it can be\n"), 100) // about what a certificate takes
	if err := writeFile(path, data, 0o600); err != nil {
		return err
	}
	got, err := readFile(path, int64(len(data)))
	if err == nil && !bytes.Equal(got, data) {
		err = errNotRead
	}
	return errors.Join(err, os.Remove(path))
}

// watch proves storage again and again until ctx is done. When it is well again it calls
// mended.
func (h *health) watch(ctx context.Context, log func(error), mended func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	bad := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := proveEvery
		err := h.prove()
		if (err != nil) != bad {
			bad = err != nil
			log(err)
		}
		if err == nil {
			mended()
		} else {
			wait = proveSoon
		}
		timer.Reset(wait)
	}
}

// Trouble says in one line each what keeps certificates from being stored or read. It
// waits for nothing.
func (m *Manager) Trouble() []string {
	var lines []string
	if m.health != nil { // the source files stores nothing
		if since, err := m.health.trouble(); err != nil {
			lines = append(lines, fmt.Sprintf("certificates cannot be stored, and none is ordered, since %s: %s", since.UTC().Format(time.RFC3339), errorText(err)))
		}
	}
	if n := m.slow.Load(); n > 0 {
		lines = append(lines, fmt.Sprintf("certificates cannot be read from storage: it does not answer to %d handshakes", n))
	}
	return lines
}

// storable reports whether what is ordered could be stored.
func (m *Manager) storable() bool {
	if m.health == nil {
		return true
	}
	_, err := m.health.trouble()
	return err == nil
}
