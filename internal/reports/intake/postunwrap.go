package intake

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// unwrap takes off what HTTP put around a report: a form, and a content coding on top of
// what is packed already. What cannot be taken off stays: somebody may look at it.
func (h *postHeld) unwrap(ctx context.Context, header http.Header, data []byte) (inside []byte, mediaType string) {
	mediaType, params := postMediaType(header.Get("Content-Type"))
	if mediaType == "multipart/form-data" {
		if file, kind, err := h.file(ctx, data, params["boundary"]); err == nil {
			data, mediaType = file, kind
		}
	}
	if strings.Contains(strings.ToLower(header.Get("Content-Encoding")), "gzip") {
		if once, err := h.unpackOnce(ctx, data); err == nil {
			data = once
		}
	}
	return data, mediaType
}

// postMediaType returns a media type without its parameters, "" for none and for nonsense.
func postMediaType(s string) (mediaType string, params map[string]string) {
	mediaType, params, err := mime.ParseMediaType(s)
	if err != nil || len(mediaType) > maxPostMediaType {
		return "", nil
	}
	return mediaType, params
}

// file returns the file that is the first part of a form, as "curl --form" sends it
// (RFC 7578).
func (h *postHeld) file(ctx context.Context, data []byte, boundary string) (file []byte, mediaType string, err error) {
	if end := bytes.Index(data, []byte("\r\n\r\n")); end < 0 || end > maxPartHeader {
		return nil, "", errors.New("no form")
	}
	part, err := multipart.NewReader(bytes.NewReader(data), boundary).NextRawPart()
	if err != nil {
		return nil, "", err
	}
	if part.FileName() == "" {
		return nil, "", errors.New("no file")
	}
	mediaType, _ = postMediaType(part.Header.Get("Content-Type"))
	file, err = h.read(ctx, part, int64(len(data)))
	return file, mediaType, err
}

// unpackOnce takes one layer off data that is packed by gzip twice. It leaves the other:
// whether a report came packed is for others to see, and most who announce a coding mean
// the one layer that there is.
func (h *postHeld) unpackOnce(ctx context.Context, data []byte) ([]byte, error) {
	if err := h.take(ctx, gzipRoom); err != nil {
		return nil, err
	}
	defer h.drop(gzipRoom)
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var first [2]byte
	if _, err := io.ReadFull(z, first[:]); err != nil {
		return nil, err
	}
	if first != [2]byte{0x1f, 0x8b} { // RFC 1952 §2.3.1
		return nil, errors.New("packed once")
	}
	return h.read(ctx, io.MultiReader(bytes.NewReader(first[:]), z), -1)
}
