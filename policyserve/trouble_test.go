package policyserve_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"mtasts-server/policyserve"
)

// refusing is a listener to which the system gives no connections.
type refusing struct {
	net.Listener
	errs chan error
}

func (r refusing) Accept() (net.Conn, error) {
	err, ok := <-r.errs
	if !ok {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
}

func (r refusing) Close() error { return nil }

// That there are no file descriptors is told of; that a client has gone already is not.
func TestTrouble(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{syscall.ECONNABORTED, ""},
		{syscall.EMFILE, "too many open files"},
		{syscall.ENFILE, "too many open files in system"},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			s, err := policyserve.New(policyserve.Options{})
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			errs := make(chan error)
			served := make(chan error)
			go func() { served <- s.ServePlain(refusing{l, errs}) }()
			errs <- c.err
			errs <- c.err // the first one has been dealt with
			lines := strings.Join(s.Trouble(), "\n")
			close(errs)
			if err := <-served; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			if (c.says == "") != (lines == "") || !strings.HasSuffix(lines, c.says) {
				t.Errorf("%q, want %q", lines, c.says)
			}
			if c.says != "" && !strings.HasPrefix(lines, "connections have to wait, last at "+time.Now().UTC().Format("2006-")) {
				t.Errorf("%q", lines)
			}
		})
	}
}
