package intake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"mtasts-server/tlsrpt"
)

// separator is the line between mails in an mbox file: who sent the next one, and when
// (RFC 4155 App. A). That form is asked for in full, since not all that write such lines
// mark those of a text, as Postfix's pipes to a program do not.
var separator = regexp.MustCompile(`^From .*\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? ` +
	`( *[0-9]{1,2} [A-Z][a-z]{2}|[A-Z][a-z]{2} +[0-9]{1,2}) +` +
	`[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?( ([+-][0-9]{4}|[A-Z]{1,5}))? [0-9]{4}( ([+-][0-9]{4}|[A-Z]{1,5}))?( remote from .*)?[ \t\r\n]*$`)

// marked is a line of a text that would be taken for a separator; one ">" is taken off.
var marked = regexp.MustCompile(`^>+From `)

// maxSeparator is longer than a separator is: an address and a time.
const maxSeparator = 1000

// mbox hands out the mails of an mbox file, one at a time (RFC 4155, and what writes
// ">From "). Of one that is too big only that is said.
func (x *filesRun) mbox(r *bufio.Reader, source string) bool {
	s := mboxScanner{r: r, limit: tlsrpt.MaxMessageSize}
	for n := 1; ; n++ {
		mail, err := s.next()
		from := fmt.Sprintf("%s (mail %d)", source, n)
		switch {
		case errors.Is(err, io.EOF):
			return true
		case errors.Is(err, errMailTooBig):
			if !x.fail(from, tooBig(tlsrpt.MaxMessageSize)) {
				return false
			}
		case err != nil:
			return x.fail(from, withoutPath(err))
		case !x.give(from, mail, true):
			return false
		}
	}
}

var errMailTooBig = errors.New("the mail is too big")

// mboxScanner splits an mbox file. It holds one mail at most.
type mboxScanner struct {
	r     *bufio.Reader
	limit int

	begun bool // the first separator was read
	over  bool // the last line was
	mail  bytes.Buffer
}

// next returns the next mail, errMailTooBig in place of one over the limit, or io.EOF.
func (s *mboxScanner) next() ([]byte, error) {
	if s.over {
		return nil, io.EOF
	}
	s.mail.Reset()
	tooBig, start := false, true // of a line: the reader breaks long ones
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			s.over = true
			return nil, err
		}
		s.over = errors.Is(err, io.EOF)
		switch {
		case start && isSeparator(line, s.begun):
			if s.begun {
				return s.finish(tooBig)
			}
			s.begun = true
		case s.mail.Len()+len(line) > s.limit:
			tooBig = true
		case !tooBig && start && marked.Match(line):
			s.mail.Write(line[1:])
		case !tooBig:
			s.mail.Write(line)
		}
		start = err == nil
		if s.over {
			return s.finish(tooBig)
		}
	}
}

// isSeparator reports whether a line begins a mail. The first one of a file does anyway.
func isSeparator(line []byte, begun bool) bool {
	return bytes.HasPrefix(line, []byte("From ")) && (!begun || len(line) < maxSeparator && separator.Match(line))
}

// finish returns the mail that was read, without the empty line behind it.
func (s *mboxScanner) finish(tooBig bool) ([]byte, error) {
	if tooBig {
		return nil, errMailTooBig
	}
	mail := s.mail.Bytes()
	for _, end := range []string{"\n\r\n", "\n\n"} {
		if bytes.HasSuffix(mail, []byte(end)) {
			mail = mail[:len(mail)-len(end)+1]
			break
		}
	}
	return bytes.Clone(mail), nil
}
