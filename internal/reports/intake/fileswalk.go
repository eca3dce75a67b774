package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxDirDepth is how deep directories are looked into. Mail archives by year, month and
// day have four levels.
const maxDirDepth = 32

// place is something to read.
type place struct {
	path string
	size int64 // in bytes; -1 where it has no known end
	open func() (io.ReadCloser, error)
}

// measure finds out how much there is to read.
func (f *Files) measure(ctx context.Context) {
	for p, err := range f.places(ctx) {
		if err == nil && p.size < 0 {
			f.endless.Store(true)
		} else if err == nil {
			f.total.Add(p.size)
		}
	}
	f.skipped.Store(0) // they are met a second time
}

// places yields all there is to read: with an error, what cannot be.
func (f *Files) places(ctx context.Context) iter.Seq2[place, error] {
	return func(yield func(place, error) bool) {
		for _, path := range f.o.Paths {
			if ctx.Err() != nil || !f.placesAt(ctx, path, yield) {
				return
			}
		}
	}
}

// placesAt is what there is at one path that was given. That one may be a link, or a pipe.
func (f *Files) placesAt(ctx context.Context, path string, yield func(place, error) bool) bool {
	if path == "-" {
		return yield(place{path: "standard input", size: -1, open: func() (io.ReadCloser, error) { return io.NopCloser(f.o.Stdin), nil }}, nil)
	}
	info, err := os.Stat(path)
	if err != nil {
		return yield(place{path: path}, withoutPath(err))
	}
	if info.IsDir() {
		return f.placesBelow(ctx, path, yield)
	}
	p := place{path: path, size: -1, open: func() (io.ReadCloser, error) { return os.OpenFile(path, opened, 0) }}
	if info.Mode().IsRegular() {
		p.size = info.Size()
	}
	return yield(p, nil)
}

// opened is how files are opened. A pipe that nobody writes to is empty, and waits for
// nobody.
const opened = os.O_RDONLY | syscall.O_NONBLOCK

// placesBelow is what there is in a directory. Its names are somebody's: what is opened
// lies in it, even if a link is put there meanwhile. All the names of a directory are held
// at once, to sort them: some 100 bytes each.
func (f *Files) placesBelow(ctx context.Context, dir string, yield func(place, error) bool) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return yield(place{path: dir}, withoutPath(err))
	}
	defer root.Close()
	w := &filesWalk{Files: f, ctx: ctx, root: root, dir: dir, yield: yield}
	return fs.WalkDir(root.FS(), ".", w.step) == nil
}

// filesWalk is the walk through one directory.
type filesWalk struct {
	*Files
	ctx   context.Context
	root  *os.Root
	dir   string
	yield func(place, error) bool
}

// errEnough ends a walk: the caller wants no more.
var errEnough = errors.New("enough")

// step takes one name of the walk.
func (w *filesWalk) step(name string, d fs.DirEntry, err error) error {
	switch {
	case w.ctx.Err() != nil:
		return errEnough
	case err != nil:
		return w.failed(name, withoutPath(err), nil)
	case name == ".":
		return nil
	case !d.IsDir() && !d.Type().IsRegular(), strings.HasPrefix(d.Name(), "."), w.besideMails(name):
		return w.skip(d)
	case !d.IsDir():
		return w.found(name, d)
	case strings.Count(name, "/") >= maxDirDepth:
		return w.failed(name, fmt.Errorf("it lies more than %d directories deep", maxDirDepth), fs.SkipDir)
	}
	return nil
}

func (w *filesWalk) skip(d fs.DirEntry) error {
	w.skipped.Add(1)
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// failed hands on why name cannot be read, and says what is next.
func (w *filesWalk) failed(name string, why, next error) error {
	if !w.yield(place{path: filepath.Join(w.dir, name)}, why) {
		return errEnough
	}
	return next
}

func (w *filesWalk) found(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return w.failed(name, withoutPath(err), nil)
	}
	open := func() (io.ReadCloser, error) {
		file, err := w.root.OpenFile(name, opened, 0)
		if err != nil {
			return nil, err
		}
		if now, err := file.Stat(); err != nil || !now.Mode().IsRegular() {
			file.Close()
			return nil, errors.New("it is no file any more")
		}
		return file, nil
	}
	if !w.yield(place{path: filepath.Join(w.dir, name), size: info.Size(), open: open}, nil) {
		return errEnough
	}
	return nil
}

// besideMails reports whether name is of a Maildir, and neither one of its mails nor their
// directory: tmp has what is still being written, and other files are their server's.
func (w *filesWalk) besideMails(name string) bool {
	if base := filepath.Base(name); base == "cur" || base == "new" {
		return false
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		info, err := w.root.Lstat(filepath.Join(filepath.Dir(name), sub))
		if err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// withoutPath is err without the path, which is said already.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return fmt.Errorf("%s: %w", pathErr.Op, pathErr.Err)
	}
	return err
}
