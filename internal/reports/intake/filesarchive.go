package intake

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"mtasts-server/tlsrpt"
)

// maxArchives is how many layers are taken off: gzip, and an archive in it.
const maxArchives = 2

var (
	errUnpacked = errors.New("it unpacks to more than is taken at once: unpack it first")
	errMembers  = fmt.Errorf("it has more than %d members: unpack it first", maxMembers)
)

// gzip reads what is not one packed report but a packed mbox file, mail or archive.
func (x *filesRun) gzip(r io.Reader, source string) bool {
	unpacked, err := gzip.NewReader(r)
	if err != nil {
		return x.fail(source, err)
	}
	return x.look(x.unpacking(unpacked), source, 1)
}

// tar reads the members of a tar archive.
func (x *filesRun) tar(r io.Reader, source string) bool {
	members := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := members.Next()
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return x.fail(source, err)
		case n == maxMembers:
			return x.fail(source, errMembers)
		case h.Typeflag != tar.TypeReg || strings.HasPrefix(baseName(h.Name), "."):
			x.skipped.Add(1)
		case !x.look(x.unpacking(members), member(source, h.Name), maxArchives):
			return false
		}
	}
}

// zip reads a zip file, which is a packed report, or has several. It is held in memory,
// since standard input has to do, too.
func (x *filesRun) zip(r io.Reader, source string) bool {
	data, err := io.ReadAll(io.LimitReader(r, tlsrpt.MaxPackedSize+1))
	if err != nil {
		return x.fail(source, withoutPath(err))
	}
	if len(data) > tlsrpt.MaxPackedSize {
		return x.fail(source, tooBig(tlsrpt.MaxPackedSize))
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil || len(z.File) == 1 {
		return x.give(source, data, false) // whoever reads the report says what is wrong
	}
	if len(z.File) > maxMembers {
		return x.fail(source, errMembers)
	}
	for _, f := range z.File {
		if x.left <= 0 {
			return x.fail(source, errUnpacked)
		}
		if !x.zipMember(f, source) {
			return false
		}
	}
	return true
}

func (x *filesRun) zipMember(f *zip.File, source string) bool {
	if !f.FileInfo().Mode().IsRegular() || strings.HasPrefix(baseName(f.Name), ".") || strings.HasPrefix(f.Name, "__MACOSX/") {
		x.skipped.Add(1)
		return true
	}
	r, err := f.Open()
	if err != nil {
		return x.fail(member(source, f.Name), err)
	}
	defer r.Close()
	return x.look(x.unpacking(r), member(source, f.Name), maxArchives)
}

// baseName is the last part of a member's name.
func baseName(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// member names a part of a file.
func member(source, name string) string { return source + " (" + name + ")" }

// unpacking reads what is unpacked, within what is left for the file at hand.
func (x *filesRun) unpacking(r io.Reader) *bufio.Reader {
	return bufio.NewReaderSize(&unpackingReader{r: r, x: x}, peeked) // there may be many
}

type unpackingReader struct {
	r io.Reader
	x *filesRun
}

func (u *unpackingReader) Read(p []byte) (int, error) {
	if u.x.left <= 0 {
		return 0, errUnpacked
	}
	if err := u.x.ctx.Err(); err != nil { // what is packed well is read without reading
		return 0, err
	}
	n, err := u.r.Read(p[:min(int64(len(p)), u.x.left)])
	u.x.left -= int64(n)
	return n, err
}
