package ledger_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func body(mode mtasts.Mode, maxAge int) []byte {
	return mtasts.Policy{Mode: mode, MX: []mtasts.MXPattern{"mx.example.com"}, MaxAge: maxAge}.Body()
}

func publication(domain string, body []byte) []ledger.Publication {
	return []ledger.Publication{{Domain: domain, ID: mtasts.ID(body), Body: body, Source: "a.toml"}}
}

func open(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantBody(t *testing.T, l *ledger.Ledger, domain string, want []byte) ledger.Entry {
	t.Helper()
	e, ok := l.Lookup(domain)
	if ok != (want != nil) || !bytes.Equal(e.Body, want) {
		t.Fatalf("%s: body %q, want %q", domain, e.Body, want)
	}
	return e
}

func TestReopenFindsTheLastPublication(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("testing", 86400))))
	must(t, l.Publish(t0.Add(time.Hour), publication("example.com", body("enforce", 86400))))
	must(t, l.Publish(t0, publication("example.org", body("testing", 60))))
	must(t, l.Forget(t0.Add(2*time.Hour), "example.org"))
	for range 2 {
		e := wantBody(t, l, "example.com", body("enforce", 86400))
		if e.Source != "a.toml" || !e.From.Equal(t0.Add(time.Hour)) || e.Mode != mtasts.ModeEnforce {
			t.Errorf("entry %+v", e)
		}
		wantBody(t, l, "example.org", nil)
		l = open(t, dir)
	}
}

// A withdrawn policy may disappear when every version that was ever served has
// expired, an older one with a longer max_age included (RFC 8461 §8.3).
func TestWithdrawalWaitsForTheLongestVersion(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	day := 24 * time.Hour
	must(t, l.Publish(t0, publication("example.com", body("enforce", 30*86400))))
	must(t, l.Publish(t0.Add(1*day), publication("example.com", body("testing", 86400))))
	if _, ok := mustEntry(t, l).WithdrawnAt(); ok {
		t.Error("a testing policy is no withdrawal")
	}
	must(t, l.Publish(t0.Add(3*day), publication("example.com", body("none", 86400))))
	for range 2 {
		at, ok := mustEntry(t, l).WithdrawnAt()
		if want := t0.Add(31*day + time.Minute); !ok || !at.Equal(want) {
			t.Errorf("withdrawn at %v %v, want %v", at, ok, want)
		}
		l = open(t, dir)
	}
	must(t, l.Forget(t0.Add(4*day), "example.com"))
	must(t, l.Publish(t0.Add(5*day), publication("example.com", body("none", 86400))))
	if at, _ := mustEntry(t, l).WithdrawnAt(); !at.Equal(t0.Add(31*day + time.Minute)) {
		t.Errorf("forgetting made the wait shorter: %v", at)
	}
}

func mustEntry(t *testing.T, l *ledger.Ledger) ledger.Entry {
	t.Helper()
	e, ok := l.Lookup("example.com")
	if !ok {
		t.Fatal("no entry")
	}
	return e
}

// Whatever a crash leaves of the last line, what was there before is read, and the
// next line is whole.
func TestTornLastLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("testing", 86400))))
	file := filepath.Join(dir, "journal")
	one, err := os.ReadFile(file)
	must(t, err)
	must(t, l.Publish(t0, publication("example.org", body("testing", 86400))))
	both, err := os.ReadFile(file)
	must(t, err)
	for cut := len(one); cut < len(both); cut++ {
		must(t, os.WriteFile(file, both[:cut], 0o600))
		l := open(t, dir)
		wantBody(t, l, "example.com", body("testing", 86400))
		wantBody(t, l, "example.org", nil)
		must(t, l.Publish(t0, publication("example.net", body("enforce", 1))))
		l = open(t, dir)
		wantBody(t, l, "example.com", body("testing", 86400))
		wantBody(t, l, "example.net", body("enforce", 1))
		if d := l.Damage(); len(d) > 0 {
			t.Fatalf("cut at %d: %v", cut, d)
		}
	}
}

// Any single byte that changes costs at most the lines it stands in, and never
// yields a policy that was not published.
func TestDamagedLinesAreNotBelieved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	good := map[string][]byte{}
	for i := range 4 {
		domain := fmt.Sprintf("d%d.example", i)
		good[domain] = body("enforce", 1000+i)
		must(t, l.Publish(t0, publication(domain, good[domain])))
	}
	file := filepath.Join(dir, "journal")
	text, err := os.ReadFile(file)
	must(t, err)
	for i := range text {
		broken := bytes.Clone(text)
		broken[i] ^= 0x04
		must(t, os.WriteFile(file, broken, 0o600))
		l := open(t, dir)
		if l.Len() < 2 {
			t.Fatalf("byte %d cost %d domains", i, 4-l.Len())
		}
		for _, e := range l.All() {
			if !bytes.Equal(e.Body, good[e.Domain]) {
				t.Fatalf("byte %d: %s has body %q", i, e.Domain, e.Body)
			}
		}
		if l.Len() < 4 && len(l.Damage()) == 0 && i != len(text)-1 { // without its end the last line may be one that was cut short
			t.Fatalf("byte %d: nothing said", i)
		}
	}
}

func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	server, cli := open(t, dir), open(t, dir)
	must(t, server.Publish(t0, publication("example.com", body("testing", 60))))
	must(t, cli.Refresh())
	wantBody(t, cli, "example.com", body("testing", 60))
	must(t, cli.Forget(t0, "example.com"))
	must(t, server.Publish(t0, publication("example.org", body("testing", 60))))
	wantBody(t, server, "example.com", nil)
	must(t, cli.Refresh())
	wantBody(t, cli, "example.org", body("testing", 60))
}

func TestLostJournalIsWrittenAgain(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"directory removed": os.RemoveAll,
		"file removed":      func(dir string) error { return os.Remove(filepath.Join(dir, "journal")) },
		"file emptied":      func(dir string) error { return os.Truncate(filepath.Join(dir, "journal"), 0) },
		"file cut":          func(dir string) error { return os.Truncate(filepath.Join(dir, "journal"), 100) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ledger")
			l := open(t, dir)
			must(t, l.Publish(t0, publication("example.com", body("enforce", 60))))
			must(t, l.Publish(t0, publication("example.com", body("none", 60))))
			must(t, l.Publish(t0, publication("example.org", body("testing", 60))))
			must(t, lose(dir))
			must(t, l.Refresh())
			must(t, l.Flush(t0))
			l = open(t, dir)
			e := wantBody(t, l, "example.com", body("none", 60))
			if !e.HeldUntil.Equal(t0.Add(2 * time.Minute)) {
				t.Errorf("held until %v", e.HeldUntil)
			}
			wantBody(t, l, "example.org", body("testing", 60))
		})
	}
}

// A disk that takes no writes costs nothing that is known; what was missed is
// written as soon as it takes them again.
func TestUnwritableDiskHeals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	must(t, os.WriteFile(dir, nil, 0o600)) // a file where the directory should be
	l, err := ledger.Open(dir)
	if err == nil {
		t.Fatal("want an error")
	}
	if err := l.Publish(t0, publication("example.com", body("testing", 60))); err == nil {
		t.Fatal("want an error")
	}
	wantBody(t, l, "example.com", body("testing", 60))
	must(t, os.Remove(dir))
	must(t, l.Flush(t0))
	wantBody(t, open(t, dir), "example.com", body("testing", 60))
}

func TestRenewKeepsWhatCounts(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	other, err := ledger.Visit(dir)
	must(t, err)
	must(t, l.Publish(t0, publication("gone.example", body("enforce", 86400))))
	must(t, other.Refresh())
	must(t, l.Forget(t0, "gone.example"))
	var many []ledger.Publication
	for i := range 110_000 {
		many = append(many, publication("example.com", body("testing", i+1))...)
	}
	for part := range slices.Chunk(many, 10_000) { // each must be done before storage counts as hanging
		must(t, l.Publish(t0, part))
	}
	archives, err := filepath.Glob(filepath.Join(dir, "journal-until-*"))
	must(t, err)
	if len(archives) != 1 {
		t.Fatalf("archives %v", archives)
	}
	must(t, l.Publish(t0, publication("example.org", body("none", 60))))
	must(t, other.Refresh())
	for _, l := range []*ledger.Ledger{l, other, open(t, dir)} {
		e := wantBody(t, l, "example.com", body("testing", 110_000))
		if want := t0.Add(110_059 * time.Second); !e.HeldUntil.Equal(want) {
			t.Errorf("held until %v, want %v", e.HeldUntil, want)
		}
		wantBody(t, l, "example.org", body("none", 60))
		wantBody(t, l, "gone.example", nil)
	}
	must(t, l.Publish(t0, publication("gone.example", body("none", 60))))
	if e, _ := l.Lookup("gone.example"); !e.HeldUntil.Equal(t0.Add(24*time.Hour + time.Minute)) {
		t.Errorf("gone.example held until %v", e.HeldUntil)
	}
}
