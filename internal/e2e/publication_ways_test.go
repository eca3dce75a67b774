package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/dnsrecords"
	"mtasts-server/mtasts"
)

// This file is about the ways into other people's zones, each against BIND.

// The example hook brings the records into a zone by nsupdate.
func TestPublishByHook(t *testing.T) {
	bind := startBIND(t, testTSIG)
	resolver := startUnbound(t, map[string]string{"tenant.test": bind})
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
	t.Setenv("NSUPDATE_SERVER", host)
	t.Setenv("NSUPDATE_PORT", port)
	t.Setenv("NSUPDATE_KEY", key)
	s := publishing(t, "127.44.1.4", resolver, fmt.Sprintf("[dns.hook]\ncommand = [%q]\n", script))
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx1.tenant.test"))
	announces(t, resolver, "_smtp._tls.tenant.test", tenantReports)
	s.replace("policies/a.toml", tenantTable("mx2.tenant.test"))
	announces(t, resolver, "_mta-sts.tenant.test", tenantRecord("mx2.tenant.test"))
	p.stop()
}

// BIND includes the file of a domain into its zone, and takes it for what it is.
func TestPublishByExport(t *testing.T) {
	bind := startBIND(t, testTSIG, "mta-sts IN A 127.44.1.5")
	resolver := startUnbound(t, map[string]string{"tenant.test": bind})
	s := publishing(t, "127.44.1.5", resolver, "[dns.export]\ndirectory = \"zones\"\nfile = \"all.zone\"\n")
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	for _, name := range []string{"zones/tenant.test.zone", "all.zone"} {
		eventually(t, name+" has the record", func() error {
			text, err := os.ReadFile(s.path(name))
			if err == nil && !strings.Contains(string(text), fmt.Sprintf("_mta-sts.tenant.test. 1 IN TXT %q", tenantRecord("mx1.tenant.test"))) {
				err = fmt.Errorf("it is %q", text)
			}
			return err
		})
		zone := filepath.Join(t.TempDir(), "tenant.zone")
		if err := os.WriteFile(zone, fmt.Appendf(nil, "%s$INCLUDE %s\n", tenantZone, s.path(name)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("named-checkzone", "-D", "tenant.test", zone).CombinedOutput()
		if err != nil || !strings.Contains(string(out), tenantRecord("mx1.tenant.test")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	p.stop()
}

// What goes wrong with an update is told with what to do.
func TestUpdateErrors(t *testing.T) {
	bind := startBIND(t, testTSIG)
	const other = "b3RoZXIgc2VjcmV0IG9mIHRoZSBzYW1lIGxlbmd0aCAwMQ=="
	good := &dnsrecords.TSIG{Name: "mtasts-server", Algorithm: "hmac-sha256", Secret: testTSIG}
	set := func(domain string) dnsrecords.Set { return dnsrecords.Set{Domain: domain, ID: "abc1"} }
	eventually(t, "BIND answers", func() error {
		_, err := texts(bind, "tenant.test")
		return err
	})
	for _, c := range []struct {
		why    string
		domain string
		server string
		key    *dnsrecords.TSIG
		want   string
	}{
		{"another secret", "tenant.test", bind, &dnsrecords.TSIG{Name: "mtasts-server", Algorithm: "hmac-sha256", Secret: other}, "refuses the key \"mtasts-server\" (BADSIG): the key's secret or algorithm differs"},
		{"a key it does not know", "tenant.test", bind, &dnsrecords.TSIG{Name: "stranger", Algorithm: "hmac-sha256", Secret: testTSIG}, "refuses the key \"stranger\" (BADKEY): it does not know the key: check its name"},
		{"no key", "tenant.test", bind, nil, "says REFUSED to an update of tenant.test.: allow the key, or our address"},
		{"a zone of somebody else's", "elsewhere.test", bind, good, "does not answer for a zone that _mta-sts.elsewhere.test lies in (REFUSED): leave the domain out by dns.update.zones"},
		{"nobody there", "tenant.test", "127.0.0.1:1", good, "asking 127.0.0.1:1: "},
	} {
		u, err := dnsrecords.NewUpdater(dnsrecords.UpdaterOptions{Server: c.server, TSIG: c.key, TTL: time.Hour, Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Apply(t.Context(), set(c.domain), dnsrecords.Set{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.why, err, c.want)
		}
	}
	if got, err := texts(bind, "_mta-sts.tenant.test"); err != nil || len(got) > 0 {
		t.Errorf("something was published: %q, %v", got, err)
	}
}

// A dry run tells what it would do, and a second update changes nothing. Of two servers that
// update at the same time one has to look again.
func TestUpdateTwice(t *testing.T) {
	bind := startBIND(t, testTSIG)
	eventually(t, "BIND answers", func() error {
		_, err := texts(bind, "tenant.test")
		return err
	})
	updater := func(dry bool) *dnsrecords.Updater {
		u, err := dnsrecords.NewUpdater(dnsrecords.UpdaterOptions{
			Server: bind, TSIG: &dnsrecords.TSIG{Name: "mtasts-server", Algorithm: "hmac-sha256", Secret: testTSIG},
			TTL: time.Hour, Target: []string{"policy.example.net"}, DryRun: dry,
		})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	want := dnsrecords.Set{Domain: "tenant.test", ID: "abc1", RUA: []string{`https://example.com/"\`}}
	dry, err := updater(true).Apply(t.Context(), want, dnsrecords.Set{})
	if err != nil || len(dry.Changed) != 3 || !strings.HasPrefix(dry.Changed[0], "+ mta-sts.tenant.test. 3600 IN CNAME policy.example.net.") {
		t.Errorf("a dry run: %q, %v", dry.Changed, err)
	}
	if got, _ := texts(bind, "_mta-sts.tenant.test"); len(got) > 0 {
		t.Errorf("the dry run published %q", got)
	}
	for i, changes := range []int{3, 0} {
		did, err := updater(false).Apply(t.Context(), want, dnsrecords.Set{})
		if err != nil || len(did.Changed) != changes || len(did.Foreign) > 0 {
			t.Errorf("update %d: %+v, %v", i, did, err)
		}
	}
	// An id of ours is known as such also by who did not note it, as after kill -9.
	forgotten := want
	forgotten.ID = mtasts.ID([]byte("announced, and not noted"))
	for _, step := range []dnsrecords.Set{forgotten, want} {
		before := want
		if step.ID == want.ID {
			before = dnsrecords.Set{}
		}
		if did, err := updater(false).Apply(t.Context(), step, before); err != nil || len(did.Foreign) > 0 {
			t.Errorf("%s: %+v, %v", step.ID, did, err)
		}
	}
	if got, err := texts(bind, "_mta-sts.tenant.test"); err != nil || len(got) != 1 || got[0] != "v=STSv1; id=abc1;" {
		t.Errorf("there is %q, %v", got, err)
	}
	// Many at once: each succeeds, or is told to try again, and in the end one record stands.
	ended := make(chan error, 8)
	for i := range cap(ended) {
		go func() {
			next := want
			next.ID = fmt.Sprintf("next%d", i)
			_, err := updater(false).Apply(context.Background(), next, want)
			ended <- err
		}()
	}
	won := 0
	for range cap(ended) {
		if err := <-ended; err == nil {
			won++
		} else if !strings.Contains(err.Error(), "somebody") {
			t.Errorf("%v", err)
		}
	}
	got, err := texts(bind, "_mta-sts.tenant.test")
	if err != nil || len(got) != 1 || won == 0 {
		t.Errorf("%d of them won, and there is %q, %v", won, got, err)
	}
	if _, err := updater(false).Leave(t.Context(), "tenant.test"); err != nil {
		t.Error(err)
	}
}

// A wildcard, as many zones have against mail in their name, answers at every name that is
// not there; records of ours can stand there all the same, and go again.
func TestUpdateUnderWildcard(t *testing.T) {
	for name, start := range map[string]func(*testing.T, string, ...string) string{"BIND": startBIND, "Knot": startKnot} {
		t.Run(name, func(t *testing.T) {
			primary := start(t, testTSIG, `* IN TXT "v=spf1 -all"`, "* IN A 192.0.2.99", "* IN AAAA 2001:db8::99")
			eventually(t, "the primary answers", func() error {
				_, err := texts(primary, "tenant.test")
				return err
			})
			u, err := dnsrecords.NewUpdater(dnsrecords.UpdaterOptions{
				Server: primary, TSIG: &dnsrecords.TSIG{Name: "mtasts-server", Algorithm: "hmac-sha256", Secret: testTSIG},
				TTL: time.Hour, Target: []string{"192.0.2.1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			none := dnsrecords.Set{Domain: "tenant.test"}
			want := dnsrecords.Set{Domain: "tenant.test", ID: "abc1", RUA: []string{"mailto:tlsrpt@tenant.test"}}
			if did, err := u.Apply(t.Context(), want, none); err != nil || len(did.Changed) != 3 {
				t.Errorf("%q, %v", did.Changed, err)
			}
			if got, err := texts(primary, "_mta-sts.tenant.test"); err != nil || len(got) != 1 || got[0] != "v=STSv1; id=abc1;" {
				t.Errorf("there is %q, %v", got, err)
			}
			_, err = u.Withdraw(t.Context(), want)
			if err == nil {
				_, err = u.Leave(t.Context(), "tenant.test")
			}
			if got, terr := texts(primary, "_mta-sts.tenant.test"); err != nil || terr != nil || len(got) != 1 || got[0] != "v=spf1 -all" {
				t.Errorf("there is %q, %v, %v", got, err, terr)
			}
		})
	}
}

// dig, which asks in more ways than a resolver does, understands the zone.
func TestZoneByDig(t *testing.T) {
	port := freePort(t, "127.0.0.1")
	resolver := startUnbound(t, map[string]string{"sts.host.test": "127.0.0.1:" + port})
	s := publishing(t, "127.44.1.6", resolver, fmt.Sprintf(`
[dns.zone]
name = "sts.host.test"
nameservers = ["ns1.sts.host.test"]
listen = ["127.0.0.1:%s"]
`, port))
	s.write("policies/a.toml", tenantTable("mx1.tenant.test"))
	p := s.start()
	dig := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dig", append([]string{"@127.0.0.1", "-p", port, "+noall", "+comments", "+answer", "+authority"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("dig %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	eventually(t, "the zone is served", func() error {
		if out := dig("sts.host.test", "SOA"); !strings.Contains(out, "status: NOERROR") {
			return errors.New(out)
		}
		return nil
	})
	for _, c := range []struct {
		args, want string
	}{
		{"_smtp._tls.tenant.test.sts.host.test TXT", `"v=TLSRPTv1; rua=mailto:tlsrpt@tenant.test"`},
		{"_smtp._tls.tenant.test.sts.host.test TXT +tcp", `"v=TLSRPTv1; rua=mailto:tlsrpt@tenant.test"`},
		{"_smtp._tls.tenant.test.sts.host.test TXT +dnssec +bufsize=4096 +cookie", `"v=TLSRPTv1; rua=mailto:tlsrpt@tenant.test"`},
		{"_smtp._tls.tenant.test.sts.host.test TXT +noedns", `"v=TLSRPTv1; rua=mailto:tlsrpt@tenant.test"`},
		{"mta-sts.tenant.test.sts.host.test A", "127.44.1.6"},
		{"nobody.test.sts.host.test TXT", "status: NXDOMAIN"},
		{"test.sts.host.test TXT", "status: NOERROR"},
		{"tenant.test TXT", "status: REFUSED"},
		{"sts.host.test SOA +edns=1 +noednsneg", "status: BADVERS"},
		{"sts.host.test NS", "ns1.sts.host.test."},
		{"sts.host.test AXFR", "Transfer failed"},
	} {
		if out := dig(strings.Fields(c.args)...); !strings.Contains(out, c.want) || strings.Contains(out, "WARNING: recursion") && strings.Contains(out, "ra;") {
			t.Errorf("dig %s:\n%s\nwant %s", c.args, out, c.want)
		}
	}
	p.stop()
}
