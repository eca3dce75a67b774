package certs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// localEngine is certmagic with the local CA, at work.
func localEngine(t *testing.T, dir string) *certmagicEngine {
	t.Helper()
	sh, err := newShelf(filepath.Join(dir, "served"))
	check(t, err)
	o := &Options{Source: SourceLocal, Dir: dir, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	e, err := newCertmagicEngine(t.Context(), o, sh)
	check(t, err)
	stop, err := e.start()
	check(t, err)
	t.Cleanup(stop)
	return e
}

// good fails the test unless c is a certificate of the present CA.
func good(t *testing.T, e *certmagicEngine, c *certificate, err error) {
	t.Helper()
	if err != nil || c == nil || c.foreign || !e.local.signed(c) {
		t.Fatalf("%+v, %v", c, err)
	}
}

// certmagic writes three files, one after the other. Whatever of them a kill or a
// power cut left, a new certificate is to be had, and the shelf is what counts.
func TestCertmagicLeftovers(t *testing.T) {
	site := func(e *certmagicEngine, ext string) string {
		return filepath.Join(e.storage.Path, "certificates", localIssuer, host, host+ext)
	}
	for _, c := range []struct {
		why   string
		spoil func(t *testing.T, e *certmagicEngine)
	}{
		{"nothing", func(t *testing.T, e *certmagicEngine) { check(t, os.RemoveAll(filepath.Dir(site(e, "")))) }},
		{"no certificate", func(t *testing.T, e *certmagicEngine) { check(t, os.Remove(site(e, ".crt"))) }},
		{"no key", func(t *testing.T, e *certmagicEngine) { check(t, os.Remove(site(e, ".key"))) }},
		{"no metadata", func(t *testing.T, e *certmagicEngine) { check(t, os.Remove(site(e, ".json"))) }},
		{"half a certificate", func(t *testing.T, e *certmagicEngine) { check(t, os.Truncate(site(e, ".crt"), 99)) }},
		{"half a key", func(t *testing.T, e *certmagicEngine) { check(t, os.Truncate(site(e, ".key"), 99)) }},
		{"half the metadata", func(t *testing.T, e *certmagicEngine) { check(t, os.Truncate(site(e, ".json"), 9)) }},
		{"three empty files", func(t *testing.T, e *certmagicEngine) {
			for _, ext := range []string{".crt", ".key", ".json"} {
				check(t, os.Truncate(site(e, ext), 0))
			}
		}},
		{"another key", func(t *testing.T, e *certmagicEngine) {
			put(t, site(e, ".key"), NewTestCA(t).Issue(t, TestLeaf{}).Key)
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			e := localEngine(t, t.TempDir())
			first, err := e.order(t.Context(), host, nil, 0)
			good(t, e, first, err)
			c.spoil(t, e)

			stored, err := e.stored(t.Context(), host)
			good(t, e, stored, err)
			if string(derOf(t, stored)) != string(derOf(t, first)) {
				t.Error("the shelf does not count")
			}
			second, err := e.order(t.Context(), host, stored, 0)
			good(t, e, second, err)
			if string(derOf(t, second)) == string(derOf(t, first)) {
				t.Error("nothing was ordered")
			}

			// And without the shelf.
			c.spoil(t, e)
			check(t, os.Remove(e.path(host)))
			stored, err = e.stored(t.Context(), host)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errUnusable) {
				t.Errorf("a leftover is no trouble of the disk: %v", err)
			}
			third, err := e.order(t.Context(), host, stored, 0)
			good(t, e, third, err)
		})
	}
}

// After a kill between the two writes certmagic has a pair that the shelf has not.
func TestCertmagicKnowsWhatTheShelfLost(t *testing.T) {
	for _, c := range []struct {
		why   string
		spoil func(path string) error
	}{
		{"nothing is on the shelf", os.Remove},
		{"half a file is", func(path string) error { return os.Truncate(path, 200) }},
	} {
		e := localEngine(t, t.TempDir())
		first, err := e.order(t.Context(), host, nil, 0)
		good(t, e, first, err)
		check(t, c.spoil(e.path(host)))
		for range 2 { // the first puts it back on the shelf
			got, err := e.stored(t.Context(), host)
			good(t, e, got, err)
			if string(derOf(t, got)) != string(derOf(t, first)) {
				t.Errorf("%s: another certificate", c.why)
			}
			check(t, os.RemoveAll(filepath.Join(e.storage.Path, "certificates")))
		}
	}
}

// Another process on the same directory may have renewed in the meantime.
func TestCertmagicTakesWhatAnotherProcessGot(t *testing.T) {
	dir := t.TempDir()
	a, b := localEngine(t, dir), localEngine(t, dir)
	got, err := a.order(t.Context(), host, nil, 0)
	good(t, a, got, err)
	same, err := b.order(t.Context(), host, nil, 0)
	good(t, b, same, err)
	if string(derOf(t, same)) != string(derOf(t, got)) {
		t.Error("ordered once more")
	}
}

func TestCertmagicNotRunning(t *testing.T) {
	sh := openShelf(t)
	e, err := newCertmagicEngine(t.Context(), &Options{Source: SourceLocal, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now}, sh)
	check(t, err)
	if c, err := e.order(t.Context(), host, nil, 0); err == nil || c != nil {
		t.Errorf("%v, %v", c, err)
	}
}

// What a former CA issued is handed out, as it may be all there is, and is replaced
// at once, as it may be worth nothing: a CA for tests, or the local one.
func TestCertificateOfAFormerCA(t *testing.T) {
	const production, staging = "https://ca.example/directory", "https://staging.ca.example/directory"
	p := NewTestCA(t).Issue(t, TestLeaf{Names: []string{host}})
	key := func(directory string) string { return (&certmagic.ACMEIssuer{CA: directory}).IssuerKey() }
	for _, c := range []struct {
		why     string
		issuer  string
		cas     []string // none: the local CA
		foreign bool
	}{
		{"the same CA", key(production), []string{production}, false},
		{"one of several", key(production), []string{staging, production}, false},
		{"the CA for tests", key(staging), []string{production}, true},
		{"the local CA, for production", localIssuer, []string{production}, true},
		{"production, while the local CA is configured, by mistake perhaps", key(production), nil, false},
		{"a former local CA", localIssuer, nil, true},
		{"brought from elsewhere", "", []string{production}, true},
	} {
		sources := []Source{SourceLocal}
		if c.cas != nil {
			sources = []Source{SourceCertmagic, SourceAutocert}
		}
		for _, source := range sources {
			if source == SourceAutocert && len(c.cas) > 1 {
				continue
			}
			sh := openShelf(t)
			_, err := sh.put(host, c.issuer, p.Key, p.Chain)
			check(t, err)
			got, err := engineFor(t, source, c.cas, sh).stored(t.Context(), host)
			check(t, err)
			whole(t, c.why, got, p)
			if got.foreign != c.foreign || renewTime(got, window{}, 0).After(time.Now()) == c.foreign {
				t.Errorf("%s, source %s: foreign is %v, renewed at %v", c.why, source, got.foreign, renewTime(got, window{}, 0))
			}
		}
	}
}

func engineFor(t *testing.T, source Source, directories []string, sh *shelf) engine {
	t.Helper()
	o := &Options{Source: source, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	for _, directory := range directories {
		o.CAs = append(o.CAs, CA{Directory: directory})
	}
	if source == SourceAutocert {
		e, err := newAutocertEngine(o, sh)
		check(t, err)
		return e
	}
	e, err := newCertmagicEngine(context.Background(), o, sh)
	check(t, err)
	return e
}
