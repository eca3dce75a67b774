package sendertest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// MXHost is a mail server, as far as a sender looks at it before it delivers. The zero
// value of what it says is what a good one says.
type MXHost struct {
	TLS      *tls.Config
	Greeting string // whole lines, without the last CRLF
	EHLO     string // likewise
	STARTTLS string // likewise
	After    string // said in clear, in the same breath as STARTTLS
	HangAt   string // "greeting", "EHLO" or "STARTTLS": nothing is said there any more
	CloseAt  string // likewise: the connection ends there

	Sessions atomic.Int32 // so far
	most     atomic.Int32
	now      atomic.Int32
}

// Most is how many sessions there were at the same time.
func (h *MXHost) Most() int { return int(h.most.Load()) }

// MXHost starts a mail server at an address.
func (w *World) MXHost(addr netip.Addr, h *MXHost) error {
	l, err := listen(addr, w.SMTPPort)
	if err != nil {
		return err
	}
	if h.Greeting == "" {
		h.Greeting = "220 mx ESMTP ready"
	}
	if h.EHLO == "" {
		h.EHLO = "250-mx\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME"
	}
	if h.STARTTLS == "" {
		h.STARTTLS = "220 go ahead"
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() {
				h.serve(conn)
				_ = conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	w.atEnd(func() error {
		err := l.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		return err
	})
	return nil
}

func (h *MXHost) serve(conn net.Conn) {
	h.Sessions.Add(1)
	now := h.now.Add(1)
	defer h.now.Add(-1)
	for most := h.most.Load(); now > most && !h.most.CompareAndSwap(most, now); most = h.most.Load() {
	}
	in := bufio.NewReader(conn)
	if !h.say(conn, "greeting", h.Greeting) {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " ?")[0]); verb {
		case "EHLO":
			if !h.say(conn, verb, h.EHLO) {
				return
			}
		case "STARTTLS":
			answer := h.STARTTLS
			if h.After != "" {
				answer += "\r\n" + h.After
			}
			if !h.say(conn, verb, answer) {
				return
			}
			if strings.HasPrefix(answer, "220") {
				h.secure(conn)
				return
			}
		case "QUIT":
			_, _ = io.WriteString(conn, "221 bye\r\n")
			return
		default:
			_, _ = io.WriteString(conn, "502 no\r\n")
		}
	}
}

func (h *MXHost) secure(conn net.Conn) {
	if h.TLS == nil {
		return
	}
	t := tls.Server(conn, h.TLS)
	if t.Handshake() == nil {
		_, _ = bufio.NewReader(t).ReadString('\n')
	}
}

// say reports whether the session goes on.
func (h *MXHost) say(conn net.Conn, at, what string) bool {
	switch at {
	case h.HangAt:
		_, _ = io.Copy(io.Discard, conn)
		return false
	case h.CloseAt:
		return false
	}
	_, err := io.WriteString(conn, what+"\r\n")
	return err == nil
}
