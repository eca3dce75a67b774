package tlsrpt_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err == nil {
			_, err = io.WriteString(f, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// brokenZip has a directory that is right, and content that is not.
func brokenZip(t testing.TB) []byte {
	z := zipped(t, "r.json", plain)
	z[60] ^= 0xff
	return z
}

func TestUnpack(t *testing.T) {
	gz := gzipped(t, plain)
	for _, c := range []struct {
		why       string
		data      []byte
		mediaType string
		note      tlsrpt.NoteCode
		aside     string
	}{
		{"gzip", gz, "application/tlsrpt+gzip", "", ""},
		{"gzip, as one calls it", gz, "application/x-gzip", "", ""},
		{"gzip, called nothing", gz, "", "", ""},
		{"gzip, called JSON", gz, "application/tlsrpt+json", tlsrpt.NoteMediaType, ""},
		{"plain", []byte(plain), "application/tlsrpt+json", "", ""},
		{"plain, called gzip", []byte(plain), "application/tlsrpt+gzip", tlsrpt.NoteMediaType, ""},
		{"zip", zipped(t, "r.json", plain), "application/zip", tlsrpt.NoteZip, ""},
		{"zip, with what a Mac adds", zipped(t, "d/", "", "d/r.json", plain, "__MACOSX/d/._r.json", "x"), "application/tlsrpt+zip", tlsrpt.NoteZip, ""},
		{"two members", append(gzipped(t, plain), gz...), "application/gzip", tlsrpt.NoteManyInside, ""},
		{"a banner behind it", append(gzipped(t, plain), "Scanned by"...), "application/gzip", tlsrpt.NoteTrailing, ""},
		{"a line end behind it", append(gzipped(t, plain), "\r\n"...), "application/gzip", "", ""},

		{"cut off", gz[:len(gz)/2], "", "", "not-gzip"},
		{"a wrong header", append([]byte{0x1f, 0x8b, 9}, gz[3:]...), "", "", "not-gzip"},
		{"packed twice", gzipped(t, string(gz)), "", "", "packed-twice"},
		{"gzip in zip", zipped(t, "r.json.gz", string(gz)), "", tlsrpt.NoteZip, "packed-twice"},
		{"an empty zip", append([]byte("PK\x03\x04"), make([]byte, 100)...), "", tlsrpt.NoteZip, "not-zip"},
		{"a broken zip", brokenZip(t), "", tlsrpt.NoteZip, "not-zip"},
		{"two reports in a zip", zipped(t, "a.json", plain, "b.json", plain), "", tlsrpt.NoteZip, "not-zip"},
		{"too much", make([]byte, tlsrpt.MaxPackedSize+1), "", "", "too-big"},
	} {
		text, notes, err := tlsrpt.Unpack(c.data, c.mediaType)
		if c.aside != "" {
			if bad, ok := errors.AsType[*tlsrpt.ErrReport](err); !ok || bad.Reason != c.aside {
				t.Errorf("%s: %v, want %s", c.why, err, c.aside)
			}
		} else if err != nil || string(text) != plain {
			t.Errorf("%s: %d bytes, %v", c.why, len(text), err)
		}
		if len(notes) > 1 || len(notes) == 1 && notes[0].Code != c.note || len(notes) == 0 && c.note != "" {
			t.Errorf("%s: %v, want %q", c.why, notes, c.note)
		}
	}
}

// zeros is as many zeros as are asked for.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// A bomb costs no more than a large report: 128 MB of zeros in 128 KB, by
// gzip and in a zip file.
func TestUnpackBomb(t *testing.T) {
	var gz, z bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := io.Copy(w, &zeros{1 << 27}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(&z)
	f, err := zw.Create("r.json")
	if err == nil {
		_, err = io.Copy(f, &zeros{1 << 27})
	}
	if err = errors.Join(err, zw.Close()); err != nil {
		t.Fatal(err)
	}
	for _, bomb := range [][]byte{gz.Bytes(), z.Bytes()} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := tlsrpt.Unpack(bomb, "")
		runtime.ReadMemStats(&after)
		if bad, ok := errors.AsType[*tlsrpt.ErrReport](err); !ok || bad.Reason != "too-big" {
			t.Errorf("%v", err)
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 100 {
			t.Errorf("%d MiB allocated", took)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	seed(f, ".zip", func(data []byte) { f.Add(data, "application/zip") })
	seed(f, ".gz", func(data []byte) { f.Add(data, "") })
	f.Add(gzipped(f, plain), "application/tlsrpt+gzip")
	f.Add(zipped(f, "r.json", plain), "application/zip")
	f.Add([]byte(plain), "")
	f.Fuzz(func(t *testing.T, data []byte, mediaType string) {
		text, notes, err := tlsrpt.Unpack(data, mediaType)
		if len(text) > tlsrpt.MaxReportSize || len(notes) > 3 || err != nil && strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%d bytes, %v, %v", len(text), notes, err)
		}
	})
}
