package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// What verify compares with is what a server publishes: what is configured, and what
// was published before where that is broken.
func TestWants(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("main.toml", "state = \"state\"\n[certificates]\nemail = \"a@example.net\"\n[certificates.preflight]\naddresses = [\"192.0.2.1\", \"2001:db8::/64\", \"web.example.net\"]\n")
	write("policies/a.toml", "[domains.\"example.com\"]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"mx.example.com\"]\ntlsrpt = [\"mailto:a@example.com\"]\naliases = [\"example.org\"]\n")
	open := func() map[string]Wanted {
		t.Helper()
		v, err := OpenView(filepath.Join(dir, "main.toml"), func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		return v.Wants()
	}
	wants := open()
	w, ok := wants["example.com"]
	if len(wants) != 2 || !ok || w.ID != mtasts.ID(w.Body) || !strings.Contains(string(w.Body), "mode: testing") ||
		!slices.Equal(w.RUA, []string{"mailto:a@example.com"}) || filepath.Base(w.File) != "a.toml" ||
		!slices.Equal(w.Target, []string{"192.0.2.1/32", "2001:db8::/64", "web.example.net"}) {
		t.Errorf("%+v", wants)
	}
	l, err := ledger.Open(filepath.Join(dir, "state", "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("version: STSv1\r\nmode: none\r\nmx: mx.example.net\r\nmax_age: 60\r\n")
	id := mtasts.ID(body)
	if err := l.Publish(time.Now(), []ledger.Publication{{Domain: "example.net", ID: id, Source: "gone.toml", Body: body}, {Domain: "example.com", ID: id, Source: w.File, Body: body}}); err != nil {
		t.Fatal(err)
	}
	wants = open()
	if kept := wants["example.net"]; len(wants) != 3 || kept.ID != id || string(kept.Body) != string(body) || kept.File != "gone.toml" || len(kept.Target) != 3 {
		t.Errorf("what no file names: %+v", wants)
	}
	if wants["example.com"].ID != w.ID {
		t.Errorf("an edit that the server is about to take in: %+v", wants["example.com"])
	}
	if string(wants["example.org"].Body) != string(w.Body) {
		t.Errorf("the alias: %+v", wants["example.org"])
	}
}
