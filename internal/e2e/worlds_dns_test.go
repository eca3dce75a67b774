package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Where the name servers are, on port 53 each: delegations name no port. Unbound walks
// from the root, which NSD has, with test.; that delegates the worlds to BIND, or to one
// that does not do what a name server should.
const (
	nsRoot   = "127.53.0.1"
	nsWorlds = "127.53.0.2"
	nsLame   = "127.53.0.3" // BIND, which knows nothing of them
	nsMute   = "127.53.0.4" // takes questions, and does not answer
	nsSlow   = "127.53.0.5" // has to think about each
	nsNobody = "127.53.0.9"

	// The resolver, and two that are slower: one than anybody waits.
	resolverAddr = "127.0.0.1:53"
	slowResolver = "127.53.0.10:53"
	tardyOne     = "127.53.0.11:53"
)

const (
	// thinking is what the slow ones take for an answer: less than Unbound waits before
	// it asks again. tardiness is more than the two seconds that verify waits.
	thinking  = 200 * time.Millisecond
	tardiness = 5 * time.Second
)

// nameServerNames are those that delegations give, below ns.test.
var nameServerNames = map[string]string{
	"root": nsRoot, "worlds": nsWorlds, "lame": nsLame, "mute": nsMute, "slow": nsSlow, "nobody": nsNobody,
}

// soa begins each zone.
const soa = "$TTL 60\n@ SOA root.ns.test. hostmaster 1 3600 600 86400 60\n"

// startDNS starts all name servers. Zones are by name; those of signed are signed.
func (n *internet) startDNS(t *testing.T, worlds []*world, zones map[string]string, signed []string) {
	t.Helper()
	startNSD(t, nsRoot, map[string]string{".": soa + "@ NS root.ns.test.\ntest. NS root.ns.test.\nroot.ns.test. A " + nsRoot + "\n", "test": topZone(worlds)})
	startNamedAt(t, nsWorlds, zones, signed)
	startNamedAt(t, nsLame, nil, nil)
	mute, err := net.ListenPacket("udp", nsMute+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	startDelay(t, nsSlow+":53", nsWorlds+":53", thinking)
	startValidating(t, n.trustAnchors(t, worlds, signed))
	startDelay(t, slowResolver, resolverAddr, thinking)
	startDelay(t, tardyOne, resolverAddr, tardiness)
	eventually(t, "the name servers answer", func() error {
		addr, err := lookupHost(resolverAddr, "good.mx.test")
		if err == nil && addr != mxPrefix+"1" {
			err = fmt.Errorf("the address of good.mx.test is %q", addr)
		}
		return err
	})
}

// topZone is test., which delegates the worlds to their name servers.
func topZone(worlds []*world) string {
	lines := []string{"@ NS root.ns.test.", "mx NS worlds.ns.test.", "secure NS worlds.ns.test."}
	for name, addr := range nameServerNames {
		lines = append(lines, name+".ns A "+addr)
	}
	for _, w := range worlds {
		if w.noZone {
			continue
		}
		servers := w.servers
		if servers == nil {
			servers = []string{"worlds"}
		}
		for _, name := range servers {
			lines = append(lines, w.domain()+". NS "+name+".ns.test.")
		}
	}
	return soa + strings.Join(lines, "\n") + "\n"
}

// startNSD serves zones by NSD.
func startNSD(t *testing.T, addr string, zones map[string]string) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf(`server:
  ip-address: %[2]s
  username: ""
  chroot: ""
  zonesdir: "%[1]s"
  database: ""
  pidfile: ""
  xfrdfile: "%[1]s/xfrd.state"
  xfrdir: "%[1]s"
  zonelistfile: "%[1]s/zone.list"
  server-count: 1
remote-control:
  control-enable: no
`, dir, addr)
	for name, text := range zones {
		file := filepath.Join(dir, "zone-"+name)
		writeZone(t, file, "$ORIGIN "+dns.Fqdn(name)+"\n"+text)
		conf += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name, file)
	}
	file := filepath.Join(dir, "nsd.conf")
	writeZone(t, file, conf)
	nameServer(t, "nsd", "-d", "-c", file)
}

// startNamedAt serves zones by BIND, and refuses to speak of others.
func startNamedAt(t *testing.T, addr string, zones map[string]string, signed []string) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf(`options {
	directory "%s"; pid-file none; session-keyfile none;
	listen-on { %s; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no;
};
controls { };
`, dir, addr)
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		writeZone(t, filepath.Join(dir, zone+".zone"), zones[zone])
		policy := ""
		if slices.Contains(signed, zone) {
			policy = "dnssec-policy default; inline-signing yes;"
		}
		conf += fmt.Sprintf("zone %q { type primary; file %q; %s };\n", zone, zone+".zone", policy)
	}
	file := filepath.Join(dir, "named.conf")
	writeZone(t, file, conf)
	nameServer(t, "named", "-g", "-c", file)
}

func writeZone(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trustAnchors are the keys of signed zones, once they are signed; for worlds whose
// signatures are not to be believed it is another key.
func (n *internet) trustAnchors(t *testing.T, worlds []*world, signed []string) (anchors []string) {
	t.Helper()
	for _, zone := range signed {
		bogus := slices.ContainsFunc(worlds, func(w *world) bool { return w.bogus && w.domain() == zone })
		eventually(t, zone+" is signed", func() error {
			q := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeDNSKEY).SetEdns0(4096, true)
			m, _, err := new(dns.Client).Exchange(q, nsWorlds+":53")
			if err != nil {
				return err
			}
			keys := 0
			for _, rr := range m.Answer {
				key, ok := rr.(*dns.DNSKEY)
				if !ok {
					continue
				}
				keys++
				if bogus {
					key.PublicKey = someKey()
				}
				anchors = append(anchors, key.String())
			}
			if keys == 0 || keys == len(m.Answer) { // there is no RRSIG
				anchors = anchors[:len(anchors)-keys]
				return errors.New("it is not yet")
			}
			return nil
		})
	}
	return anchors
}

// someKey is a key of P-256 that nobody has the other half of.
func someKey() string {
	key := make([]byte, 64)
	_, _ = rand.Read(key) // it does not fail
	return base64.StdEncoding.EncodeToString(key)
}

// startValidating starts Unbound, which asks from the root on, and believes what is
// signed by the keys.
func startValidating(t *testing.T, anchors []string) {
	t.Helper()
	dir := t.TempDir()
	writeZone(t, filepath.Join(dir, "root.hints"), ". 3600 NS root.ns.test.\nroot.ns.test. 3600 A "+nsRoot+"\n")
	host, port, _ := net.SplitHostPort(resolverAddr)
	conf := fmt.Sprintf(`server:
  username: ""
  chroot: ""
  directory: "%[1]s"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  interface: %[2]s@%[3]s
  do-not-query-localhost: no
  module-config: "validator iterator"
  root-hints: "%[1]s/root.hints"
  local-zone: "test." nodefault
`, dir, host, port)
	for _, key := range anchors {
		conf += fmt.Sprintf("  trust-anchor: %q\n", strings.ReplaceAll(key, "\t", " "))
	}
	file := filepath.Join(dir, "unbound.conf")
	writeZone(t, file, conf+"remote-control:\n  control-enable: no\n")
	nameServer(t, "unbound", "-d", "-c", file)
}

// startDelay is in front of a name server, and passes its answers on after a while.
func startDelay(t *testing.T, addr, server string, delay time.Duration) {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(out dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(delay)
		if m, _, err := new(dns.Client).Exchange(q, server); err == nil {
			_ = out.WriteMsg(m)
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-ended // closed
	})
}
