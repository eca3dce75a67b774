package app

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// desk is a publisher with files to edit and a clock to set; no listener is open.
type desk struct {
	*App
	t     *testing.T
	clock time.Time
	log   bytes.Buffer
}

func newDesk(t *testing.T, files map[string]string) *desk {
	t.Helper()
	t.Chdir(t.TempDir())
	d := &desk{t: t, clock: time.Now()}
	d.write("main.toml", "policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n")
	for name, text := range files {
		d.write(name, text)
	}
	d.open()
	return d
}

// open starts the program anew on the same disk.
func (d *desk) open() {
	d.t.Helper()
	var err error
	if d.App, err = New(Options{ConfigFile: "main.toml", Stdout: &d.log, Stderr: &d.log}); err != nil {
		d.t.Fatal(err)
	}
	d.publisher.now = func() time.Time { return d.clock }
	d.publisher.look()
}

// write changes a file as if some time ago, so that it is believed at once.
func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(name, old, old); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) remove(name string) {
	d.t.Helper()
	if err := os.RemoveAll(name); err != nil {
		d.t.Fatal(err)
	}
}

// want looks at the files and compares what is served for a domain: the mode and the
// first mx, "" for nothing.
func (d *desk) want(domain, want string) {
	d.t.Helper()
	d.publisher.look()
	got := ""
	if body, ok := d.server.Table().Lookup(mtasts.PolicyHost(domain)); ok {
		p, err := mtasts.Parse(body)
		if err != nil {
			d.t.Fatal(err)
		}
		got = string(p.Mode)
		if len(p.MX) > 0 {
			got += " " + string(p.MX[0])
		}
	}
	if got != want {
		d.t.Errorf("%s: %q is served, want %q; the log says\n%s", domain, got, want, d.log.String())
	}
}

func table(domain, mode, maxAge, mx string) string {
	return fmt.Sprintf("[domains.%q]\nmode = %q\nmax_age = %q\nmx = [%q]\n", domain, mode, maxAge, mx)
}

const day = 24 * time.Hour

// A domain that is withdrawn in order disappears by itself once no sender holds an
// older policy (RFC 8461 §8.3), and not a moment before.
func TestWithdrawal(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx.example"), "policies/b.toml": table("b.example", "testing", "1d", "mx.example")})
	d.want("a.example", "enforce mx.example")
	d.clock = d.clock.Add(10 * day)
	d.write("policies/a.toml", table("a.example", "enforce", "1d", "mx.example")) // shorter now, but some hold the long one
	d.want("a.example", "enforce mx.example")
	d.clock = d.clock.Add(time.Hour)
	d.write("policies/a.toml", table("a.example", "none", "1d", "mx.example"))
	d.want("a.example", "none mx.example")
	d.remove("policies/a.toml")
	d.want("a.example", "none mx.example")
	d.clock = d.clock.Add(30*day - 2*time.Hour)
	d.want("a.example", "none mx.example")
	d.open()
	d.want("a.example", "none mx.example")
	d.clock = d.clock.Add(3 * time.Hour)
	d.want("a.example", "none mx.example") // is the clock right?
	d.clock = d.clock.Add(time.Hour)
	d.want("a.example", "")
	d.want("b.example", "testing mx.example")
	d.open()
	d.want("a.example", "")
	if !strings.Contains(d.log.String(), `msg="policy gone" domain=a.example`) {
		t.Errorf("nobody said so:\n%s", d.log.String())
	}
}

// A clock that is ahead for a while lets nothing go.
func TestClockAhead(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx.example")})
	d.write("policies/a.toml", table("a.example", "none", "1d", "mx.example"))
	d.want("a.example", "none mx.example")
	d.remove("policies/a.toml")
	right := d.clock
	for range 3 {
		d.clock = right.Add(40 * day)
		d.want("a.example", "none mx.example")
		d.clock = right.Add(40*day + time.Minute)
		d.want("a.example", "none mx.example")
		right = right.Add(2 * time.Hour)
		d.clock = right
		d.want("a.example", "none mx.example")
	}
}

// Mode none that still stands in a file is served for ever.
func TestNoneStays(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "none", "1d", "mx.example")})
	d.clock = d.clock.Add(1000 * day)
	d.want("a.example", "none mx.example")
}

// What vanished without being withdrawn is served for years, and shouted about.
func TestVanishedStays(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "1d", "mx.example")})
	d.remove("policies")
	d.want("a.example", "enforce mx.example")
	before := strings.Count(d.log.String(), "serving the last good policy")
	for range 3 {
		d.clock = d.clock.Add(1000 * day)
		d.want("a.example", "enforce mx.example")
	}
	if again := strings.Count(d.log.String(), "serving the last good policy"); before == 0 || again < before+3 {
		t.Errorf("said %d times, later %d times", before, again)
	}
}

// Neither of two claims wins, not even that of the file which was first.
func TestClaims(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/b.toml": table("a.example", "enforce", "30d", "mx.example")})
	d.write("policies/a.toml", table("a.example", "none", "1d", "evil.example"))
	d.want("a.example", "enforce mx.example")
	d.write("policies/b.toml", table("a.example", "testing", "1d", "other.example"))
	d.want("a.example", "enforce mx.example")
	d.open()
	d.want("a.example", "enforce mx.example")
	d.remove("policies/a.toml")
	d.want("a.example", "testing other.example")
}

// A domain of which nothing valid was ever known is not served, and the rest is.
func TestNeverValid(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "no host"), "policies/b.toml": table("b.example", "testing", "1d", "mx.example")})
	d.want("a.example", "")
	d.want("b.example", "testing mx.example")
	if lines := strings.Join(d.publisher.report().amiss, "\n"); !strings.Contains(lines, "the configuration has 1 error") {
		t.Errorf("amiss: %s", lines)
	}
}

// With no state at all, the files are what is served; with no ledger to write to,
// edits go on, and it is said.
func TestStateLost(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx1.example")})
	d.remove("state/ledger")
	d.write("state/ledger", "a file where the directory was")
	d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx2.example"))
	d.want("a.example", "enforce mx2.example")
	if lines := strings.Join(d.publisher.report().amiss, "\n"); !strings.Contains(lines, "the ledger cannot be written") {
		t.Errorf("amiss: %s", lines)
	}
	d.remove("state/ledger")
	d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx3.example"))
	d.want("a.example", "enforce mx3.example")
	if lines := strings.Join(d.publisher.report().amiss, "\n"); lines != "" {
		t.Errorf("still amiss: %s", lines)
	}
	d.remove("policies")
	d.open()
	d.want("a.example", "enforce mx3.example")
}

// An edit to what was served before is a change like any other.
func TestThereAndBack(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx1.example")})
	for range 3 {
		d.write("policies/a.toml", table("a.example", "testing", "1d", "mx.example"))
		d.want("a.example", "testing mx.example")
		d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx1.example"))
		d.want("a.example", "enforce mx1.example")
	}
}

func TestNeedRestart(t *testing.T) {
	d := newDesk(t, nil)
	d.write("main.toml", "policies = [\"policies/*.toml\"]\nstate = \"other\"\n[certificates]\nsource = \"local\"\n[log]\nformat = \"json\"\nlevel = \"debug\"\n[listen]\nhttps = [\":9443\"]\n")
	d.publisher.look()
	if lines := strings.Join(d.publisher.report().amiss, "\n"); lines != "changed, but in force from the next start only: state, listen, log.format" {
		t.Errorf("amiss: %s", lines)
	}
	if d.publisher.level.Level().String() != "DEBUG" {
		t.Errorf("the log level is %s", d.publisher.level)
	}
}

// Of two claims none wins, also when the one that is served cannot be read at a start.
func TestClaimOfABrokenFile(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx.example")})
	d.write("policies/a.toml", "[[[")
	d.write("policies/b.toml", table("a.example", "testing", "1d", "evil.example"))
	d.want("a.example", "enforce mx.example")
	d.open()
	d.want("a.example", "enforce mx.example")
	d.remove("policies/a.toml")
	d.want("a.example", "testing evil.example")
}

// What forget wrote is not acted on before the edit that belongs to it is read, and not
// undone by the reload that reads it.
func TestForgetBeforeTheEditIsRead(t *testing.T) {
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx.example") + table("b.example", "testing", "1d", "mx.example")})
	if err := os.WriteFile("policies/a.toml", []byte(table("b.example", "testing", "1d", "mx.example")), 0o644); err != nil {
		t.Fatal(err) // just now: it is not believed yet
	}
	cli, err := ledger.Visit(ledgerDir(d.settings))
	if err != nil {
		t.Fatal(err)
	}
	if err := cli.Forget(d.clock, "a.example"); err != nil {
		t.Fatal(err)
	}
	d.want("a.example", "enforce mx.example")
	d.write("policies/a.toml", table("b.example", "testing", "1d", "mx.example"))
	d.want("a.example", "")
	d.want("b.example", "testing mx.example")
}

// A main file with errors is no reason not to start: the last good one is in force.
func TestStartWithBrokenMainFile(t *testing.T) {
	for _, broken := range []string{
		"policies = [\nstate = \"state\"\n",
		"policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[default]\nmax_age = \"30d\"\n",
		"policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[profiles.corp]\nmx = [\"no host\"]\n",
	} {
		d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "enforce", "30d", "mx1.example")})
		d.write("main.toml", broken)
		d.want("a.example", "enforce mx1.example")
		d.open()
		d.want("a.example", "enforce mx1.example")
		d.write("policies/a.toml", table("a.example", "enforce", "30d", "mx2.example"))
		d.want("a.example", "enforce mx2.example")
		if lines := strings.Join(d.publisher.report().amiss, "\n"); !strings.Contains(lines, "the configuration has 2 errors") {
			t.Errorf("amiss: %s", lines)
		}
	}
}
