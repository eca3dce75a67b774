package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"mtasts-server/config"
	"mtasts-server/policyserve"
)

// listeners are the sockets of one run.
type listeners struct {
	https, http, plain, admin []net.Listener
}

// shortLived is for connections that are over in a moment. It leaves out TCP's own
// probes, three system calls for each connection, as an idle one ends after half a minute
// anyway; and Multipath TCP, which every accepted connection pays for.
func shortLived() net.ListenConfig {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	return lc
}

// listen opens what the settings name. Sockets that systemd hands over, with
// FileDescriptorName=https, http, plain or admin, take the place of the addresses
// of that kind.
func listen(s config.Listen) (*listeners, error) {
	given, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	for name := range given {
		if !slices.Contains([]string{"https", "http", "plain", "admin"}, name) {
			return nil, fmt.Errorf("sockets from systemd: %q is none of https, http, plain, admin: set FileDescriptorName in the socket unit", name)
		}
	}
	var l listeners
	lc := shortLived()
	admin := []string{s.Admin}
	if s.Admin == "" {
		admin = nil
	}
	for _, kind := range []struct {
		name  string
		addrs []string
		to    *[]net.Listener
	}{
		{"https", s.HTTPS, &l.https},
		{"http", s.HTTP, &l.http},
		{"plain", s.Plain, &l.plain},
		{"admin", admin, &l.admin},
	} {
		if given := given[kind.name]; len(given) > 0 {
			*kind.to = given
			continue
		}
		for _, addr := range kind.addrs {
			x, err := lc.Listen(context.Background(), "tcp", addr)
			if err != nil {
				l.close()
				return nil, fmt.Errorf("listen.%s: %w", kind.name, err)
			}
			*kind.to = append(*kind.to, x)
		}
	}
	return &l, nil
}

func (l *listeners) close() {
	for _, group := range [][]net.Listener{l.https, l.http, l.plain, l.admin} {
		for _, x := range group {
			x.Close()
		}
	}
}

// roomy is the admin listener. Where the system has no file descriptors left, as a flood
// of strangers took them all, it has some of theirs closed: that is when it is needed.
type roomy struct {
	net.Listener
	makeRoom func(times int)
	times    int // in a row that there was none left
}

func (l *roomy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.times++
		l.makeRoom(l.times) // net/http tries again after a moment
	} else {
		l.times = 0
	}
	return c, err
}

// spareFiles is how many file descriptors connections leave to everything else: 16
// orders with a connection and a file each, reloads, listeners, the admin's.
const spareFiles = 128

// connections is how many connections may be open at a time: as many as wanted, unless
// the system grants fewer file descriptors. Without that the strangers who come last
// would take those that files need.
func connections(want int) (n int, fits bool) {
	if want == 0 {
		want = policyserve.DefaultConnections
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > uint64(want+spareFiles) {
		return want, true
	}
	files := int(limit.Cur)
	return max(files-spareFiles, files/2, 1), false
}

// listenRetry is how soon an address that cannot be listened on is tried again.
const listenRetry = 30 * time.Second

// keepServing serves at an address again and again: what is beside policies may be late, as
// another server may have the address, and policies are served meanwhile.
func keepServing(ctx context.Context, serve func() error, failed func(error)) {
	for ctx.Err() == nil {
		err := serve()
		if ctx.Err() != nil {
			return
		}
		failed(err)
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}
