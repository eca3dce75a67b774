package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/dnsrecords"
)

// startStrictUnbound is a resolver that is as mistrustful as it can be set: it asks in
// mixed case, one label after the other, believes that there is nothing below a name that
// does not exist, and takes datagrams of 512 bytes.
func startStrictUnbound(t *testing.T, zone, server string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	host, p, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `server:
  username: ""
  chroot: ""
  directory: "%s"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  interface: 127.0.0.1@%s
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
  use-caps-for-id: yes
  qname-minimisation: yes
  qname-minimisation-strict: yes
  harden-below-nxdomain: yes
  harden-large-queries: yes
  harden-short-bufsize: yes
  edns-buffer-size: 512
  max-udp-size: 1232
  num-threads: 1
remote-control:
  control-enable: no
stub-zone:
  name: %q
  stub-addr: %s@%s
`, dir, port, zone, host, p), 0o644); err != nil {
		t.Fatal(err)
	}
	nameServer(t, "unbound", "-d", "-c", file)
	return net.JoinHostPort("127.0.0.1", port)
}

// A resolver that mistrusts everybody gets every answer, also the long ones, and when it asks
// for more at once than a network is answered: nobody's policy is lost to a limit.
func TestZoneStrictResolver(t *testing.T) {
	z, err := dnsrecords.NewZone(dnsrecords.ZoneOptions{
		Name: "sts.host.test", NameServers: []string{"ns1.sts.host.test"}, TTL: time.Hour,
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const domains = 500
	var sets []dnsrecords.Set
	for i := range domains {
		s := dnsrecords.Set{Domain: fmt.Sprintf("d%d.customer%d.test", i, i%7), ID: fmt.Sprintf("id%d", i)}
		if i%10 == 0 { // does not fit into 512 bytes
			for j := range 5 {
				s.RUA = append(s.RUA, fmt.Sprintf("https://reports%d.host.test/%s", j, strings.Repeat("x", 200)))
			}
		}
		sets = append(sets, s)
	}
	z.Set(sets, nil)
	port := freePort(t, "127.0.0.1")
	server := net.JoinHostPort("127.0.0.1", port)
	l, err := net.Listen("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- z.ServeTCP(l) }()
	go func() { ended <- z.ServeUDP(p) }()
	t.Cleanup(func() {
		if err := z.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	resolver := startStrictUnbound(t, "sts.host.test", server)
	eventually(t, "the resolver answers", func() error {
		_, err := texts(resolver, "sts.host.test")
		return err
	})
	// First what is not there: names above what is there must not count as missing.
	for _, name := range []string{"test.sts.host.test", "customer1.test.sts.host.test", "_tls.d0.customer0.test.sts.host.test", "d3.customer3.test.sts.host.test"} {
		if got, err := texts(resolver, name); err != nil || len(got) > 0 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	client := &dns.Client{Net: "tcp", Timeout: programPatience}
	var asking sync.WaitGroup
	places := make(chan struct{}, 64)
	for _, s := range sets {
		questions := map[string]string{"_mta-sts." + s.Domain: "v=STSv1; id=" + s.ID + ";"}
		if len(s.RUA) > 0 {
			questions["_smtp._tls."+s.Domain] = "v=TLSRPTv1; rua=" + strings.Join(s.RUA, ",")
		}
		for name, want := range questions {
			places <- struct{}{}
			asking.Go(func() {
				defer func() { <-places }()
				var last string
				for deadline := time.Now().Add(programPatience); time.Now().Before(deadline); { // as a sender would, later
					m, _, err := client.Exchange(new(dns.Msg).SetQuestion(name+".sts.host.test.", dns.TypeTXT), resolver)
					if err == nil && m.Rcode == dns.RcodeSuccess && len(m.Answer) == 1 && strings.Join(m.Answer[0].(*dns.TXT).Txt, "") == want {
						return
					}
					last = fmt.Sprint(m, err)
					if err == nil && (m.Rcode == dns.RcodeNameError || m.Rcode == dns.RcodeSuccess) {
						break // a wrong answer is no lack of one
					}
				}
				t.Errorf("%s: %s", name, last)
			})
		}
	}
	asking.Wait()
}
