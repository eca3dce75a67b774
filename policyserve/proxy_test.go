package policyserve_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"

	"mtasts-server/policyserve"
)

func header(t *testing.T, version byte, from string) string {
	t.Helper()
	to := &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 443}
	if strings.Contains(from, ":") {
		to.IP = net.ParseIP("2001:db8::1")
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.ParseIP(from), Port: 4711}, to).Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// through opens a connection on which the proxy says first what is given.
func through(t *testing.T, addr, first string) net.Conn {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProxyProtocol(t *testing.T) {
	w := start(t, policyserve.Options{ProxyProtocol: true})
	for _, tt := range []struct {
		name, first string
		ok          bool
	}{
		{"version 1", header(t, 1, "198.51.100.7"), true},
		{"version 2", header(t, 2, "198.51.100.7"), true},
		{"version 2, IPv6", header(t, 2, "2001:db8::7"), true},
		{"version 1, UNKNOWN: the proxy's own check", "PROXY UNKNOWN\r\n", true},
		{"version 2, LOCAL: the proxy's own check", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", true},
		{"no header", "", true},
		{"broken version 1", "PROXY TCP4 1.2.3 x y z\r\n", false},
		{"broken version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x01x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tls.Client(through(t, w.https, tt.first), w.clientTLS("mta-sts.example.com", "http/1.1"))
			if err := c.Handshake(); (err == nil) != tt.ok {
				t.Fatalf("over TLS: %v", err)
			}
			if !tt.ok {
				c.NetConn().Close()
				ended(t, through(t, w.plain, tt.first))
				return
			}
			if res, _ := parse(t, "GET", raw(t, c, get(wellKnown, "mta-sts.example.com"))); res.StatusCode != 200 {
				t.Errorf("over TLS: %s", res.Status)
			}
			for _, addr := range []string{w.plain, w.http} {
				res, _ := parse(t, "GET", raw(t, through(t, addr, tt.first), get(wellKnown, "mta-sts.example.com")))
				if want := map[string]int{w.plain: 200, w.http: 301}[addr]; res.StatusCode != want {
					t.Errorf("got %s, want %d", res.Status, want)
				}
			}
		})
	}
}

// The share of an address is that of the client, not of the proxy.
func TestProxiedClientsHaveTheirShare(t *testing.T) {
	w := start(t, policyserve.Options{ProxyProtocol: true, Limits: policyserve.Limits{ConnectionsPerAddress: 1}})
	as := func(from string) *tls.Conn {
		return tls.Client(through(t, w.https, header(t, 2, from)), w.clientTLS("mta-sts.example.com", "http/1.1"))
	}
	first := as("2001:db8:0:1::1")
	defer first.Close()
	if err := first.Handshake(); err != nil {
		t.Fatal(err)
	}
	second := as("2001:db8:0:1::2") // of the same /64
	if err := second.Handshake(); err == nil {
		t.Error("a second connection of one client")
	}
	second.NetConn().Close()
	third := as("2001:db8:0:2::1")
	defer third.Close()
	if err := third.Handshake(); err != nil {
		t.Errorf("another client: %v", err)
	}
}

// From anybody else a PROXY header is garbage.
func TestUntrustedHeader(t *testing.T) {
	w := start(t, policyserve.Options{ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	c := tls.Client(through(t, w.https, header(t, 1, "198.51.100.7")), w.clientTLS("mta-sts.example.com"))
	if err := c.Handshake(); err == nil {
		t.Error("believed")
	}
	c.NetConn().Close()
	fetch(t, w)
}
