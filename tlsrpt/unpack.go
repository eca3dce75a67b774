package tlsrpt

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
)

const (
	// MaxPackedSize is how much of a packed report is read: "~10 MB" is what receivers are
	// said to take (RFC 8460 §5.2), and JSON shrinks to a tenth.
	MaxPackedSize = 10 << 20

	// maxZipEntries bounds the directory of a zip file, which is to hold one report.
	maxZipEntries = 16
)

// The deviations of packing.
const (
	NoteZip        NoteCode = "zip"             // in place of gzip
	NoteMediaType  NoteCode = "media-type"      // the content is something else than its media type says
	NoteTrailing   NoteCode = "trailing-data"   // behind the packed report; ignored
	NoteManyInside NoteCode = "several-members" // of a gzip file; the first one counts
)

// Unpack returns the JSON of a report that may be packed by gzip (RFC 8460 §5.2), or as a
// zip file, which a few senders use. What it is is seen by its first bytes, since media
// types and file names lie; mediaType, which may be empty, is only compared. One layer
// is taken off; what comes to more than MaxReportSize is an *ErrReport, and costs no
// more than that.
func Unpack(data []byte, mediaType string) (text []byte, notes []Note, err error) {
	if len(data) > MaxPackedSize {
		return nil, nil, &ErrReport{"too-big", fmt.Sprintf("more than %d bytes", MaxPackedSize)}
	}
	note := func(code NoteCode) { notes = append(notes, Note{Code: code}) }
	packed := strings.Contains(mediaType, "gzip") || strings.Contains(mediaType, "zip")
	plain := strings.HasSuffix(mediaType, "json")
	switch {
	case isGzip(data):
		if plain {
			note(NoteMediaType)
		}
		var more NoteCode
		if text, more, err = gunzip(data); more != "" {
			note(more)
		}
	case isZip(data):
		note(NoteZip)
		text, err = unzip(data)
	default:
		if packed {
			note(NoteMediaType)
		}
		text = data
	}
	if err == nil && (isGzip(text) || isZip(text)) {
		err = &ErrReport{"packed-twice", "what was unpacked is packed once more"}
	}
	if err != nil {
		return nil, notes, err
	}
	return text, notes, nil
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

func isZip(data []byte) bool { return bytes.HasPrefix(data, []byte("PK\x03\x04")) }

// gunzip reads the first member of a gzip file (RFC 1952).
func gunzip(data []byte) (text []byte, more NoteCode, err error) {
	in := bytes.NewReader(data)
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, "", &ErrReport{"not-gzip", clean(err.Error(), 200)}
	}
	r.Multistream(false)
	if text, err = bounded(r, "not-gzip"); err != nil {
		return nil, "", err
	}
	switch rest := data[len(data)-in.Len():]; {
	case isGzip(rest):
		more = NoteManyInside
	case len(bytes.TrimLeft(rest, "\x00\r\n")) > 0:
		more = NoteTrailing
	}
	return text, more, nil
}

// unzip reads the one report of a zip file.
func unzip(data []byte) ([]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, &ErrReport{"not-zip", clean(err.Error(), 200)}
	}
	if len(z.File) > maxZipEntries {
		return nil, &ErrReport{"not-zip", fmt.Sprintf("it has %d files", len(z.File))}
	}
	var found *zip.File
	for _, f := range z.File {
		switch {
		case f.FileInfo().IsDir() || strings.HasPrefix(f.Name, "__MACOSX/"):
		case found != nil:
			return nil, &ErrReport{"not-zip", "it has several files"}
		default:
			found = f
		}
	}
	if found == nil {
		return nil, &ErrReport{"not-zip", "it is empty"}
	}
	r, err := found.Open()
	if err != nil {
		return nil, &ErrReport{"not-zip", clean(err.Error(), 200)}
	}
	defer r.Close()
	return bounded(r, "not-zip")
}

// bounded reads what is unpacked; broken is the reason if it cannot be.
func bounded(r io.Reader, broken string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxReportSize+1))
	switch {
	case len(text) > MaxReportSize: // also where an error would have come later
		return nil, &ErrReport{"too-big", fmt.Sprintf("unpacked more than %d bytes", MaxReportSize)}
	case err != nil:
		return nil, &ErrReport{broken, "it is broken: " + clean(err.Error(), 200)}
	}
	return text, nil
}
