package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mtasts-server/tlsrpt"
)

const (
	// peeked is how much of a file is looked at to tell what it is: a tar header is 512
	// bytes, and packed ones need some more than they unpack to.
	peeked = 4096

	// maxUnpacked bounds what one file is unpacked to, all together: half a minute's work.
	// Who has a larger mail archive unpacks it first.
	maxUnpacked = 4 << 30

	// maxMembers bounds the reports in one archive: 30 years of daily ones.
	maxMembers = 10_000
)

// file reads one file.
func (x *filesRun) file(p place) bool {
	x.files.Add(1)
	r, err := p.open()
	if err != nil {
		return x.fail(p.path, withoutPath(err))
	}
	defer r.Close()
	// A pipe may say nothing for ever.
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		stop := context.AfterFunc(x.ctx, func() { _ = d.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	x.left = x.unpacked
	counted := &countingReader{r: r, ctx: x.ctx, count: x.read.Add}
	goOn := x.look(bufio.NewReaderSize(counted, 64<<10), p.path, 0)
	if rest := p.size - counted.n; rest > 0 && goOn { // what was not worth reading
		x.read.Add(rest)
	}
	return goOn
}

// look tells what r begins with, and reads it. depth counts what is around it: a packed
// file may have an archive in it, and that one reports, but no more archives.
func (x *filesRun) look(r *bufio.Reader, source string, depth int) bool {
	head, err := r.Peek(peeked)
	if err != nil && !errors.Is(err, io.EOF) {
		return x.fail(source, withoutPath(err))
	}
	switch kind := kindOf(head); {
	case len(head) == 0:
		return x.fail(source, &tlsrpt.ErrReport{Reason: "no-report", Detail: "it is empty"})
	case kind == isMbox:
		return x.mbox(r, source)
	case kind == isMail:
		return x.whole(r, source, tlsrpt.MaxMessageSize, true)
	case kind == isTar && depth < maxArchives:
		return x.tar(r, source)
	case kind == isZip && depth < maxArchives:
		return x.zip(r, source)
	case kind == isGzip && depth == 0 && packedKind(head) > isReport:
		return x.gzip(r, source)
	case kind == isReport || kind == isGzip || kind == isZip:
		return x.whole(r, source, tlsrpt.MaxPackedSize, false)
	}
	return x.fail(source, &tlsrpt.ErrReport{Reason: "no-report", Detail: "it begins like no report, mail or mbox file"})
}

// whole hands out all of r, which is to be one report or one mail.
func (x *filesRun) whole(r io.Reader, source string, limit int64, mail bool) bool {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return x.fail(source, withoutPath(err))
	case int64(len(data)) > limit:
		return x.fail(source, tooBig(limit))
	}
	return x.give(source, data, mail)
}

func tooBig(limit int64) error {
	return &tlsrpt.ErrReport{Reason: "too-big", Detail: fmt.Sprintf("more than %d bytes", limit)}
}

// countingReader counts what is read, and ends with ctx.
type countingReader struct {
	r     io.Reader
	ctx   context.Context
	n     int64
	count func(int64) int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.count(int64(n))
	return n, err
}
