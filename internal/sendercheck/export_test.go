package sendercheck

import (
	"bufio"
	"bytes"
	"io"
)

// OnInternet is for the test of it.
var OnInternet = onInternet

// ReadReply reads an SMTP reply.
func ReadReply(said []byte) (code int, lines []string, err error) {
	s := &smtpSession{in: bufio.NewReaderSize(bytes.NewReader(said), maxReplyLine)}
	return s.reply()
}

// ReadAnswer reads a policy host's answer.
func ReadAnswer(said []byte) (f Fetch) {
	f.ask(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(said), io.Discard}, "mta-sts.example.com")
	return f
}
