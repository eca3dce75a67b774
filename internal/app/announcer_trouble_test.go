package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// A ledger that cannot be read at the start is taken up when it can: zone and files have all
// of it then, also of domains for which there is nothing to do.
func TestAnnounceLedgerComesLate(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := mtasts.ID(version("one"))
	err = errors.Join(
		l.Publish(time.Now(), []ledger.Publication{{Domain: "example.com", ID: id, Body: version("one")}}),
		l.Announce(time.Now(), []ledger.Announcement{{Domain: "example.com", ID: id, By: "the rig+export"}}))
	journal := filepath.Join(dir, "journal")
	if err = errors.Join(err, os.Rename(journal, journal+".away")); err != nil {
		t.Fatal(err)
	}
	late, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, t.TempDir(), config.DNS{Export: &config.DNSExport{File: filepath.Join(t.TempDir(), "all.zone")}})
	r.l, r.a.ledger = late, late
	r.a.files = newExporter(r.a.settings, slog.New(slog.DiscardHandler))
	r.a.begin()
	d := &config.Domain{Name: "example.com", Body: version("one"), ID: id}
	if len(r.a.files.sets) != 0 {
		t.Errorf("it knows %v", r.a.files.sets)
	}
	if err := errors.Join(os.Rename(journal+".away", journal), late.Refresh()); err != nil {
		t.Fatal(err)
	}
	r.a.touch(map[string]*config.Domain{"example.com": d}, nil)
	if got := r.a.files.sets["example.com"]; got.ID != id || len(r.a.tasks) != 0 {
		t.Errorf("files have %+v, to do %v", got, r.a.tasks)
	}
}

// What was seen before an edit does not count after it is taken back: replicas may serve
// the edit still.
func TestAnnounceSeenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{IDDelay: time.Hour})
		r.start()
		defer r.end()
		r.serve("example.com", "one")
		r.publish("example.com", "one")
		time.Sleep(time.Minute)
		r.want("seen, and waiting", "example.com > ")
		r.publish("example.com", "two")
		time.Sleep(10 * time.Minute)
		r.serve("example.com", "two")
		r.publish("example.com", "one") // which nobody serves now
		time.Sleep(3 * time.Hour)
		r.want("it is not served")
		r.serve("example.com", "one")
		time.Sleep(3 * time.Hour)
		r.want("it is served again", "example.com >one ")
	})
}

// The delay, and the look after it, are for each policy: what happens to other domains, or
// where to report to, shortens neither.
func TestAnnounceDelayIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{IDDelay: time.Hour})
		r.start()
		defer r.end()
		r.serve("example.com", "one")
		r.publish("example.com", "one")
		for range 50 {
			time.Sleep(time.Minute)
			r.publish("example.com", "one") // as when some other file is broken
		}
		r.want("in the delay", "example.com > ")
		r.publish("example.com", "one", "mailto:a@example.com")
		r.want("where to report to changes at once", "example.com > mailto:a@example.com")
		r.serve("example.com", "two") // a replica falls behind
		time.Sleep(15 * time.Minute)
		r.want("the second look finds it")
		r.serve("example.com", "one")
		time.Sleep(3 * time.Hour)
		r.want("in the end", "example.com >one mailto:a@example.com")
	})
}

// Touching a domain that fails does not have it tried at once, again and again.
func TestAnnounceBackoffIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		looks := 0
		r.a.see = func(context.Context, string, []byte) error { looks++; return errors.New("dead") }
		r.start()
		defer r.end()
		for range 600 {
			r.publish("example.com", "one")
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if looks > 8 {
			t.Errorf("looked %d times in 100 minutes", looks)
		}
		if len(r.a.amiss()) == 0 {
			t.Error("nothing is told")
		}
	})
}

// Thousands of domains whose hosts take no connection keep no edit waiting.
func TestAnnounceFailuresWaitForEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		see := r.a.see
		r.a.see = func(ctx context.Context, domain string, body []byte) error {
			if strings.HasPrefix(domain, "dead") {
				time.Sleep(10 * time.Second)
				return errors.New("no connection")
			}
			return see(ctx, domain, body)
		}
		r.start()
		defer r.end()
		for i := range 5000 {
			r.publish(fmt.Sprintf("dead%d.example", i), "one")
		}
		time.Sleep(6 * time.Hour)
		r.mu.Lock()
		r.did = nil
		r.mu.Unlock()
		r.serve("example.com", "one")
		r.publish("example.com", "one")
		time.Sleep(10 * time.Second)
		r.want("the edit", "example.com > ", "example.com >one ")
	})
}

// A way that is new brings about what others announced before; a domain that none covers is
// not announced, and not said to be.
func TestAnnounceByWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, dir, config.DNS{})
		r.a.ways, r.a.files = nil, newExporter(config.DNS{TTL: time.Hour, Export: &config.DNSExport{File: filepath.Join(t.TempDir(), "all.zone")}}, slog.New(slog.DiscardHandler))
		r.serve("example.com", "one")
		r.start()
		r.publish("example.com", "one", "mailto:a@example.com")
		time.Sleep(time.Minute)
		r.end()
		if a, _ := r.l.Announced("example.com"); short(a.ID) != "one" || a.By != "export" {
			t.Errorf("announced: %+v", a)
		}
		r = newRig(t, dir, config.DNS{})
		r.serve("elsewhere.example", "one")
		r.start()
		defer r.end()
		r.publish("example.com", "one", "mailto:a@example.com")
		r.publish("elsewhere.example", "one")
		time.Sleep(24 * time.Hour)
		r.want("the new way", "example.com >one mailto:a@example.com")
		if _, ok := r.l.Announced("elsewhere.example"); ok || len(r.a.tasks) != 0 {
			t.Errorf("a domain that no way covers is announced, or to do: %v", r.a.tasks)
		}
	})
}

// A way that cannot be gone does not take the zone with it, and is told of.
func TestAnnouncerUnusable(t *testing.T) {
	l, err := ledger.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := config.Settings{DNS: config.DNS{
		TTL: time.Hour, Target: []string{netip.MustParseAddr("192.0.2.1").String()},
		Zone:   &config.DNSZone{Name: "sts.example.net", NameServers: []string{"ns.example.net"}},
		Update: &config.DNSUpdate{Server: "192.0.2.53:53", Key: &config.TSIGKey{Name: "k", Algorithm: "hmac-sha256", SecretFile: "/no/such/file"}},
	}}
	a, err := newAnnouncer(s, l, slog.New(slog.DiscardHandler), time.Now)
	if err != nil || a == nil || a.zone == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	if lines := a.amiss(); len(lines) != 1 || !strings.Contains(lines[0], "dns.update: key: open /no/such/file") {
		t.Errorf("amiss: %q", lines)
	}
	a.run(t.Context()) // which announces nothing, and returns
}

// Files of domains that went when nobody could write them are emptied at the next start.
func TestExporterSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := config.DNS{TTL: time.Hour, Export: &config.DNSExport{Directory: dir, File: filepath.Join(dir, "all")}}
		o := dnsrecords.ExportOptions{TTL: time.Hour}
		gone := dnsrecords.Set{Domain: "gone.example", ID: "1"}
		err := errors.Join(
			dnsrecords.WriteDomainFile(dir, "gone.example", gone, true, o),
			dnsrecords.WriteZoneFile(d.Export.File, func(yield func(dnsrecords.Set) bool) { yield(gone) }, o),
			os.WriteFile(filepath.Join(dir, "others.zone"), []byte("x 1 IN A 192.0.2.1\n"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		newExporter(d, slog.New(slog.DiscardHandler)).take(nil, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		for file, want := range map[string]bool{"gone.example.zone": false, "all": false, "others.zone": true} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || strings.Contains(string(text), " IN ") != want {
				t.Errorf("%s: %s, %v", file, text, err)
			}
		}
	})
}

// With the ledger the server loses what it announced: what it has written is left for those
// of which DNS is to say that, which may have it from there.
func TestExporterLeavesEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := config.DNS{TTL: time.Hour, Export: &config.DNSExport{Directory: dir, File: filepath.Join(dir, "all")}}
		o := dnsrecords.ExportOptions{TTL: time.Hour}
		sets := []dnsrecords.Set{{Domain: "gone.example", ID: "1"}, {Domain: "waits.example", ID: "2"}}
		err := dnsrecords.WriteZoneFile(d.Export.File, slices.Values(sets), o)
		for _, s := range sets {
			err = errors.Join(err, dnsrecords.WriteDomainFile(dir, s.Domain, s, true, o))
		}
		if err != nil {
			t.Fatal(err)
		}
		var knows atomic.Bool
		x := newExporter(d, slog.New(slog.DiscardHandler))
		x.waits = func(domain string) bool { return domain == "waits.example" && !knows.Load() }
		x.waiting = func() bool { return !knows.Load() }
		want := func(when string, has map[string]bool) {
			t.Helper()
			synctest.Wait()
			for file, want := range has {
				text, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil || strings.Contains(string(text), " IN ") != want {
					t.Errorf("%s: %s: %s, %v", when, file, text, err)
				}
			}
		}
		x.take(nil, nil)
		time.Sleep(5 * time.Minute)
		want("as it waits", map[string]bool{"gone.example.zone": false, "waits.example.zone": true, "all": true})
		knows.Store(true)
		time.Sleep(2 * time.Minute)
		want("then", map[string]bool{"waits.example.zone": false, "all": false})
		knows.Store(false)
		x.take([]dnsrecords.Set{sets[0]}, nil)
		time.Sleep(time.Hour)
		want("after an hour", map[string]bool{"gone.example.zone": true, "all": true})
	})
}
