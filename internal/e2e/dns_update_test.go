package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/dnsrecords"
)

// This file is about what name servers of others make of our updates: the room alone,
// against BIND, Knot and PowerDNS.

// startPowerDNS does the same as startBIND, with PowerDNS and a database of its own.
func startPowerDNS(t *testing.T, key string, lines ...string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t, "127.0.0.1")
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"pdns.conf": fmt.Sprintf(`
launch=gsqlite3
gsqlite3-database=%[1]s/zones.db
socket-dir=%[1]s
local-address=127.0.0.1
local-port=%[2]s
daemon=no
guardian=no
setuid=
setgid=
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
`, dir, port),
		"zone": tenantZone + strings.Join(lines, "\n") + "\n",
	} {
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"python3", "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())", path("zones.db"), "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"},
		{"pdnsutil", "--config-dir", dir, "load-zone", "tenant.test", path("zone")},
		{"pdnsutil", "--config-dir", dir, "import-tsig-key", "mtasts-server", "hmac-sha256", key},
		{"pdnsutil", "--config-dir", dir, "set-meta", "tenant.test", "TSIG-ALLOW-DNSUPDATE", "mtasts-server"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	nameServer(t, "pdns_server", "--config-dir="+dir)
	return net.JoinHostPort("127.0.0.1", port)
}

// primaries are the name servers that updates are tried on.
var primaries = []struct {
	name  string
	start func(t *testing.T, key string, lines ...string) string
}{{"BIND", startBIND}, {"Knot", startKnot}, {"PowerDNS", startPowerDNS}}

// tenantUpdater updates tenant.test at a primary.
func tenantUpdater(t *testing.T, server string, o dnsrecords.UpdaterOptions) *dnsrecords.Updater {
	t.Helper()
	o.Server, o.TTL = server, time.Hour
	if o.TSIG == nil {
		o.TSIG = &dnsrecords.TSIG{Name: "mtasts-server", Algorithm: "hmac-sha256", Secret: testTSIG}
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	u, err := dnsrecords.NewUpdater(o)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the name server answers", func() error {
		_, err := texts(server, "tenant.test")
		return err
	})
	return u
}

// lines are the records of a kind at a name, with their TTLs, sorted.
func lines(t *testing.T, server, name string, kind uint16) []string {
	t.Helper()
	m, _, err := (&dns.Client{Net: "tcp", Timeout: programPatience}).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), server)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rr := range m.Answer {
		found = append(found, fmt.Sprintf("%d %s", rr.Header().Ttl, strings.TrimPrefix(rr.String(), rr.Header().String())))
	}
	slices.Sort(found)
	return found
}

func tenantSet(id string) dnsrecords.Set {
	return dnsrecords.Set{Domain: "tenant.test", ID: id, RUA: []string{"mailto:a@tenant.test", `https://tenant.test/"\` + strings.Repeat("x", 300)}}
}

// The life of a domain's records in a zone of others: what is theirs stays as it is.
func TestUpdatePrimaries(t *testing.T) {
	for _, p := range primaries {
		t.Run(p.name, func(t *testing.T) {
			server := p.start(t, testTSIG, `_mta-sts IN TXT "other"`, `_mta-sts IN TXT "spf;1"`)
			u := tenantUpdater(t, server, dnsrecords.UpdaterOptions{Target: []string{"policy.host.test"}})
			apply := func(want, before dnsrecords.Set, changes int) {
				t.Helper()
				o, err := u.Apply(t.Context(), want, before)
				if err != nil || len(o.Foreign) > 0 || len(o.Changed) != changes {
					t.Fatalf("%+v, %v", o, err)
				}
			}
			is := func(name string, kind uint16, want ...string) {
				t.Helper()
				if got := lines(t, server, name+".tenant.test", kind); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			apply(tenantSet("a1"), dnsrecords.Set{}, 3)
			is("_mta-sts", dns.TypeTXT, `60 "other"`, `60 "spf;1"`, `60 "v=STSv1; id=a1;"`)
			is("mta-sts", dns.TypeCNAME, "3600 policy.host.test.")
			if got := lines(t, server, "_smtp._tls.tenant.test", dns.TypeTXT); len(got) != 1 || !strings.HasPrefix(got[0], `3600 "v=TLSRPTv1; rua=mailto:a@tenant.test,https://tenant.test/\"\\xxx`) {
				t.Errorf("%q", got)
			}
			apply(tenantSet("a1"), dnsrecords.Set{}, 0)
			apply(tenantSet("b2"), tenantSet("a1"), 2)
			is("_mta-sts", dns.TypeTXT, `60 "other"`, `60 "spf;1"`, `60 "v=STSv1; id=b2;"`)

			// Of many that update at a time, each succeeds or is told that it was too late.
			ended := make(chan error)
			for i := range 6 {
				other := tenantUpdater(t, server, dnsrecords.UpdaterOptions{})
				go func() {
					_, err := other.Apply(context.Background(), tenantSet(fmt.Sprintf("c%d", i)), tenantSet("b2"))
					ended <- err
				}()
			}
			won := 0
			for range 6 {
				if err := <-ended; err == nil {
					won++
				} else if !strings.Contains(err.Error(), "somebody") {
					t.Error(err)
				}
			}
			there := lines(t, server, "_mta-sts.tenant.test", dns.TypeTXT)
			if won == 0 || len(there) != 3 {
				t.Fatalf("%d have won, and there is %q", won, there)
			}
			last := tenantSet(strings.TrimSuffix(strings.TrimPrefix(there[2], `60 "v=STSv1; id=`), `;"`))

			apply(dnsrecords.Set{Domain: "tenant.test"}, last, 2)
			is("_mta-sts", dns.TypeTXT, `60 "other"`, `60 "spf;1"`)
			is("_smtp._tls", dns.TypeTXT)
			if o, err := u.Leave(t.Context(), "tenant.test"); err != nil || len(o.Changed) != 1 {
				t.Errorf("%+v, %v", o, err)
			}
			is("mta-sts", dns.TypeCNAME)
		})
	}
}

// All algorithms of TSIG that we offer are those of BIND.
func TestUpdateAlgorithms(t *testing.T) {
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"} {
		t.Run(algorithm, func(t *testing.T) {
			dir, port := t.TempDir(), freePort(t, "127.0.0.1")
			for name, text := range map[string]string{
				"tenant.zone": tenantZone,
				"named.conf": fmt.Sprintf(`
key "k" { algorithm %s; secret "%s"; };
options { directory "%s"; pid-file none; session-keyfile none; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; notify no; };
controls { };
zone "tenant.test" { type primary; file "tenant.zone"; allow-update { key "k"; }; };
`, algorithm, testTSIG, dir, port),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			nameServer(t, "named", "-g", "-c", filepath.Join(dir, "named.conf"))
			u := tenantUpdater(t, net.JoinHostPort("127.0.0.1", port), dnsrecords.UpdaterOptions{TSIG: &dnsrecords.TSIG{Name: "k", Algorithm: algorithm, Secret: testTSIG}})
			if o, err := u.Apply(t.Context(), tenantSet("a1"), dnsrecords.Set{}); err != nil || len(o.Changed) != 2 {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// The example hook sets and removes what a domain may have: several addresses, and a text in
// several strings, beside records of others.
func TestHookNsupdate(t *testing.T) {
	bind := startBIND(t, testTSIG, `_smtp._tls IN TXT "other"`)
	eventually(t, "BIND answers", func() error {
		_, err := texts(bind, "tenant.test")
		return err
	})
	host, port, err := net.SplitHostPort(bind)
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../../examples/hooks/nsupdate.sh")
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, fmt.Appendf(nil, "key \"mtasts-server\" { algorithm hmac-sha256; secret %q; };\n", testTSIG), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"NSUPDATE_SERVER": host, "NSUPDATE_PORT": port, "NSUPDATE_KEY": key} {
		t.Setenv(name, value)
	}
	h, err := dnsrecords.NewHook(dnsrecords.HookOptions{Command: []string{script}, Timeout: programPatience})
	if err != nil {
		t.Fatal(err)
	}
	do := func(cs []dnsrecords.Change) {
		t.Helper()
		for _, c := range cs {
			for range 2 { // it may be given the same change twice
				if err := h.Do(t.Context(), c); err != nil {
					t.Fatalf("%+v: %v", c, err)
				}
			}
		}
	}
	target := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}
	full, none := tenantSet("a1"), dnsrecords.Set{Domain: "tenant.test"}
	do(dnsrecords.Changes(full, none, true, target, time.Minute))
	if got := lines(t, bind, "mta-sts.tenant.test", dns.TypeA); !slices.Equal(got, []string{"60 192.0.2.1", "60 192.0.2.2"}) {
		t.Errorf("%q", got)
	}
	got := lines(t, bind, "_smtp._tls.tenant.test", dns.TypeTXT)
	text := strings.NewReplacer(`" "`, "", `\\`, `\`, `\"`, `"`).Replace(strings.Join(got, "|"))
	if want := `60 "other"|60 "v=TLSRPTv1; rua=` + strings.Join(full.RUA, ",") + `"`; text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	do(dnsrecords.Changes(none, full, false, target, time.Minute))
	do(dnsrecords.Leaving("tenant.test", target, time.Minute))
	for name, want := range map[string]int{"mta-sts": 0, "_mta-sts": 0, "_smtp._tls": 1} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT} {
			if got := lines(t, bind, name+".tenant.test", kind); len(got) != want && kind == dns.TypeTXT || len(got) > 0 && kind != dns.TypeTXT {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}

// lossy passes datagrams on to a name server, and loses its answers while it is told so.
type lossy struct {
	addr  string
	loses atomic.Bool // answers to updates
	lost  atomic.Int64
}

func startLossy(t *testing.T, server string) *lossy {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &lossy{addr: p.LocalAddr().String()}
	t.Cleanup(func() { p.Close() })
	go func() {
		for {
			buf := make([]byte, 4096)
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			c, err := net.Dial("udp", server)
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer := make([]byte, 4096)
				_, _ = c.Write(buf[:n])
				_ = c.SetReadDeadline(time.Now().Add(programPatience))
				m, err := c.Read(answer)
				if err != nil {
					return
				}
				if buf[2]>>3&0xf == dns.OpcodeUpdate && x.loses.Load() {
					x.lost.Add(1)
					return
				}
				_, _ = p.WriteTo(answer[:m], from)
			}()
		}
	}()
	return x
}

// The answer to an update is lost, and then the policy is edited: what stands there is known
// to be ours, although nothing says so.
func TestUpdateLostAnswer(t *testing.T) {
	bind := startBIND(t, testTSIG)
	way := startLossy(t, bind)
	set := func(id string) dnsrecords.Set { return dnsrecords.Set{Domain: "tenant.test", ID: id} }
	u := tenantUpdater(t, bind, dnsrecords.UpdaterOptions{})
	if _, err := u.Apply(t.Context(), set("a1"), dnsrecords.Set{}); err != nil {
		t.Fatal(err)
	}
	u = tenantUpdater(t, way.addr, dnsrecords.UpdaterOptions{Timeout: time.Second})
	way.loses.Store(true)
	eventually(t, "an answer is lost", func() error {
		if _, err := u.Apply(t.Context(), set("b2"), set("a1")); err == nil || way.lost.Load() == 0 {
			return fmt.Errorf("%d are, %v", way.lost.Load(), err)
		}
		return nil
	})
	if got, err := texts(bind, "_mta-sts.tenant.test"); err != nil || len(got) != 1 || got[0] != "v=STSv1; id=b2;" {
		t.Fatalf("%q, %v", got, err)
	}
	way.loses.Store(false)
	eventually(t, "the edit is published", func() error {
		o, err := u.Apply(t.Context(), set("c3"), set("a1"))
		if err == nil && len(o.Foreign) > 0 {
			err = fmt.Errorf("%q", o.Foreign)
		}
		return err
	})
	if got, err := texts(bind, "_mta-sts.tenant.test"); err != nil || len(got) != 1 || got[0] != "v=STSv1; id=c3;" {
		t.Errorf("%q, %v", got, err)
	}
}

// What the zone has already stands in the way, in ways that an update does not tell.
func TestUpdateInTheWay(t *testing.T) {
	for _, c := range []struct {
		why   string
		lines []string
		want  []string // one of them
	}{
		{"a CNAME cannot stand beside a TXT", []string{`mta-sts IN TXT "here"`}, []string{"took the update, and has no record of mta-sts.tenant.test", "says REFUSED to an update of tenant.test."}},
		{"where to report to is in a zone of others", []string{"_tls IN NS ns.elsewhere.test."}, []string{"does not answer for a zone that _smtp._tls.tenant.test lies in"}},
	} {
		for _, p := range primaries {
			t.Run(p.name+": "+c.why, func(t *testing.T) {
				server := p.start(t, testTSIG, c.lines...)
				u := tenantUpdater(t, server, dnsrecords.UpdaterOptions{Target: []string{"policy.host.test"}})
				if _, err := u.Apply(t.Context(), dnsrecords.Set{Domain: "tenant.test", RUA: []string{"mailto:a@tenant.test"}}, dnsrecords.Set{}); err == nil || !slices.ContainsFunc(c.want, func(want string) bool { return strings.Contains(err.Error(), want) }) {
					t.Errorf("%v, want one of %q", err, c.want)
				}
			})
		}
	}
}

// Name servers read the zone files that we write: texts with all that they may hold.
func TestExportedRecordsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.zone")
	sets := []dnsrecords.Set{tenantSet("a1"), {Domain: "sub.tenant.test", ID: "b2", RUA: []string{`https://tenant.test/;"\` + strings.Repeat(`"\`, 400)}}}
	if err := dnsrecords.WriteZoneFile(file, slices.Values(sets), dnsrecords.ExportOptions{TTL: time.Hour, Target: []string{"192.0.2.1", "2001:db8::1"}}); err != nil {
		t.Fatal(err)
	}
	for _, p := range primaries {
		server := p.start(t, testTSIG, includeLine(t, p.name, file))
		eventually(t, p.name+" answers", func() error {
			_, err := texts(server, "tenant.test")
			return err
		})
		eventually(t, p.name+" has the records", func() error {
			for _, s := range sets {
				got := lines(t, server, "_smtp._tls."+s.Domain, dns.TypeTXT)
				text := strings.NewReplacer(`" "`, "", `\\`, `\`, `\"`, `"`).Replace(strings.Join(got, "|"))
				if want := `3600 "v=TLSRPTv1; rua=` + strings.Join(s.RUA, ",") + `"`; text != want {
					return fmt.Errorf("%q, want %q", text, want)
				}
			}
			if got := lines(t, server, "mta-sts.sub.tenant.test", dns.TypeAAAA); len(got) != 1 || got[0] != "3600 2001:db8::1" {
				return errors.New(strings.Join(got, "; "))
			}
			return nil
		})
	}
}

// includeLine has a primary read a zone file besides its own.
func includeLine(t *testing.T, primary, file string) string {
	t.Helper()
	if primary != "PowerDNS" {
		return "$INCLUDE " + file
	}
	text, err := os.ReadFile(file) // pdnsutil follows no paths
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
