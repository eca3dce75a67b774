package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mtasts-server/internal/reports"
)

// maxSource bounds what is kept of a path: it is for people, and its end says most.
const maxSource = 400

// FilesOptions say what a Files reads.
type FilesOptions struct {
	// Paths are files, directories, and "-" for standard input; none means "-".
	Paths []string
	Stdin io.Reader

	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Files reads reports from files: a report, packed or not; a mail; an mbox file, also
// packed by gzip; a zip or tar archive of these; a Maildir; a directory of these, and all
// below it. What something is is seen by how it begins, not by its name. Nothing is
// changed or moved.
type Files struct {
	o        FilesOptions
	unpacked int64 // maxUnpacked, but for tests

	read, total, files, skipped atomic.Int64
	endless                     atomic.Bool // something is read that has no known end
}

// FileError says why something gave no arrival. The rest is read all the same.
type FileError struct {
	Source string // the path, and what of it; bounded, printable
	Err    error  // a *tlsrpt.ErrReport where it was read, and is nothing to keep
}

func (e *FileError) Error() string { return e.Source + ": " + e.Err.Error() }

func (e *FileError) Unwrap() error { return e.Err }

// FilesProgress says how far reading is.
type FilesProgress struct {
	Read  int64 // bytes, as they are on disk
	Total int64 // bytes in all, as there were at the start; 0 where it is not known
	Files int64 // that were begun

	// Skipped are those of a directory that are none of ours by their kind: hidden ones,
	// links, pipes, devices, and the rest of a Maildir.
	Skipped int64
}

// NewFiles returns a Files.
func NewFiles(o FilesOptions) (*Files, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Paths) == 0 {
		o.Paths = []string{"-"}
	}
	for _, path := range o.Paths {
		if path == "-" && o.Stdin == nil {
			return nil, errors.New("reading reports: no standard input was given")
		}
		if path == "" {
			return nil, errors.New("reading reports: a path is empty")
		}
	}
	return &Files{o: o, unpacked: maxUnpacked}, nil
}

// Progress may be asked by another goroutine while Arrivals goes on.
func (f *Files) Progress() FilesProgress {
	p := FilesProgress{Read: f.read.Load(), Total: f.total.Load(), Files: f.files.Load(), Skipped: f.skipped.Load()}
	if f.endless.Load() {
		p.Total = 0
	}
	return p
}

// Arrivals reads everything, in the order of the paths, and of names in directories. It
// yields either an arrival or a *FileError, after which it goes on; where ctx ends it, its
// error is the last. Mails are for the caller to authenticate; until then nobody has sent them.
// It may be called once.
func (f *Files) Arrivals(ctx context.Context) iter.Seq2[*reports.Arrival, error] {
	return func(yield func(*reports.Arrival, error) bool) {
		f.measure(ctx)
		run := &filesRun{Files: f, ctx: ctx, yield: yield}
		for s, err := range f.places(ctx) {
			if err != nil && !run.fail(s.path, err) || err == nil && !run.file(s) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, fmt.Errorf("reading reports: %w", err))
		}
	}
}

// filesRun is one call of Arrivals. Its methods report whether to go on.
type filesRun struct {
	*Files
	ctx   context.Context
	yield func(*reports.Arrival, error) bool
	left  int64 // what may still be unpacked of the file at hand, in bytes
}

// give hands out what was read.
func (x *filesRun) give(source string, data []byte, mail bool) bool {
	a := &reports.Arrival{
		Channel: reports.File, Received: x.o.Now(), Source: printable(source),
		Data: data, Mail: mail, Unauthenticated: reports.NoAuthentication,
	}
	if mail {
		a.Token = tokenOf(data)
	}
	return x.yield(a, nil)
}

// fail says why something was not read. What ctx ended is said once, by Arrivals.
func (x *filesRun) fail(source string, err error) bool {
	if x.ctx.Err() != nil {
		return true
	}
	return x.yield(nil, &FileError{Source: printable(source), Err: err})
}

// printable is a path as it may stand anywhere.
func printable(path string) string {
	if cut := len(path) - maxSource; cut > 0 {
		path = "…" + strings.ToValidUTF8(path[cut:], "")
	}
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}
