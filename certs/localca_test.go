package certs_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/certs"
)

// A local CA that is of no use is replaced, and so are the certificates that it
// issued, while they are served on until there are others.
func TestLocalCAIsReplaced(t *testing.T) {
	other := certs.NewTestCA(t).Issue(t, certs.TestLeaf{Names: hosts[:1]})
	write := func(data []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { must(t, os.WriteFile(path, data, 0o600)) }
	}
	for _, c := range []struct {
		why   string
		spoil func(t *testing.T, path string)
		later time.Duration
	}{
		{"empty", write(nil), 0},
		{"zeros", write(make([]byte, 1000)), 0},
		{"half of it", func(t *testing.T, path string) { must(t, os.Truncate(path, 300)) }, 0},
		{"no key", func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, data[:bytes.Index(data, []byte("-----BEGIN EC"))], 0o600))
		}, 0},
		{"no CA", write(append(bytes.Clone(other.Cert), other.Key...)), 0},
		{"gone", func(t *testing.T, path string) { must(t, os.Remove(path)) }, 0},
		{"about to expire", func(*testing.T, string) {}, 10*365*24*time.Hour - 6*24*time.Hour},
	} {
		t.Run(c.why, func(t *testing.T) {
			dir := t.TempDir()
			m, log := local(t, dir, nil)
			m.Manage(hosts[:1])
			once(t, m, log, 1)
			before, formerRoot := leaf(t, served(t, m, hosts[0])), localRoots(t, m)
			c.spoil(t, filepath.Join(filepath.Dir(m.LocalRoot()), "ca.pem"))

			now := func() time.Time { return time.Now().Add(c.later) }
			m, log = local(t, dir, now)
			m.Manage(hosts[:1])
			if got := leaf(t, served(t, m, hosts[0])); !got.Equal(before) {
				t.Error("the certificate at hand is not served on")
			}
			once(t, m, log, 1)
			roots := localRoots(t, m)
			if roots.Equal(formerRoot) {
				t.Error("the file for the public holds the former root")
			}
			if _, err := dial(t, m, &tls.Config{ServerName: hosts[0], RootCAs: roots, Time: now}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Whoever has installed the root does not want to do so again.
func TestLocalRootStays(t *testing.T) {
	dir := t.TempDir()
	m, _ := local(t, dir, nil)
	first, err := os.ReadFile(m.LocalRoot())
	must(t, err)
	must(t, os.Remove(m.LocalRoot()))
	m, _ = local(t, dir, nil)
	second, err := os.ReadFile(m.LocalRoot())
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Error("another root after a restart")
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(m.LocalRoot()), "ca.pem"))
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("the CA's key has mode %v", info.Mode())
	}
}

// A disk that cannot hold what is needed is an error of New, at once.
func TestNewOnABadDisk(t *testing.T) {
	for _, c := range []struct {
		why, file string // a file stands where a directory belongs
		source    certs.Source
		want      string
	}{
		{"the directory itself", "", certs.SourceLocal, "certificates: creating the directory of certificates: mkdir "},
		{"what is served", "served", certs.SourceLocal, "certificates: creating the directory of certificates: mkdir "},
		{"certmagic's storage", "certmagic", certs.SourceLocal, "certificates: locking the local CA: creating lock file: "},
		{"certmagic's locks", "certmagic/locks", certs.SourceLocal, "certificates: locking the local CA: creating lock file: "},
		{"the local CA", "certmagic/local", certs.SourceLocal, "certificates: reading the local CA: "},
		{"autocert's accounts", "autocert", certs.SourceAutocert, "certificates: creating the directory of ACME accounts: mkdir "},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		path := filepath.Join(dir, c.file)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, nil, 0o600))
		m, err := certs.New(certs.Options{Source: c.source, Dir: dir, CAs: []certs.CA{{Email: "a@example.com"}}})
		if m != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
}

// A file of failed attempts that nobody can read costs what was in it.
func TestBrokenAttemptsFile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "attempts.json"), []byte(`{"mta-sts.exa`), 0o600))
	m, log := local(t, dir, nil)
	log.wait("starting without them", 1)
	m.Manage(hosts[:1])
	once(t, m, log, 1)
	if served(t, m, hosts[0]) == nil {
		t.Error("no certificate")
	}
}
