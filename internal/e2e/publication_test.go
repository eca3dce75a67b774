package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/mtasts"
)

// This file drives publication in DNS through the whole program: real name servers, the
// policy host on the port that senders use, and a resolver that follows the tenant's alias.

// nameServer starts a name server of Debian's in the foreground.
func nameServer(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s:\n%s", args[0], text)
		}
		log.Close()
	})
}

// freePort is a port that is free on addr, by UDP and TCP.
func freePort(t *testing.T, addr string) string {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			p.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

const tenantZone = `$TTL 60
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
@ IN MX 10 mx.tenant.test.
`

// startBIND serves tenant.test, with more lines, and lets who has the key change it.
func startBIND(t *testing.T, key string, lines ...string) (addr string) {
	t.Helper()
	return startNamed(t, fmt.Sprintf("key \"mtasts-server\" { algorithm hmac-sha256; secret %q; };", key),
		"update-policy { grant mtasts-server subdomain tenant.test. TXT CNAME A AAAA; };",
		map[string]string{"tenant.test": tenantZone + strings.Join(lines, "\n") + "\n"})
}

// startNamed serves zones, and refuses to speak of others. keys and policy are of its
// configuration: who there is, and who may change a zone.
func startNamed(t *testing.T, keys, policy string, zones map[string]string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf(`%s
options {
	directory "%s"; pid-file none; session-keyfile none;
	listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no;
};
controls { };
`, keys, dir, port)
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		must(os.WriteFile(filepath.Join(dir, zone+".zone"), []byte(zones[zone]), 0o666))
		conf += fmt.Sprintf("zone %q { type primary; file %q; %s };\n", zone, zone+".zone", policy)
	}
	must(os.WriteFile(filepath.Join(dir, "named.conf"), []byte(conf), 0o644))
	nameServer(t, "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	return net.JoinHostPort("127.0.0.1", port)
}

// startKnot does the same with Knot DNS.
func startKnot(t *testing.T, key string, lines ...string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	for name, text := range map[string]string{
		"tenant.test.zone": strings.Replace(tenantZone, "$TTL", "$ORIGIN tenant.test.\n$TTL", 1) + strings.Join(lines, "\n") + "\n",
		"knot.conf": fmt.Sprintf(`
server:
  rundir: "%[1]s"
  listen: 127.0.0.1@%[2]s
database:
  storage: "%[1]s"
log:
  - target: stderr
    any: info
key:
  - id: mtasts-server
    algorithm: hmac-sha256
    secret: %[3]s
acl:
  - id: update
    key: mtasts-server
    action: update
zone:
  - domain: tenant.test
    storage: "%[1]s"
    acl: update
`, dir, port, key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	nameServer(t, "knotd", "-c", filepath.Join(dir, "knot.conf"))
	return net.JoinHostPort("127.0.0.1", port)
}

// startUnbound is a resolver that finds zones at those servers.
func startUnbound(t *testing.T, zones map[string]string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	conf := fmt.Sprintf(`server:
  username: ""
  chroot: ""
  directory: "%s"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  interface: 127.0.0.1@%s
  do-not-query-localhost: no
  module-config: "iterator"
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  local-zone: "test." nodefault
remote-control:
  control-enable: no
`, dir, port)
	for zone, server := range zones {
		host, p, _ := net.SplitHostPort(server)
		conf += fmt.Sprintf("stub-zone:\n  name: %q\n  stub-addr: %s@%s\n", zone, host, p)
	}
	file := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	nameServer(t, "unbound", "-d", "-c", file)
	return net.JoinHostPort("127.0.0.1", port)
}

// texts asks a name server for TXT records.
func texts(server, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), programPatience)
	defer cancel()
	m, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), server)
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	}
	var found []string
	for _, rr := range m.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			found = append(found, strings.Join(txt.Txt, ""))
		}
	}
	return found, nil
}

// announces waits until the resolver says that the domain's TXT records are these.
func announces(t *testing.T, resolver, name string, want ...string) {
	t.Helper()
	eventually(t, name+" is announced", func() error {
		got, err := texts(resolver, name)
		if err == nil && strings.Join(got, "|") != strings.Join(want, "|") {
			err = fmt.Errorf("%q, want %q", got, want)
		}
		return err
	})
}

// publishing is a site whose policies are served where senders look for them, and announced
// as dns says.
func publishing(t *testing.T, address, resolver, dnsTables string) *site {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: policies are served on port 443")
	}
	s := newSite(t)
	s.write("mtasts-server.toml", strings.Replace(siteConfig, `https = ["127.0.0.1:0"]`, fmt.Sprintf("https = [%q]", address+":443"), 1)+fmt.Sprintf(`
[dns]
target = [%q]
resolvers = [%q]
private = true
ttl = "1s"
%s`, address, resolver, dnsTables))
	t.Setenv("SSL_CERT_FILE", s.rootFile()) // senders here trust the server's own CA
	return s
}

func tenantTable(mx string) string {
	return fmt.Sprintf("[domains.%q]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [%q]\ntlsrpt = [\"mailto:tlsrpt@tenant.test\"]\n", "tenant.test", mx)
}

func tenantRecord(mx string) string {
	body := mtasts.Policy{Mode: mtasts.ModeTesting, MaxAge: 86400, MX: []mtasts.MXPattern{mtasts.MXPattern(mx)}}.Body()
	return mtasts.Record{ID: mtasts.ID(body)}.String()
}

const tenantReports = "v=TLSRPTv1; rua=mailto:tlsrpt@tenant.test"

// A tenant publishes three aliases once; from then on the server answers for it, through a
// real resolver: the id follows the body.
func TestPublishDelegated(t *testing.T) {
	port := freePort(t, "127.0.0.1")
	bind := startBIND(t, testTSIG,
		"mta-sts IN CNAME mta-sts.tenant.test.sts.host.test.",
		"_mta-sts IN CNAME _mta-sts.tenant.test.sts.host.test.",
		"_smtp._tls IN CNAME _smtp._tls.tenant.test.sts.host.test.")
	resolver := startUnbound(t, map[string]string{"tenant.test": bind, "sts.host.test": "127.0.0.1:" + port})
	s := publishing(t, "127.44.1.1", resolver, fmt.Sprintf(`
[dns.zone]
name = "sts.host.test"
nameservers = ["ns1.sts.host.test"]
listen = ["127.0.0.1:%s"]
`, port))
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx1.tenant.test"))
	announces(t, resolver, "_smtp._tls.tenant.test", tenantReports)
	s.replace("policies/a.toml", tenantTable("mx2.tenant.test"))
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx2.tenant.test"))
	// A broken edit changes nothing.
	s.replace("policies/a.toml", "[domains.\"tenant.test\"]\nmode = \"often\"\n")
	p.says("1 domain served as last published")
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx2.tenant.test"))
	// Nor does kill -9 and a new start.
	p.kill()
	s.replace("policies/a.toml", tenantTable("mx2.tenant.test"))
	p = s.start()
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx2.tenant.test"))
	if out := s.run("records"); !strings.Contains(out, "1 as they should be") {
		t.Errorf("the verb records says:\n%s", out)
	}
	p.stop()
}

const testTSIG = "bXRhc3RzLXNlcnZlciB0ZXN0cyBrZXkgMDEyMzQ1Njc="

// The records come into a zone by dynamic update, beside those of others, and go with the
// domain.
func TestPublishByUpdate(t *testing.T) {
	t.Run("BIND", func(t *testing.T) { testPublishByUpdate(t, startBIND) })
	t.Run("Knot", func(t *testing.T) { testPublishByUpdate(t, startKnot) })
}

func testPublishByUpdate(t *testing.T, start func(t *testing.T, key string, lines ...string) string) {
	primary := start(t, testTSIG, `_mta-sts IN TXT "google-site-verification=1"`)
	resolver := startUnbound(t, map[string]string{"tenant.test": primary})
	s := publishing(t, "127.44.1.2", resolver, fmt.Sprintf(`
[dns.update]
server = %q
key = { name = "mtasts-server", secret = %q }
`, primary, testTSIG))
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	const other = "google-site-verification=1"
	announced := func(want ...string) {
		t.Helper()
		eventually(t, "the records are announced", func() error {
			got, err := texts(resolver, "_mta-sts.tenant.test")
			if err == nil && (len(got) != len(want) || !sameSet(got, want)) {
				err = fmt.Errorf("%q, want %q", got, want)
			}
			return err
		})
	}
	announced(other, tenantRecord("mx1.tenant.test"))
	announces(t, resolver, "_smtp._tls.tenant.test", tenantReports)
	s.replace("policies/a.toml", tenantTable("mx2.tenant.test"))
	announced(other, tenantRecord("mx2.tenant.test"))
	// The policy host was there before.
	if out := s.run("records"); !strings.Contains(out, "1 as they should be") {
		t.Errorf("the verb records says:\n%s", out)
	}
	// The domain leaves by force.
	s.replace("policies/a.toml", "")
	p.says("1 domain served as last published")
	s.run("forget", "tenant.test")
	announced(other)
	announces(t, resolver, "_smtp._tls.tenant.test")
	eventually(t, "the policy host's record is gone", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		m, _, err := new(dns.Client).ExchangeContext(ctx, new(dns.Msg).SetQuestion("mta-sts.tenant.test.", dns.TypeA), primary)
		if err == nil && len(m.Answer) > 0 {
			err = fmt.Errorf("%v", m.Answer)
		}
		return err
	})
	p.stop()
}

func sameSet(a, b []string) bool {
	for _, s := range a {
		found := false
		for _, o := range b {
			found = found || s == o
		}
		if !found {
			return false
		}
	}
	return true
}

// A record of somebody else's is left as it is, and told of, until dns.adopt says that it
// may be replaced.
func TestPublishLeavesOthers(t *testing.T) {
	const foreign = "v=STSv1; id=byhand;"
	bind := startBIND(t, testTSIG, fmt.Sprintf("_mta-sts IN TXT %q", foreign))
	resolver := startUnbound(t, map[string]string{"tenant.test": bind})
	tables := fmt.Sprintf(`
[dns.update]
server = %q
key = { name = "mtasts-server", secret = %q }
`, bind, testTSIG)
	s := publishing(t, "127.44.1.3", resolver, tables)
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	eventually(t, "the log tells of the record", func() error {
		if !strings.Contains(strings.Join(p.lines(), "\n"), "somebody else's record is there") {
			return errors.New("it does not")
		}
		return nil
	})
	announces(t, resolver, "_mta-sts.tenant.test", foreign)
	// The verb verify says so too, by what the running server tells it.
	out, _ := exec.Command(s.bin, "verify", "--config", s.path("mtasts-server.toml"), "--no-mx", "--quiet").CombinedOutput() // it exits with 1
	if !strings.Contains(string(out), "this server has not announced the id yet") {
		t.Errorf("the verb verify says:\n%s", out)
	}
	p.stop()
	text, err := os.ReadFile(s.path("mtasts-server.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("mtasts-server.toml", strings.Replace(string(text), "[dns]", "[dns]\nadopt = true", 1))
	p = s.start()
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx1.tenant.test"))
	p.stop()
}
