package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// stamp tells one content of a file from another without reading it.
type stamp struct {
	file     os.FileInfo // which file it is: one that takes another's place may have its size and time
	size     int64
	modified int64 // nanoseconds
}

// racyWithin is how coarse a file system's clock may be, with room to spare: what
// was written that shortly before it was read is read again, as a later write may
// have left the stamp as it was.
const racyWithin = 2 * time.Second

// content is a file as last read.
type content struct {
	stamp stamp
	racy  bool
	hash  [sha256.Size]byte
}

// same reports whether a file that looks like s need not be read again.
func (c content) same(s stamp) bool {
	return !c.racy && c.stamp.file != nil && os.SameFile(c.stamp.file, s.file) && c.stamp.size == s.size && c.stamp.modified == s.modified
}

func stampOf(path string) (stamp, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if !fi.Mode().IsRegular() { // opening a pipe would wait for its writer
		return stamp{}, errors.New("is no regular file")
	}
	return stamp{file: fi, size: fi.Size(), modified: fi.ModTime().UnixNano()}, nil
}

// readContent reads a regular file of bounded size.
func readContent(path string, now time.Time) (content, []byte, error) {
	s, err := stampOf(path) // before reading: what is written meanwhile is seen next time
	if err != nil {
		return content{}, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return content{}, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = fmt.Errorf("is larger than %d MiB", maxFileSize>>20)
	}
	if err != nil {
		return content{}, nil, err
	}
	age := now.Sub(time.Unix(0, s.modified))
	return content{stamp: s, racy: age < racyWithin && age > -racyWithin, hash: sha256.Sum256(text)}, text, nil
}
