package policyserve_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mtasts-server/policyserve"
)

// dialFrom connects to addr from another loopback address.
func dialFrom(t *testing.T, from, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// alive makes a request on a connection to the redirecting listener, which stays open.
func alive(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, strings.Replace(get("/", "mta-sts.example.com"), "close", "keep-alive", 1)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

// An address that has its share takes no places from others, however often it comes.
func TestShareEvictsNobody(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{Connections: 4, ConnectionsPerAddress: 2}, TrustedProxies: []netip.Prefix{}})
	var all []net.Conn
	for _, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"} {
		c := dialFrom(t, from, w.http)
		alive(t, c)
		all = append(all, c)
	}
	for range 20 {
		ended(t, dialFrom(t, "127.0.0.2", w.http))
	}
	for _, c := range all {
		alive(t, c)
	}
}

// Where many come from one address, one of them loses his place, and not who came before
// them from another.
func TestManyMakePlaceForFew(t *testing.T) {
	w := start(t, policyserve.Options{Limits: policyserve.Limits{Connections: 8, ConnectionsPerAddress: unlimited}, TrustedProxies: []netip.Prefix{}})
	few := dialFrom(t, "127.0.0.3", w.http)
	alive(t, few)
	for range 100 {
		alive(t, dialFrom(t, "127.0.0.2", w.http))
	}
	alive(t, few)
}
