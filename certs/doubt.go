package certs

import (
	"crypto/x509"
	"errors"
	"time"
)

const (
	// doubtJump is by how much a clock must be set forward to be doubted. By less,
	// next to nothing becomes due.
	doubtJump = 24 * time.Hour

	// doubtFor is how long at most: a machine that slept for weeks has much to renew.
	doubtFor = time.Hour

	// doubtPause is the wait after an order that showed the clock to be wrong.
	doubtPause = 10 * time.Minute
)

// doubt keeps orders back after the clock was set forward by a day or more. If it is
// wrong, all certificates look expired, and ordering them anew would eat up the CA's
// limits and change nothing. So one order at a time finds out. The zero doubt is none.
// It is no lock: the scheduler's guards it.
type doubt struct {
	until time.Time // zero: the clock is believed
	next  time.Time // when the next order may begin
}

// set notes that the clock was set.
func (d *doubt) set(by time.Duration, now time.Time) {
	switch {
	case by > doubtJump:
		*d = doubt{until: now.Add(doubtFor)}
	case by < 0: // it is right again, or the certificates look young
		*d = doubt{}
	}
}

// wait returns how long an order has to wait while so many are under way.
func (d *doubt) wait(now time.Time, running int) time.Duration {
	switch {
	case !now.Before(d.until):
		return 0
	case running > 0:
		return time.Second
	}
	return max(0, d.next.Sub(now))
}

// settle notes what an order has shown: the clock is right, or it is wrong. It stays in
// doubt for another while then.
func (d *doubt) settle(right bool, now time.Time) {
	switch {
	case !now.Before(d.until):
	case right:
		*d = doubt{}
	default:
		d.until, d.next = now.Add(doubtFor), now.Add(doubtPause)
	}
}

// showsClock reports whether err is that the CA's own certificate has expired, or is
// not valid yet: most likely that is our clock.
func showsClock(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}
