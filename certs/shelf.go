package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxBundle bounds what is read for one host: key and chain take 3 to 8 KiB.
	maxBundle = 256 << 10

	// expiredGrace is how long the certificate of a host that left stays on the
	// shelf after it expired: long enough to undo a mistake in the configuration.
	expiredGrace = 30 * 24 * time.Hour

	// tempGrace is when a temporary file is taken for one left behind by a
	// killed process. Writing one takes milliseconds.
	tempGrace = time.Hour

	tempPrefix  = ".new-"
	shelfSuffix = ".pem"
)

// shelf keeps one file per host, with key and chain together, so that a file
// replaced at once by a rename is all there is to a certificate: whatever moment
// a process is killed in, the file holds the old pair or the new one. The engines
// have their own storage beside it, which does not have this property:
// certmagic writes three files one after the other, and deletes some of them
// again when a later one fails (its storeTx).
type shelf struct {
	dir     string
	shared  *interner
	unsaved unsaved
}

func newShelf(dir string) (*shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory of certificates: %w", err)
	}
	return &shelf{dir: dir, shared: newInterner()}, nil
}

// path is host's file. A host is made of letters, digits, hyphens and dots and
// does not begin with a dot (validHost), so it is safe as a file name.
func (s *shelf) path(host string) string { return filepath.Join(s.dir, host+shelfSuffix) }

// get reads host's certificate. The error is fs.ErrNotExist where there is none,
// errUnusable where the file is broken; any other is the disk's.
func (s *shelf) get(host string) (*certificate, error) {
	data, err := readFile(s.path(host), maxBundle)
	if errors.Is(err, errTooBig) {
		err = fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of %q: %w", host, err)
	}
	return parseBundle(host, data, s.shared)
}

// put checks key and chain, writes them and returns what a get would. When only
// the writing fails, the certificate is returned beside the error: it is good, and is
// kept until it can be written.
func (s *shelf) put(host, issuer string, keyPEM, chainPEM []byte) (*certificate, error) {
	data := bundle(issuer, keyPEM, chainPEM)
	c, err := parseBundle(host, data, s.shared)
	if err != nil {
		return nil, err
	}
	s.unsaved.drop(s.path(host))
	if err := writeFile(s.path(host), data, 0o600); err != nil {
		s.unsaved.add(s.path(host), data)
		return c, fmt.Errorf("storing the certificate of %q: %w", host, err)
	}
	return c, nil
}

// sweep deletes what hosts that left have on the shelf, a while after it
// expired, and temporary files of killed processes. It returns how many
// certificates it deleted.
func (s *shelf) sweep(ctx context.Context, ours func(host string) bool, now time.Time) (int, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, fmt.Errorf("sweeping the certificates: %w", err)
	}
	deleted := 0
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		path := filepath.Join(s.dir, e.Name())
		host, isBundle := strings.CutSuffix(e.Name(), shelfSuffix)
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > tempGrace {
				os.Remove(path)
			}
		case isBundle && !ours(host) && outlived(path, now):
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("sweeping the certificates: %w", err))
				continue
			}
			deleted++
		}
	}
	return deleted, errors.Join(errs...)
}

// outlived reports whether the first certificate in the file at path expired
// more than a grace ago. A file without one counts by its age.
func outlived(path string, now time.Time) bool {
	data, err := readFile(path, maxBundle)
	if err != nil {
		return false
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			return now.Sub(leaf.NotAfter) > expiredGrace
		}
	}
	info, err := os.Stat(path)
	return err == nil && now.Sub(info.ModTime()) > expiredGrace
}

// errTooBig is for a file that cannot be what it is called.
var errTooBig = errors.New("file is too big")

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if info, err := f.Stat(); err == nil && info.Size() <= limit {
		b.Grow(int(info.Size()) + bytes.MinRead) // or it would grow as it is read
	}
	if n, err := io.Copy(&b, io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, errTooBig, limit)
	}
	return b.Bytes(), nil
}

// writeFile replaces the file at path in one step that survives a crash: what
// was there stays until all of the new bytes are on the disk.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in dir last through a power cut. File systems that
// cannot do it for a directory say so by an error that means no harm.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}
