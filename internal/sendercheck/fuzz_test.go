package sendercheck_test

import (
	"bytes"
	"strings"
	"testing"

	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

func FuzzReply(f *testing.F) {
	for _, s := range []string{"220 mx ESMTP\r\n", "250-mx\r\n250-STARTTLS\r\n250 OK\n", "250\r\n", "220-a\r\n221 b\r\n", "2\xff0 \r\n", "HTTP/1.1 400\r\n", strings.Repeat("250-x\r\n", 200)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		code, lines, err := sendercheck.ReadReply(said)
		if err != nil {
			return
		}
		if code < 200 || code > 599 || len(lines) == 0 || len(lines) > 100 {
			t.Fatalf("%q is %d with %d lines", said, code, len(lines))
		}
		for _, line := range lines {
			if len(line) > 2048 || strings.Contains(line, "\n") {
				t.Fatalf("%q has the line %q", said, line)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.0 301 Moved\r\nLocation: \x1b[31m\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "220 mx\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		a := sendercheck.ReadAnswer(said)
		if (a.Err == nil) != (a.Status == 200 && a.Body != nil) || a.Err != nil && (a.Result == "" || a.Body != nil) {
			t.Fatalf("%q: %+v", said, a)
		}
		if len(a.Body) > mtasts.MaxPolicySize || len(a.Body) > len(said) {
			t.Fatalf("a body of %d bytes", len(a.Body))
		}
		for _, s := range []string{a.MediaType, errorOf(a.Err)} {
			if i := bytes.IndexFunc([]byte(s), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
				t.Fatalf("%q: %q", said, s)
			}
		}
	})
}

func errorOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
