package intake

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"mtasts-server/tlsrpt"
)

// errNoPlace is for a mail that there is no memory for.
var errNoPlace = errors.New("too many mails in memory")

// memory bounds what all mails together take while they come in and are kept: however
// many connections there are, large mails wait for each other. Nobody who has a place
// waits for one of the same size, so that they do not wait for each other in a circle.
type memory struct {
	middle, large chan struct{}
	wait          time.Duration
}

func newMemory(l MailLimits) *memory {
	return &memory{middle: make(chan struct{}, l.Middle), large: make(chan struct{}, l.Large), wait: l.Wait}
}

// read reads a mail. Its place is taken until letGo is called, also after an error.
func (m *memory) read(ctx context.Context, r io.Reader) (data []byte, letGo func(), err error) {
	letGo = func() {}
	for _, room := range []struct {
		size   int
		places chan struct{}
	}{{smallMail, nil}, {middleMail, m.middle}, {tlsrpt.MaxMessageSize + 1, m.large}} {
		before := letGo
		if letGo, err = m.enter(ctx, room.places); err != nil {
			return nil, before, err
		}
		data = append(make([]byte, 0, room.size), data...)
		before()
		if data, err = fill(data, r); err != nil {
			break
		}
	}
	switch {
	case err == nil: // there is more, or may be
		err = smtp.ErrDataTooLarge
	case err == io.EOF && len(data) <= tlsrpt.MaxMessageSize:
		return data, letGo, nil
	}
	return nil, letGo, err
}

// enter takes a place, once there is one.
func (m *memory) enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	if places == nil {
		return func() {}, nil
	}
	timer := time.NewTimer(m.wait)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, errNoPlace
}

// fill reads until data has no room left, or to the end, io.EOF. Another error is no end:
// io.ReadFull would make them one.
func fill(data []byte, r io.Reader) ([]byte, error) {
	for len(data) < cap(data) {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err != nil {
			return data, err
		}
	}
	return data, nil
}
