package certs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mtasts-server/certs"
)

// certbot keeps all versions in archive and lets links in live show the last one.
func TestCertbotLayout(t *testing.T) {
	for _, below := range []string{"", "live", "live/mta-sts.example.com"} { // what FilesDir names
		dir, ca := t.TempDir(), certs.NewTestCA(t)
		var versions []certs.TestPair
		renew := func() {
			n := len(versions) + 1
			p := ca.Issue(t, certs.TestLeaf{Names: []string{host}, NotBefore: time.Now().Add(time.Duration(n-10) * time.Hour)})
			versions = append(versions, p)
			for name, data := range map[string][]byte{"cert": p.Cert, "chain": bytes.TrimPrefix(p.Chain, p.Cert), "fullchain": p.Chain, "privkey": p.Key} {
				file := fmt.Sprintf("%s%d.pem", name, n)
				write(t, filepath.Join(dir, "archive", host), map[string][]byte{file: data})
				link(t, filepath.Join("../../archive", host, file), filepath.Join(dir, "live", host, name+".pem"))
			}
		}
		renew()
		write(t, dir, map[string][]byte{"live/README": []byte("hello"), "live/mta-sts.example.com/README": []byte("hello")})
		m, _ := openFiles(t, filepath.Join(dir, below), nil, host)
		serves(t, "first", m, host, versions[0], 2)
		renew()
		serves(t, "renewed, not reloaded", m, host, versions[0], 2)
		m.Reload()
		serves(t, "renewed", m, host, versions[1], 2)
		if h := m.Status()[0]; h.State != certs.StateOK || h.LastError != "" || h.Issuer != "Test Intermediate" {
			t.Errorf("%+v", h)
		}
	}
}

// Kubernetes replaces a secret by turning the link ..data to another directory.
func TestKubernetesLayout(t *testing.T) {
	dir, ca := t.TempDir(), certs.NewTestCA(t)
	update := func(n int, from time.Time) certs.TestPair {
		p := ca.Issue(t, certs.TestLeaf{Names: []string{host}, NotBefore: from})
		version := fmt.Sprintf("..2026_01_0%d", n)
		write(t, filepath.Join(dir, version), map[string][]byte{"tls.crt": p.Chain, "tls.key": p.Key})
		link(t, version, filepath.Join(dir, "..data_tmp"))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		return p
	}
	first := update(1, time.Now().Add(-2*time.Hour))
	link(t, "..data/tls.crt", filepath.Join(dir, "tls.crt"))
	link(t, "..data/tls.key", filepath.Join(dir, "tls.key"))
	m, _ := openFiles(t, dir, nil, host)
	serves(t, "first", m, host, first, 2)
	second := update(2, time.Now().Add(-time.Hour))
	must(t, os.RemoveAll(filepath.Join(dir, "..2026_01_01")))
	m.Reload()
	serves(t, "second", m, host, second, 2)
	// Going back to an older one is what the person wants.
	third := update(3, time.Now().Add(-24*time.Hour))
	m.Reload()
	serves(t, "third", m, host, third, 2)
}

// A directory that is a link is as good as any, wherever it leads.
func TestLinkedDirectory(t *testing.T) {
	dir, ca := t.TempDir(), certs.NewTestCA(t)
	var m *certs.Manager
	for _, release := range []string{"a", "b"} {
		p := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
		write(t, dir, map[string][]byte{release + "/tls.crt": p.Chain, release + "/sub/tls.key": p.Key})
		link(t, release, filepath.Join(dir, "current"))
		if m == nil {
			m, _ = openFiles(t, filepath.Join(dir, "current"), nil, host)
		}
		m.Reload()
		serves(t, release, m, host, p, 2)
	}
}

// While somebody writes, what is handed out is whole: the old one, or the new one.
func TestHalfWritten(t *testing.T) {
	dir, ca := t.TempDir(), certs.NewTestCA(t)
	old := ca.Issue(t, certs.TestLeaf{Names: []string{host}, NotBefore: time.Now().Add(-time.Hour)})
	next := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
	cert, key := filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")
	write(t, dir, map[string][]byte{"fullchain.pem": old.Chain, "privkey.pem": old.Key})
	m, _ := openFiles(t, dir, nil, host)
	for n := 0; n < len(next.Key)-2; n += 7 {
		must(t, os.WriteFile(key, next.Key[:n], 0o600))
		m.Reload()
		serves(t, fmt.Sprintf("%d bytes of the key", n), m, host, old, 2)
	}
	must(t, os.WriteFile(key, next.Key, 0o600))
	m.Reload()
	serves(t, "the key alone", m, host, old, 2)
	if h := m.Status()[0]; h.State != certs.StateFailing || h.LastError != fmt.Sprintf("no file has the private key of the certificate in %q; the one in use stays", cert) {
		t.Errorf("%+v", h)
	}
	for n := 0; n < len(next.Chain)-2; n += 7 {
		// Between two blocks nothing tells that another one was to come.
		if n >= len(next.Cert)-2 && n < len(next.Cert)+len("-----BEGIN ") {
			continue
		}
		must(t, os.WriteFile(cert, next.Chain[:n], 0o600))
		m.Reload()
		serves(t, fmt.Sprintf("%d bytes of the chain", n), m, host, old, 2)
	}
	must(t, os.WriteFile(cert, next.Chain, 0o600))
	m.Reload()
	serves(t, "all of it", m, host, next, 2)
	if h := m.Status()[0]; h.State != certs.StateOK || h.LastError != "" {
		t.Errorf("%+v", h)
	}
}

// What is gone from the disk is handed out on.
func TestDeletedFiles(t *testing.T) {
	ca := certs.NewTestCA(t)
	p := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
	for why, remove := range map[string]string{"the directory": "", "the key": "sub/key", "the certificate": "sub/cert", "a subdirectory": "sub"} {
		dir := filepath.Join(t.TempDir(), "certs")
		write(t, dir, map[string][]byte{"sub/cert": p.Chain, "sub/key": p.Key})
		m, _ := openFiles(t, dir, nil, host)
		must(t, os.RemoveAll(filepath.Join(dir, remove)))
		m.Reload()
		serves(t, why, m, host, p, 2)
		if h := m.Status()[0]; h.State != certs.StateFailing || !strings.HasSuffix(h.LastError, "; the one in use stays") {
			t.Errorf("%s: %+v", why, h)
		}
		m.Manage([]string{host})
		serves(t, why+", after another Manage", m, host, p, 2)

		next := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
		write(t, dir, map[string][]byte{"sub/cert": next.Chain, "sub/key": next.Key})
		m.Reload()
		serves(t, why+" is back", m, host, next, 2)
	}
}

// Size and time of a file that was written twice within a moment may be the same.
func TestRewrittenWithinAMoment(t *testing.T) {
	now := time.Now()
	dir, ca := t.TempDir(), certs.NewTestCA(t)
	path := filepath.Join(dir, "all.pem")
	issue := func() ([]byte, certs.TestPair) {
		p := ca.Issue(t, certs.TestLeaf{Names: []string{host}})
		return join(p.Chain, p.Key), p
	}
	data, p := issue()
	write(t, dir, map[string][]byte{"all.pem": data})
	must(t, os.Chtimes(path, now, now))
	m, _ := openFiles(t, dir, func() time.Time { return now }, host)
	serves(t, "first", m, host, p, 2)

	next, p := issue()
	for len(next) != len(data) { // signatures differ in length
		next, p = issue()
	}
	write(t, dir, map[string][]byte{"all.pem": next})
	must(t, os.Chtimes(path, now, now))
	m.Reload()
	serves(t, "second", m, host, p, 2)
}

// The best certificate is one that is valid, and the youngest of these; which one
// that is changes by the passing of time too.
func TestTheBestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, ca := t.TempDir(), certs.NewTestCA(t)
		began := time.Now()
		issue := func(file string, from, to time.Duration, name string) certs.TestPair {
			p := ca.Issue(t, certs.TestLeaf{Names: []string{name}, NotBefore: began.Add(from), NotAfter: began.Add(to)})
			write(t, dir, map[string][]byte{file: join(p.Chain, p.Key)})
			return p
		}
		issue("a-expired", -99*time.Hour, -time.Hour, host)
		first := issue("m-valid", -10*time.Hour, 10*time.Hour, host)
		issue("b-older", -11*time.Hour, 100*time.Hour, host)
		wild := issue("c-wildcard", 2*time.Hour, 20*time.Hour, "*.example.com")
		last := issue("z-future", 15*time.Hour, 30*time.Hour, host)

		m, _ := openFiles(t, dir, nil, host)
		defer run(t, m)()
		for _, c := range []struct {
			why  string
			at   time.Duration
			want certs.TestPair
		}{
			{"the youngest of the valid", 0, first},
			{"a younger one becomes valid", 2*time.Hour + time.Minute, wild},
			{"and another one", 15*time.Hour + time.Minute, last},
		} {
			time.Sleep(time.Until(began.Add(c.at)))
			synctest.Wait()
			serves(t, c.why, m, host, c.want, 2)
		}
		if h := m.Status()[0]; h.State != certs.StateOK || h.LastError != "" {
			t.Errorf("%+v", h)
		}
	})
}

// A certificate that has expired is better than none: senders in mode testing take
// it, and the person sees what is wrong.
func TestAllExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p := certs.NewTestCA(t).Issue(t, certs.TestLeaf{Names: []string{host}, NotAfter: time.Now().Add(time.Hour)})
		write(t, dir, map[string][]byte{"a": join(p.Chain, p.Key)})
		m, _ := openFiles(t, dir, nil, host)
		defer run(t, m)()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		serves(t, "expired", m, host, p, 2)
		h, sum := m.Status()[0], m.Summary()
		if h.State != certs.StateFailing || !strings.Contains(h.LastError, "expired on 2000-01-01T01:00:00Z") || sum.Ready != 0 || sum.Failing != 1 {
			t.Errorf("%+v, %+v", h, sum)
		}
	})
}

func TestWatchDirs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string][]byte{"a/b/x": nil, ".hidden/x": nil})
	old := time.Now().Add(-time.Hour) // no reason to read it again
	must(t, os.Chtimes(filepath.Join(dir, "a/b/x"), old, old))
	m, _ := openFiles(t, dir, nil)
	want := func(why string, below ...string) {
		t.Helper()
		all := []string{dir}
		for _, name := range below {
			all = append(all, filepath.Join(dir, name))
		}
		if got := m.WatchDirs(); !slices.Equal(got, all) {
			t.Errorf("%s: %q, want %q", why, got, all)
		}
	}
	want("at the start", "a", "a/b")
	must(t, os.Mkdir(filepath.Join(dir, "c"), 0o700)) // what comes into it is to be seen
	m.Reload()
	want("a new one that is empty", "a", "a/b", "c")
	must(t, os.RemoveAll(filepath.Join(dir, "a")))
	m.Reload()
	want("one less", "c")
	if l, _ := local(t, t.TempDir(), nil); l.WatchDirs() != nil {
		t.Error("the local CA has nothing to watch")
	}
}

// What is no file is not waited for.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	p := certs.NewTestCA(t).Issue(t, certs.TestLeaf{Names: []string{host}})
	write(t, dir, map[string][]byte{"z/cert": p.Chain, "z/key": p.Key})
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	link(t, "nowhere", filepath.Join(dir, "dangling"))
	link(t, "loop", filepath.Join(dir, "loop"))
	link(t, "..", filepath.Join(dir, "z", "parent"))
	link(t, "/dev/zero", filepath.Join(dir, "zero"))
	m, _ := openFiles(t, dir, nil, host)
	serves(t, "beside them", m, host, p, 2)
}

func TestFilesEnd(t *testing.T) {
	defer noLeak(t)()
	m, _ := openFiles(t, t.TempDir(), nil, host)
	run(t, m)()
	if m.NextProtos() != nil || m.LocalRoot() != "" {
		t.Errorf("%q, %q", m.NextProtos(), m.LocalRoot())
	}
}
