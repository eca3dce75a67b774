package certs

import (
	"slices"
	"sync"
)

// unsaved keeps what could not be written until it can be: a restart would have to order
// it again.
type unsaved struct {
	mu    sync.Mutex
	files map[string][]byte // by path
}

func (u *unsaved) add(path string, data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.files == nil {
		u.files = map[string][]byte{}
	}
	u.files[path] = data
}

// drop forgets what is kept of a file: there is something newer. What is being written
// just now is on the disk when it returns.
func (u *unsaved) drop(path string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.files, path)
}

// save writes what is kept, and returns how many files that were. It stops at the first
// error: the disk is not well yet.
func (u *unsaved) save() (n int, err error) {
	for _, path := range u.paths() {
		if err := u.saveOne(path); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (u *unsaved) paths() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	paths := make([]string, 0, len(u.files))
	for path := range u.files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func (u *unsaved) saveOne(path string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	data, ok := u.files[path]
	if !ok {
		return nil
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return err
	}
	delete(u.files, path)
	return nil
}
