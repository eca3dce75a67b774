package certs

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// well is a Manager of the local CA on a disk of its own, whose storage was proved.
func well(t *testing.T) *Manager {
	t.Helper()
	m, err := New(Options{Source: SourceLocal, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	check(t, m.health.prove())
	if lines := m.Trouble(); len(lines) != 0 || !m.storable() {
		t.Fatalf("trouble: %q", lines)
	}
	return m
}

func wantTrouble(t *testing.T, m *Manager, words string) {
	t.Helper()
	lines := m.Trouble()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "certificates cannot be stored, and none is ordered, since ") || !strings.HasSuffix(lines[0], words) || m.storable() {
		t.Errorf("trouble: %q, want one line that ends with %q", lines, words)
	}
}

func TestStorageCannotBeWritten(t *testing.T) {
	m := well(t)
	dir := m.shelf.dir
	check(t, os.Rename(dir, dir+".away"))
	check(t, os.WriteFile(dir, nil, 0o600))
	if err := m.health.prove(); err == nil {
		t.Fatal("it can be")
	}
	since, _ := m.health.trouble()
	if err := m.health.prove(); err == nil {
		t.Fatal("it can be")
	}
	if again, _ := m.health.trouble(); !again.Equal(since) {
		t.Errorf("since %s, then since %s", since, again)
	}
	wantTrouble(t, m, "not a directory")

	check(t, os.Remove(dir))
	check(t, os.Rename(dir+".away", dir))
	check(t, m.health.prove())
	if lines := m.Trouble(); len(lines) != 0 || !m.storable() {
		t.Errorf("trouble: %q", lines)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStorageHangs(t *testing.T) {
	m := well(t)
	synctest.Test(t, func(t *testing.T) {
		m.health.began = time.Now()
		time.Sleep(answerWithin)
		if !m.storable() {
			t.Error("given up at once")
		}
		time.Sleep(time.Millisecond)
		wantTrouble(t, m, "it does not answer")
	})
}

// What could not be stored is stored when it can be, unless there is something newer.
func TestUnsavedCertificateIsStoredLater(t *testing.T) {
	sh, ca := openShelf(t), NewTestCA(t)
	const other = "mta-sts.example.net"
	check(t, os.Remove(sh.dir))
	issued := map[string]TestPair{}
	for _, host := range []string{host, other} {
		p := ca.Issue(t, TestLeaf{Names: []string{host}})
		if c, err := sh.put(host, "x", p.Key, p.Chain); c == nil || err == nil {
			t.Fatalf("%v, %v", c, err)
		}
		issued[host] = p
	}
	if n, err := sh.unsaved.save(); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	check(t, os.Mkdir(sh.dir, 0o700))
	issued[host] = ca.Issue(t, TestLeaf{Names: []string{host}})
	_, err := sh.put(host, "x", issued[host].Key, issued[host].Chain)
	check(t, err)
	for _, want := range []int{1, 0} {
		if n, err := sh.unsaved.save(); n != want || err != nil {
			t.Errorf("%d, %v, want %d", n, err, want)
		}
	}
	for host, p := range issued {
		c, err := sh.get(host)
		check(t, err)
		whole(t, host, c, p)
	}
}

func TestWrongClock(t *testing.T) {
	for _, c := range []struct {
		why  string
		ages []time.Duration // of certificates that live for 90 days
		want string
	}{
		{"there are none", nil, ""},
		{"all are good", []time.Duration{0, 80 * day}, ""},
		{"one has expired", []time.Duration{0, 100 * day}, ""},
		{"all have", []time.Duration{91 * day, 100 * day}, "every certificate has expired"},
		{"one is too young", []time.Duration{0, -10 * day}, ""},
		{"all are, by a little", []time.Duration{-maxEarly, -time.Minute}, ""},
		{"all are", []time.Duration{-365 * day, -2 * time.Hour}, "no certificate is valid yet"},
		{"some are too old, the others too young", []time.Duration{-2 * day, 100 * day}, ""},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				hosts := names("h", len(c.ages))
				m := serving(t, w, hosts...)
				for i, age := range c.ages {
					(*m.hosts.Load())[hosts[i]].cert.Store(aged(90*day, age))
				}
				if got := m.Summary().WrongClock(); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}
