package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	// restartGap is how long after a failure from before a restart a host is
	// tried again at the earliest: a program that is restarted in a loop makes
	// two attempts an hour, as retryWaits allows, and no more.
	restartGap = 30 * time.Minute

	// maxAttemptsFile bounds the file of failed attempts: some 150 bytes and
	// the text of the error for each of 100,000 hosts.
	maxAttemptsFile = 128 << 20
)

// attempt is what is remembered of a host that fails, so that a restart neither
// puts it before those who never failed, nor spends the CA's patience. It may be
// lost, or rolled back: then the host is asked for as if it were new.
type attempt struct {
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"`
	Error    string    `json:"error"`
	Held     int       `json:"held,omitempty"`    // looks by preflight that held an order back
	Finding  string    `json:"finding,omitempty"` // why
	Probe    time.Time `json:"probe,omitzero"`    // when one is let through all the same
}

// readAttempts reads the file of failed attempts. A missing one is empty.
func readAttempts(path string) (map[string]attempt, error) {
	data, err := readFile(path, maxAttemptsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the failed attempts: %w", err)
	}
	var m map[string]attempt
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading the failed attempts in %q: %w", path, err)
	}
	for host, a := range m {
		if a.Failures < 0 || a.Held < 0 || a.Failures+a.Held == 0 || !validHost(host) {
			delete(m, host)
			continue
		}
		a.Error, a.Finding = errorText(errors.New(a.Error)), errorText(errors.New(a.Finding))
		m[host] = a
	}
	return m, nil
}

// writeAttempts replaces the file of failed attempts.
func writeAttempts(path string, m map[string]attempt) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("storing the failed attempts: %w", err)
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return fmt.Errorf("storing the failed attempts: %w", err)
	}
	return nil
}

// remember returns what is to be remembered, and whether that changed since the
// last call.
func (s *scheduler) remember() (map[string]attempt, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.changed {
		return nil, false
	}
	s.changed = false
	m := map[string]attempt{}
	for host, t := range s.tasks {
		if t.failures > 0 || t.held > 0 {
			m[host] = attempt{t.failures, t.lastAttempt.time(), t.lastError, t.held, t.finding, t.probeAt.time()}
		}
	}
	return m, true
}

// unsaved notes that what remember returned got lost.
func (s *scheduler) unsaved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = true
}
