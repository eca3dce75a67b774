package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// worker makes requests one after another.
type worker struct {
	r       *runner
	rng     *rand.Rand
	samples []int32 // microseconds
	errs    map[string]int

	sessions tls.ClientSessionCache // resumed
	mine     []int                  // resumed: the domains of sessions

	conn   *tls.Conn // keepalive
	br     *bufio.Reader
	h2     *http.Transport // h2
	domain int             // of conn or h2
	left   int             // requests that conn or h2 still may make
}

func (w *worker) loop() error {
	for {
		domain, due, ok := w.r.take(w.rng)
		if !ok {
			return nil
		}
		if err := w.request(domain); err != nil {
			w.fail(err)
			continue
		}
		w.samples = append(w.samples, int32(min(time.Since(due).Microseconds(), 1<<31-1)))
	}
}

var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+|d\d+\.example`)

func (w *worker) fail(err error) {
	if w.errs == nil {
		w.errs = map[string]int{}
	}
	w.errs[address.ReplaceAllString(err.Error(), "*")]++
}

func (w *worker) request(domain int) error {
	switch w.r.cfg.mode {
	case "resumed":
		domain = w.mine[w.rng.IntN(len(w.mine))]
		return w.oneShot(domain)
	case "keepalive":
		if w.left == 0 {
			w.hangUp()
			conn, err := w.dial(domain, w.tlsConfig(domain))
			if err != nil {
				return err
			}
			w.conn, w.br, w.domain, w.left = conn, bufio.NewReader(conn), domain, w.r.cfg.perConn
		}
		w.left--
		err := w.get(w.conn, w.br, w.domain, "")
		if err != nil {
			w.left = 0
		}
		return err
	case "h2", "full-h2":
		if w.left == 0 {
			w.hangUp()
			w.h2, w.domain, w.left = w.newH2(domain), domain, w.r.cfg.perConn
			if w.r.cfg.mode == "full-h2" {
				w.left = 1
			}
		}
		w.left--
		err := w.getH2(w.h2, w.domain)
		if err != nil {
			w.left = 0
		}
		if w.left == 0 {
			w.hangUp()
		}
		return err
	default:
		return w.oneShot(domain)
	}
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
	if w.h2 != nil {
		w.h2.CloseIdleConnections()
		w.h2 = nil
	}
	w.left = 0
}

// prime gets a session ticket from each domain of the worker's set.
func (w *worker) prime() error {
	k := min(w.r.cfg.sessions, w.r.cfg.domains)
	w.sessions = tls.NewLRUClientSessionCache(2 * k)
	for len(w.mine) < k {
		d := w.r.domain(w.rng.IntN(w.r.cfg.domains))
		if slices.Contains(w.mine, d) {
			continue
		}
		w.mine = append(w.mine, d)
		if err := w.oneShot(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) tlsConfig(domain int) *tls.Config {
	t := w.r.tls.Clone()
	t.ServerName = host(domain)
	t.NextProtos = []string{"http/1.1"}
	t.ClientSessionCache = noSessions{}
	if w.sessions != nil {
		t.ClientSessionCache = w.sessions
	}
	return t
}

// noSessions keeps no session. Without any cache, crypto/tls would tell the
// server not to send tickets, which real clients do not.
type noSessions struct{}

func (noSessions) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noSessions) Put(string, *tls.ClientSessionState)        {}

func (w *worker) dial(domain int, t *tls.Config) (*tls.Conn, error) {
	raw, err := net.DialTimeout("tcp", w.r.cfg.server, w.r.cfg.timeout)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, t)
	conn.SetDeadline(time.Now().Add(w.r.cfg.timeout))
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	w.r.count(conn.ConnectionState())
	return conn, nil
}

// oneShot makes one request on a connection of its own, which the server is
// asked to close and which is read to its end.
func (w *worker) oneShot(domain int) error {
	conn, err := w.dial(domain, w.tlsConfig(domain))
	if err != nil {
		return err
	}
	defer conn.Close()
	if w.r.cfg.mode == "resumed" && w.r.measured && !conn.ConnectionState().DidResume {
		return errors.New("the session was not resumed")
	}
	if w.r.cfg.mode == "handshake" {
		return nil
	}
	br := bufio.NewReaderSize(conn, 2048)
	if err := w.get(conn, br, domain, "Connection: close\r\n"); err != nil {
		return err
	}
	if _, err := br.ReadByte(); err != io.EOF {
		return fmt.Errorf("the server did not close the connection rightly: %v", err)
	}
	return nil
}

// get makes an HTTP/1.1 request and checks the answer.
func (w *worker) get(conn *tls.Conn, br *bufio.Reader, domain int, headers string) error {
	conn.SetDeadline(time.Now().Add(w.r.cfg.timeout))
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+host(domain)+"\r\nUser-Agent: stsload\r\n"+headers+"\r\n"); err != nil {
		return err
	}
	status, err := line(br)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("status line %q", status)
	}
	length, text := -1, false
	for {
		l, err := line(br)
		if err != nil {
			return err
		}
		if len(l) == 0 {
			break
		}
		key, value, _ := bytes.Cut(l, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(key, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case bytes.EqualFold(key, []byte("Content-Type")):
			text = isText(string(value))
		}
	}
	if length < 0 || length > 64<<10 {
		return fmt.Errorf("Content-Length %d", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(br, body); err != nil {
		return err
	}
	return w.check(domain, text, body)
}

func line(br *bufio.Reader) ([]byte, error) {
	l, err := br.ReadSlice('\n')
	return bytes.TrimRight(l, "\r\n"), err
}

func isText(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(t), "text/plain")
}

func (w *worker) check(domain int, text bool, body []byte) error {
	if !text {
		return errors.New("Content-Type is not text/plain")
	}
	if string(body) != policy(domain, w.r.cfg.maxAge) {
		return fmt.Errorf("wrong body for %s: %.200q", host(domain), body)
	}
	return nil
}
