package sendercheck_test

import (
	"net/netip"
	"testing"

	"mtasts-server/internal/sendercheck"
)

// Whoever names a domain must not choose what in our network is connected to.
func TestOnInternet(t *testing.T) {
	for _, s := range []string{
		"8.8.8.8", "1.1.1.1", "192.0.1.1", "198.17.255.255", "198.20.0.0", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "223.255.255.255",
		"2a00:1450::1", "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
	} {
		if !sendercheck.OnInternet(netip.MustParseAddr(s)) {
			t.Errorf("%s is refused", s)
		}
	}
	for _, s := range []string{
		"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
		"192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "3fff::1",
		"5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
	} {
		if sendercheck.OnInternet(netip.MustParseAddr(s)) {
			t.Errorf("%s is let through", s)
		}
	}
	if sendercheck.OnInternet(netip.Addr{}) {
		t.Error("no address at all is let through")
	}
}
