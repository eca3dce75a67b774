package reports

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"sync"

	"mtasts-server/tlsrpt"
)

// packFrom is from how many bytes on packing gains anything.
const packFrom = 300

// packer makes what is stored smaller. A writer of gzip is a megabyte, so they are kept.
type packer struct{ pool sync.Pool }

func newPacker() *packer {
	return &packer{sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}}
}

// pack returns data smaller, or as it is where that is packed already.
func (p *packer) pack(data []byte) []byte {
	if len(data) < packFrom || bytes.HasPrefix(data, []byte("\x1f\x8b")) || bytes.HasPrefix(data, []byte("PK")) {
		return data
	}
	var b bytes.Buffer
	w := p.pool.Get().(*gzip.Writer)
	defer p.pool.Put(w)
	w.Reset(&b)
	_, err := w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil || b.Len() >= len(data) {
		return data
	}
	return b.Bytes()
}

// unpack is the opposite, also of what came packed; as it is where it cannot be unpacked.
func unpack(data []byte) []byte {
	if text, _, err := tlsrpt.Unpack(data, ""); err == nil {
		return text
	}
	return data
}
