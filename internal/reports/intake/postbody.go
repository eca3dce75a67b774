package intake

import (
	"context"
	"io"
	"net/http"
	"time"
)

// postBody is a body whose sender must get on. Its deadlines are those of the network: no
// other clock counts there.
type postBody struct {
	body   io.Reader
	rc     *http.ResponseController
	limits PostLimits
	end    time.Time // of the whole body
	left   int       // of the piece that must come now
}

// newPostBody lets the body of r come for as long as limits say, and the answer to it.
// A server that has no deadlines to set goes without.
func newPostBody(w http.ResponseWriter, r *http.Request, limits PostLimits) *postBody {
	s := &postBody{body: r.Body, rc: http.NewResponseController(w), limits: limits, end: time.Now().Add(limits.BodyTime)}
	s.nextPiece()
	_ = s.rc.SetWriteDeadline(s.end.Add(limits.Wait + postDeliverTime + postAnswerTime))
	return s
}

// nextPiece has the time of another piece begin.
func (s *postBody) nextPiece() {
	s.left = postPiece
	_ = s.rc.SetReadDeadline(until(s.end, time.Now().Add(s.limits.PieceTime)))
}

// Read implements io.Reader.
func (s *postBody) Read(b []byte) (int, error) {
	if s.left == 0 {
		s.nextPiece()
	}
	n, err := s.body.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

// done notes that nothing is left to come.
func (s *postBody) done() { _ = s.rc.SetReadDeadline(time.Time{}) }

// read returns all of r, for which size bytes are expected; -1 says nothing. The error is
// errPostTooBig for more than MaxPosted, one of take, or that of r.
func (h *postHeld) read(ctx context.Context, r io.Reader, size int64) ([]byte, error) {
	most := int64(MaxPosted + 1)
	if size >= 0 {
		most = min(most, size+1) // and one, in which the end is seen
	}
	var b []byte
	for {
		if len(b) > MaxPosted {
			return nil, errPostTooBig
		}
		if len(b) == cap(b) {
			var err error
			if b, err = h.grow(ctx, b, most); err != nil {
				return nil, err
			}
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && len(b) <= MaxPosted:
			return b, nil
		case err != nil && err != io.EOF:
			return nil, err
		}
	}
}

// grow returns b with a larger capacity, which is most at the most if b is smaller.
func (h *postHeld) grow(ctx context.Context, b []byte, most int64) ([]byte, error) {
	size := max(firstPostRoom, 2*int64(cap(b)))
	if int64(cap(b)) < most {
		size = min(size, most)
	}
	if err := h.take(ctx, size); err != nil {
		return nil, err
	}
	grown := append(make([]byte, 0, size), b...)
	if cap(b) > 0 {
		h.drop(int64(cap(b)))
	}
	return grown, nil
}

// until is the earlier of two times.
func until(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
