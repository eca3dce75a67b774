package intake

import (
	"bytes"
	"compress/gzip"
	"io"
	"regexp"
)

// fileKind is what something is by how it begins.
type fileKind int

const (
	isUnknown fileKind = iota
	isReport           // JSON
	isGzip
	isZip
	isTar
	isMbox
	isMail
)

// headerField begins a mail (RFC 5322 §2.2).
var headerField = regexp.MustCompile(`^[!-9;-~]{1,100}[ \t]*:`)

// kindOf tells what head is the beginning of.
func kindOf(head []byte) fileKind {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return isGzip
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return isZip
	case len(head) >= 512 && bytes.Equal(head[257:262], []byte("ustar")):
		return isTar
	case bytes.HasPrefix(text, []byte("{")), bytes.HasPrefix(text, []byte("[")):
		return isReport
	case bytes.HasPrefix(head, []byte("From ")):
		return isMbox
	case headerField.Match(head):
		return isMail
	}
	return isUnknown
}

// packedKind tells what is in the gzip file that head is the beginning of.
func packedKind(head []byte) fileKind {
	r, err := gzip.NewReader(bytes.NewReader(head))
	if err != nil {
		return isUnknown
	}
	inside := make([]byte, 512)
	n, _ := io.ReadFull(r, inside) // head breaks off anywhere
	return kindOf(inside[:n])
}
