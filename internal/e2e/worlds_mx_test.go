package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mtasts-server/internal/sendercheck/sendertest"
)

// worldMX are the MX hosts that Postfix is. The first has the address ending in 1, and
// so on.
var worldMX = []struct {
	name, cert string
	options    []string
}{
	{name: "good"},
	{name: "good2"},
	{name: "far.away"},
	{name: "expired", cert: "expired"},
	{name: "early", cert: "early"},
	{name: "othername", cert: "name"},
	{name: "untrusted", cert: "untrusted"},
	{name: "selfsigned", cert: "self-signed"},
	{name: "nochain", cert: "no chain"},
	{name: "soon", cert: "soon"},
	{name: "wildcard", cert: "parent"},
	{name: "widewildcard", cert: "wildcard"},
	{name: "commonname", cert: "common name"},
	{name: "plain", options: []string{"smtpd_tls_security_level=none"}},
	{name: "oldtls", options: []string{"smtpd_tls_protocols=<=TLSv1.1", "smtpd_tls_mandatory_protocols=<=TLSv1.1", "tls_medium_cipherlist=ALL:@SECLEVEL=0"}},
	{name: "hidden", options: []string{"smtpd_discard_ehlo_keywords=starttls"}},
}

// handMX are those that no Postfix would be.
var handMX = []struct {
	name string
	host *sendertest.MXHost
}{
	{"silent", &sendertest.MXHost{HangAt: "greeting"}},
	{"hanging", &sendertest.MXHost{HangAt: "STARTTLS"}},
	{"refusing", &sendertest.MXHost{STARTTLS: "454 4.7.0 TLS not available due to local problem"}},
	{"garbage", &sendertest.MXHost{STARTTLS: "220 go ahead", After: "250 injected"}},
	{"nohandshake", &sendertest.MXHost{}}, // it hangs up where the handshake begins
	// A firewall writes over what it is afraid of, and lets STARTTLS pass all the same.
	{"stripped", &sendertest.MXHost{EHLO: "250-mx\r\n250-SIZE 10240000\r\n250-XXXXXXXA\r\n250 8BITMIME"}},
	{"http", &sendertest.MXHost{Greeting: "HTTP/1.0 400 Bad Request"}},
	{"busy", &sendertest.MXHost{Greeting: "421 4.3.2 too many connections"}},
	{"nobanner", &sendertest.MXHost{CloseAt: "greeting"}},
}

// implicitMX is a domain that is its own MX host.
const implicitMX = "mx-implicit.test"

// oddMX are hosts at several addresses, or with TLSA records: what zones say of them, and
// where Postfix is them.
var oddMX = []struct {
	name, lines, cert string
	addrs             []string
}{
	{implicitMX, "", "", []string{mxPrefix + "201"}},
	{"half.mx.test", "half A " + nobody + "\nhalf A " + mxPrefix + "202\n", "", []string{mxPrefix + "202"}},
	{"six.mx.test", "six AAAA " + mxPrefixV6 + "1\n", "", []string{mxPrefixV6 + "1"}},
	{"dual.mx.test", "dual A " + mxPrefix + "203\ndual AAAA " + mxPrefixV6 + "2\n", "", []string{mxPrefix + "203", mxPrefixV6 + "2"}},
	{"v6.mx.test", "v6 A " + mxPrefix + "200\nv6 AAAA " + nobodyV6 + "\n", "", []string{mxPrefix + "200"}},
	{"away.mx.test", "away A " + mxPrefix + "204\naway AAAA " + away + "\n", "", []string{mxPrefix + "204"}},
	{"v6old.mx.test", "v6old A " + mxPrefix + "205\n", "", []string{mxPrefix + "205"}},
	{"v6old.mx.test", "v6old AAAA " + mxPrefixV6 + "3\n", "expired", []string{mxPrefixV6 + "3"}},
	{"tlsa.mx.test", "tlsa A " + mxPrefix + "206\n_25._tcp.tlsa TLSA $OURS\n", "", []string{mxPrefix + "206"}},
	{"good.secure.test", "good A " + mxPrefix + "207\n_25._tcp.good TLSA $OURS\n", "", []string{mxPrefix + "207"}},
	{"other.secure.test", "other A " + mxPrefix + "208\n_25._tcp.other TLSA 3 1 1 " + strings.Repeat("00", 32) + "\n", "", []string{mxPrefix + "208"}},
	{"alone.secure.test", "alone A " + mxPrefix + "209\n_25._tcp.alone TLSA $OURS\n", "self-signed", []string{mxPrefix + "209"}},
	{"nobodyknows.secure.test", "nobodyknows A " + mxPrefix + "210\n_tcp.nobodyknows NS lame.ns.test.\n", "", []string{mxPrefix + "210"}},
}

// startMX starts all MX hosts, and returns the zones that they are in.
func (n *internet) startMX(t *testing.T) map[string]string {
	t.Helper()
	zones := map[string]string{
		"mx.test": soa + "@ NS worlds.ns.test.\nclosed A " + nobody + "\nfiltered A " + filtered + "\nempty TXT \"\"\nalias CNAME good\nloop CNAME loop2\nloop2 CNAME loop\n" +
			"lame NS lame.ns.test.\n",
		"secure.test": soa + "@ NS worlds.ns.test.\n",
	}
	var hosts []postfixHost
	add := func(name, kind string, options []string, addrs ...string) tls.Certificate {
		cert, err := n.certificate(kind, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addrs {
			hosts = append(hosts, postfixHost{addr, cert, options})
		}
		return cert
	}
	for i, h := range worldMX {
		addr := mxPrefix + strconv.Itoa(i+1)
		zones["mx.test"] += h.name + " A " + addr + "\n"
		add(h.name+".mx.test", h.cert, h.options, addr)
	}
	for _, h := range oddMX {
		cert := add(h.name, h.cert, nil, h.addrs...)
		if _, zone, _ := strings.Cut(h.name, "."); h.lines != "" {
			zones[zone] += strings.ReplaceAll(h.lines, "$OURS", sendertest.TLSA(cert))
		}
	}
	startPostfix(t, hosts)
	zones["mx.test"] += n.startHandMX(t)
	return zones
}

// startHandMX starts those that no Postfix would be, and returns what zones say of them.
func (n *internet) startHandMX(t *testing.T) (lines string) {
	t.Helper()
	cert, err := n.certificate("", "any.mx.test")
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range handMX {
		addr := mxPrefix + strconv.Itoa(100+i)
		lines += h.name + " A " + addr + "\n"
		host := &sendertest.MXHost{Greeting: h.host.Greeting, EHLO: h.host.EHLO, STARTTLS: h.host.STARTTLS, After: h.host.After, HangAt: h.host.HangAt, CloseAt: h.host.CloseAt}
		if h.name != "nohandshake" {
			host.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		}
		if err := n.MXHost(netip.MustParseAddr(addr), host); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// startFilter listens, and has all packets dropped, as a firewall does: the kernel takes
// no more connections than are waited for, which is one.
func startFilter(t *testing.T, addr string) {
	t.Helper()
	at := netip.MustParseAddrPort(addr)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

// resolverAt asks one name server, as the resolver of a sender does.
func resolverAt(server string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
}

// lookupHost is the first address of a host.
func lookupHost(server, host string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), programPatience)
	defer cancel()
	addrs, err := resolverAt(server).LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return "", err
	}
	return addrs[0].String(), nil
}
