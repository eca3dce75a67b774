package alert

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// maxFailing bounds what is remembered of targets that fail: owners may be many.
	maxFailing = 100

	// maxTold is how many of them are told.
	maxTold = 3
)

// health remembers what fails, and since when.
type health struct {
	mu      sync.Mutex
	failing map[string]failure // by what it is
}

type failure struct {
	since time.Time
	err   error
}

// note remembers how something went, and reports whether that is news.
func (h *health) note(what string, err error, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, failed := h.failing[what]
	switch {
	case err == nil:
		delete(h.failing, what)
		return failed
	case !failed && len(h.failing) == maxFailing:
		return false
	case h.failing == nil:
		h.failing = map[string]failure{}
	}
	if !failed {
		was.since = now
	}
	h.failing[what] = failure{was.since, err}
	return !failed
}

// lines says what fails, each with its own beginning.
func (h *health) lines(beginning string) (lines []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, what := range slices.Sorted(maps.Keys(h.failing)) {
		if i == maxTold {
			return append(lines, fmt.Sprintf("%s: %d more", beginning, len(h.failing)-maxTold))
		}
		f := h.failing[what]
		lines = append(lines, fmt.Sprintf("%s since %s: %v", beginning, f.since.UTC().Format(time.RFC3339), f.err))
	}
	return lines
}
