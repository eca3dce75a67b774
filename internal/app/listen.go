package app

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"

	"mtasts-server/config"
)

// listeners are the sockets of one run.
type listeners struct {
	https, http, plain, admin []net.Listener
}

// noKeepAlive leaves out TCP's own probes, three system calls for each connection: an
// idle one ends after half a minute anyway.
var noKeepAlive = net.ListenConfig{KeepAlive: -1}

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
			x, err := noKeepAlive.Listen(context.Background(), "tcp", addr)
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
