package intake

import (
	"cmp"
	"errors"
	"time"

	"mtasts-server/tlsrpt"
)

// MaxPosted is the largest body that is taken: what is larger would not be read.
const MaxPosted = tlsrpt.MaxPackedSize

// PostLimits bound what strangers can take. Zero stands for the default.
type PostLimits struct {
	// Bytes of bodies held at a time. The default is 40 MiB. Nine of 20 are for bodies up to
	// 256 KiB, which nearly all are, so that large ones cannot shut them out; and of neither
	// part can one address take all.
	Bytes int64

	// BytesPerAddress held at a time, per IPv4 address or IPv6 /64. The default is
	// 20 MiB: one body of the largest kind, while it grows.
	BytesPerAddress int64

	// RequestsPerAddress at a time. The default is 64: a large sender posts a report for
	// each domain.
	RequestsPerAddress int

	// Wait is how long who finds no room waits for it. The default is 3 s.
	Wait time.Duration

	// BodyTime is how long a body may take in all. The default is 60 s.
	BodyTime time.Duration

	// PieceTime is how long 64 KiB of it may take, or what is left of it. The default is
	// 10 s: a report of the usual size comes at once, a large one from a large sender.
	PieceTime time.Duration
}

func (l PostLimits) withDefaults() PostLimits {
	return PostLimits{
		Bytes:              cmp.Or(l.Bytes, 40<<20),
		BytesPerAddress:    cmp.Or(l.BytesPerAddress, 20<<20),
		RequestsPerAddress: cmp.Or(l.RequestsPerAddress, 64),
		Wait:               cmp.Or(l.Wait, 3*time.Second),
		BodyTime:           cmp.Or(l.BodyTime, time.Minute),
		PieceTime:          cmp.Or(l.PieceTime, 10*time.Second),
	}
}

// check refuses limits under which the largest body would never find room.
func (l PostLimits) check() error {
	switch {
	case l.Bytes < 4*MaxPosted:
		return errors.New("the room for large bodies is less than two bodies of the largest kind")
	case l.BytesPerAddress < 2*MaxPosted:
		return errors.New("less room for one address than for one body of the largest kind, while it grows")
	case l.RequestsPerAddress < 0 || l.Wait < 0 || l.BodyTime < 0 || l.PieceTime < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

const (
	// smallPost is the largest that counts as a small one: 100 times the usual.
	smallPost = 256 << 10

	// firstPostRoom is what a body begins with, whatever length was announced, and what the
	// usual one needs. It doubles when it is full.
	firstPostRoom = 4 << 10

	// postPiece is what must come in PieceTime.
	postPiece = 64 << 10

	// maxPartHeader bounds what comes before the file in a form: it is taken apart in memory
	// that nobody counts.
	maxPartHeader = 4 << 10

	// maxPostMediaType is many times the longest that a report has.
	maxPostMediaType = 100

	// gzipRoom is what unpacking takes, beside what comes out.
	gzipRoom = 64 << 10

	// postDeliverTime is how long it may take to keep a report: a disk that is slower is out
	// of order.
	postDeliverTime = 30 * time.Second

	// postAnswerTime is for the answer, over HTTP/2.
	postAnswerTime = 10 * time.Second

	// postWarnEvery is how often the log is told that reports are lost.
	postWarnEvery = time.Minute

	// The seconds after which a sender is asked to come again: when those who are here
	// have gone, and when a person has made room.
	postRetryBusy = "120"
	postRetryFull = "3600"
)
