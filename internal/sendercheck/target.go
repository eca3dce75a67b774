package sendercheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// connectLimit is how long a connection may take to come about. Who does not answer by
// then is behind a filter.
const connectLimit = 10 * time.Second

// ErrNoRoute is for an address of a kind that this machine cannot reach at all, as IPv6
// from a machine without. It says nothing about the target.
var ErrNoRoute = errors.New("this machine has no way to such addresses")

// errForbidden is for an address that strangers must not have us connect to.
var errForbidden = errors.New("is no address on the internet")

// special are the networks that are not the internet (IANA's registries of special
// purpose addresses, RFC 6890), with those of multicast.
var special = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "3fff::/20",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

var (
	global = netip.MustParsePrefix("2000::/3")     // all that is given out of IPv6 (RFC 4291 §2.4)
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // an IPv4 address at the end (RFC 6052)
	sixTo4 = netip.MustParsePrefix("2002::/16")    // an IPv4 address after that (RFC 3056)
)

// onInternet reports whether a stranger's name may lead us to addr.
func onInternet(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		b := addr.As16()
		switch {
		case nat64.Contains(addr):
			return onInternet(netip.AddrFrom4([4]byte(b[12:])))
		case sixTo4.Contains(addr):
			return onInternet(netip.AddrFrom4([4]byte(b[2:6])))
		case !global.Contains(addr):
			return false
		}
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return addr.IsValid()
}

// dial connects to a target, which is an address and never a name: what is looked at
// is what is connected to.
func (c *Checker) dial(ctx context.Context, addr netip.Addr, port uint16) (net.Conn, error) {
	if !c.allowPrivate && !onInternet(addr) {
		return nil, fmt.Errorf("%s %w", addr, errForbidden)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) {
			err = fmt.Errorf("%w: %w", ErrNoRoute, err)
		}
		return nil, err
	}
	return conn, nil
}

func addrOf(a net.Addr) netip.Addr {
	if a, ok := a.(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// targets bounds the connections at a time, to each address and to all.
type targets struct {
	perTarget int
	all       chan struct{}

	mu sync.Mutex
	of map[netip.Addr]*target
}

type target struct {
	users int // that have a turn or wait for one
	turns chan struct{}
}

func newTargets(perTarget, all int) *targets {
	return &targets{perTarget: perTarget, all: make(chan struct{}, all), of: map[netip.Addr]*target{}}
}

// turn waits until one more connection to addr may be made.
func (ts *targets) turn(ctx context.Context, addr netip.Addr) (done func(), err error) {
	ts.mu.Lock()
	t := ts.of[addr]
	if t == nil {
		t = &target{turns: make(chan struct{}, ts.perTarget)}
		ts.of[addr] = t
	}
	t.users++
	ts.mu.Unlock()
	leave := func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(ts.of, addr)
		}
	}
	// First the narrow door, then the wide one: who waits for the first holds nothing.
	select {
	case t.turns <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
	select {
	case ts.all <- struct{}{}:
	case <-ctx.Done():
		<-t.turns
		leave()
		return nil, ctx.Err()
	}
	return func() {
		<-ts.all
		<-t.turns
		leave()
	}, nil
}
