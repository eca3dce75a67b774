package policyserve_test

import (
	"bytes"
	"crypto/tls"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"mtasts-server/policyserve"
)

// http2Client speaks HTTP/2 frame by frame.
type http2Client struct {
	*http2.Framer
	t    *testing.T
	next uint32 // stream
}

func (w *world) http2(t *testing.T, settings ...http2.Setting) *http2Client {
	t.Helper()
	c, err := tls.Dial("tcp", w.https, w.clientTLS("mta-sts.example.com", "h2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	h := &http2Client{http2.NewFramer(c, c), t, 1}
	if err := h.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	for acked := false; !acked; {
		f := h.read()
		if s, ok := f.(*http2.SettingsFrame); ok {
			acked = s.IsAck()
		}
	}
	if err := h.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *http2Client) read() http2.Frame {
	h.t.Helper()
	f, err := h.ReadFrame()
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

// ask begins a fetch on a stream of its own.
func (h *http2Client) ask() (stream uint32) {
	h.t.Helper()
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "mta-sts.example.com"}, {":path", wellKnown}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // into memory
	}
	stream = h.next
	h.next += 2
	if err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		h.t.Fatal(err)
	}
	return stream
}

// head waits for the head of the answer on stream.
func (h *http2Client) head(stream uint32) {
	h.t.Helper()
	for {
		if f, ok := h.read().(*http2.HeadersFrame); ok && f.StreamID == stream && !f.StreamEnded() {
			return
		}
	}
}

// body waits for the body of the answer on stream, and its end.
func (h *http2Client) body(stream uint32) {
	h.t.Helper()
	var body []byte
	for {
		f, ok := h.read().(*http2.DataFrame)
		if !ok || f.StreamID != stream {
			continue
		}
		body = append(body, f.Data()...)
		if f.StreamEnded() {
			break
		}
	}
	if string(body) != bodyCom {
		h.t.Errorf("body %q", body)
	}
}

// Head and body of an answer are one write.
func TestHTTP2OneWrite(t *testing.T) {
	w, l := startCounting(t, policyserve.Options{})
	h := w.http2(t)
	for range 2 { // the first may be joined by what is said of settings
		stream := h.ask()
		h.head(stream)
		h.body(stream)
	}
	const n = 10
	before := l.writes.Load()
	for range n {
		stream := h.ask()
		h.head(stream)
		h.body(stream)
	}
	if got := l.writes.Load() - before; got > n+n/2 { // a pause between the two makes them two
		t.Errorf("%d writes for %d answers", got, n)
	}
}

// A client that wants to see the head before it has the body sent is not kept waiting.
func TestHTTP2ClosedWindow(t *testing.T) {
	w := start(t, policyserve.Options{})
	h := w.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	stream := h.ask()
	h.head(stream)
	if err := h.WriteWindowUpdate(stream, 1<<16); err != nil {
		t.Fatal(err)
	}
	h.body(stream)
}
