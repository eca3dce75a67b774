package config_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/config"
	"mtasts-server/tlsrpt"
)

func load(t *testing.T, main, policies string) *config.Snapshot {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "main.toml", main)
	write(t, "policies/all.toml", policies)
	l, err := config.NewLoader("main.toml", config.LoaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snap, ok := l.Load()
	if !ok || len(snap.Problems) > 0 {
		t.Fatal(snap.Problems)
	}
	return snap
}

// What the main file says of reports arrives.
func TestReportsSettings(t *testing.T) {
	const d = 24 * time.Hour
	defaults := config.Reports{Spool: 256 << 20, Keep: config.Keep{Raw: 30 * d, Details: 100 * d, Sums: 730 * d, Asides: 30 * d}}
	got := load(t, "", "").Settings.Reports
	if diff := cmp.Diff(defaults, got); diff != "" || got.Receives() {
		t.Error(diff)
	}
	got = load(t, `[reports]
host = "Reports.example.net"
addresses = ["tlsrpt@Reports.example.net"]
smtp = [":25"]
lmtp = ["run/lmtp.sock", "127.0.0.1:2424"]
database_file = "secret"
spool_mib = 32
keep = { raw = "1d", details = "5w", sums = "20w", asides = 86400 }
`, "").Settings.Reports
	wd := filepath.Dir(absPath(t, "main.toml"))
	want := config.Reports{
		Host: "reports.example.net", Addresses: []string{"tlsrpt@reports.example.net"}, SMTP: []string{":25"},
		LMTP: []string{filepath.Join(wd, "run/lmtp.sock"), "127.0.0.1:2424"}, DatabaseFile: filepath.Join(wd, "secret"), Spool: 32 << 20,
		Keep: config.Keep{Raw: d, Details: 35 * d, Sums: 140 * d, Asides: d},
	}
	if diff := cmp.Diff(want, got); diff != "" || !got.Receives() {
		t.Error(diff)
	}
}

func absPath(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Each domain, and each alias, has its own token.
func TestReportTokens(t *testing.T) {
	snap := load(t, "[defaults]\ntlsrpt = [\"https://reports.example.net/{token}\", \"mailto:t@example.net\"]\n", `
[domains."example.com"]
mx = ["mx.example.com"]
aliases = ["example.org"]
`)
	if len(snap.Domains) != 2 {
		t.Fatal(snap.Domains)
	}
	for _, d := range snap.Domains {
		want := []string{"https://reports.example.net/" + tlsrpt.Token(d.Name), "mailto:t@example.net"}
		if diff := cmp.Diff(want, d.TLSRPT); diff != "" {
			t.Errorf("%s: %s", d.Name, diff)
		}
	}
}
