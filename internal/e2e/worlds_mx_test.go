package e2e_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
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
	{"http", &sendertest.MXHost{Greeting: "HTTP/1.0 400 Bad Request"}},
	{"busy", &sendertest.MXHost{Greeting: "421 4.3.2 too many connections"}},
	{"nobanner", &sendertest.MXHost{CloseAt: "greeting"}},
}

// implicitMX is a domain that is its own MX host.
const implicitMX = "mx-implicit.test"

// startMX starts all MX hosts, and returns the zone that they are in.
func (n *internet) startMX(t *testing.T) (zone string) {
	t.Helper()
	zone = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n" +
		"closed A " + nobody + "\nhalf A " + nobody + "\nhalf A " + mxPrefix + "202\nempty TXT \"\"\nalias CNAME good\n" +
		"v6 A " + mxPrefix + "200\nv6 AAAA ::1\nloop CNAME loop2\nloop2 CNAME loop\n"
	var hosts []postfixHost
	add := func(name, addr, kind string, options []string) {
		cert, err := n.certificate(kind, name)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, postfixHost{addr, cert, options})
	}
	for i, h := range worldMX {
		addr := mxPrefix + strconv.Itoa(i+1)
		zone += h.name + " A " + addr + "\n"
		add(h.name+".mx.test", addr, h.cert, h.options)
	}
	add("v6.mx.test", mxPrefix+"200", "", nil)
	add("half.mx.test", mxPrefix+"202", "", nil)
	add(implicitMX, mxPrefix+"201", "", nil)
	startPostfix(t, hosts)
	cert, err := n.certificate("", "any.mx.test")
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range handMX {
		addr := mxPrefix + strconv.Itoa(100+i)
		zone += h.name + " A " + addr + "\n"
		host := &sendertest.MXHost{Greeting: h.host.Greeting, STARTTLS: h.host.STARTTLS, After: h.host.After, HangAt: h.host.HangAt, CloseAt: h.host.CloseAt}
		if h.name != "nohandshake" {
			host.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		}
		if err := n.MXHost(netip.MustParseAddr(addr), host); err != nil {
			t.Fatal(err)
		}
	}
	return zone
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
