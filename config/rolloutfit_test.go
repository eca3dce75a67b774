package config_test

import (
	"strings"
	"testing"
	"time"

	"mtasts-server/config"
)

// Numbers of a rollout that do not fit each other are an error of their domain, and not found
// out when all domains are judged.
func TestRolloutNumbersFit(t *testing.T) {
	for rollout, want := range map[string]string{
		`windows = 7`: "", `reporters = 0`: "", `windows = 28, active_windows = 20`: "", `reporters = 3, current_reporters = 3`: "", `lag = 0`: "",
		`ladder = [{ max_age = "1d" }, { max_age = "30d", clean = 28 }]`: "",

		`windows = 0`:                             "windows: one at least",
		`active_windows = 15`:                     "active_windows: 15 of 14 windows",
		`windows = 5, active_windows = 6`:         "active_windows: 6 of 5 windows",
		`current_reporters = 3`:                   "current_reporters: 3 of 2 reporters",
		`reporters = 1, current_reporters = 2`:    "current_reporters: 2 of 1 reporters",
		`silence = 0`:                             "silence",
		`check_age = 0`:                           "check_age",
		`ladder = [{ clean = 3 }]`:                "out of range",
		`ladder = [{ max_age = "10000000000s" }]`: "too long",
		`ladder = [{ max_age = "1w" }, { max_age = "1d", clean = 7 }]`: "want a greater one",
		`ladder = [{ max_age = "1d" }, { max_age = "1w" }]`:            "0 clean days",
	} {
		t.Run(rollout, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "main.toml", "")
			write(t, "policies/all.toml", "[domains.\"a.example\"]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"mx.a.example\"]\ntlsrpt = [\"mailto:t@a.example\"]\nrollout = { "+rollout+" }\n")
			l, err := config.NewLoader("main.toml", config.LoaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			snap, _ := l.Load()
			got := ""
			for _, p := range snap.Problems {
				got += p.Message + "\n"
			}
			if (want == "") != (got == "") || !strings.Contains(got, want) || (want == "") != (len(snap.Domains) == 1) {
				t.Errorf("problems %q, %d domains, want %q", got, len(snap.Domains), want)
			}
		})
	}
}

// What is resolved happened before the day that is named. What is said until a day holds on
// that day too.
func TestDaysOfWords(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "main.toml", "")
	write(t, "policies/all.toml", "[domains.\"a.example\"]\nmx = [\"mx.a.example\"]\ntlsrpt = [\"mailto:t@a.example\"]\n"+
		"resolved = [{ before = \"2026-11-20\", note = \"n\" }, { before = 2026-11-20, note = \"n\" }]\noverride = { reason = \"r\", author = \"a\", until = 2026-11-20 }\n")
	l, err := config.NewLoader("main.toml", config.LoaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snap, _ := l.Load()
	if len(snap.Domains) != 1 {
		t.Fatalf("problems: %v", snap.Problems)
	}
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	care := snap.Domains[0].Care
	for _, r := range care.Resolved {
		if !r.Before.Equal(day) {
			t.Errorf("resolved before %s, want %s", r.Before, day)
		}
	}
	if !care.Override.Until.Equal(day.AddDate(0, 0, 1)) {
		t.Errorf("until %s, want the end of %s", care.Override.Until, day)
	}
}
