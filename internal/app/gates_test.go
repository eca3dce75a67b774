package app

import (
	"fmt"
	"os"
	"testing"

	"mtasts-server/config"
	"mtasts-server/internal/rollout"
)

// What config takes as numbers of a rollout, the rules can go by, up to where their own numbers
// end: config has these a second time, to say in which line they do not fit.
func TestNumbersThatConfigTakes(t *testing.T) {
	t.Chdir(t.TempDir())
	d := rollout.Default()
	var tables string
	var numbers []string
	add := func(text string) {
		tables += fmt.Sprintf("[domains.\"d%d.example\"]\nmx = [\"mx.example\"]\ntlsrpt = [\"mailto:t@example.com\"]\nrollout = { %s }\n", len(numbers), text)
		numbers = append(numbers, text)
	}
	most := []string{fmt.Sprintf("active_windows = %d", d.Windows), fmt.Sprintf("current_reporters = %d", d.Reporters)}
	for _, text := range most {
		add(text)
	}
	for _, key := range []string{"windows", "active_windows", "reporters", "current_reporters"} {
		for _, n := range []int{0, 1, 2, 3, 14, 15, 365, 366, 367, 1000} {
			add(fmt.Sprintf("%s = %d", key, n))
		}
	}
	for _, key := range []string{"lag", "silence", "tlsrpt_live", "check_age", "refresh", "queue"} {
		for _, days := range []int{0, 1, 366, 367} {
			add(fmt.Sprintf("%s = \"%dd\"", key, days))
		}
	}
	for _, clean := range []int{0, 1, 366, 367} {
		add(fmt.Sprintf(`ladder = [{ max_age = "1d" }, { max_age = "365d", clean = %d }]`, clean))
	}
	if err := os.WriteFile("main.toml", []byte("policies = [\"all.toml\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("all.toml", []byte(tables), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := config.NewLoader("main.toml", config.LoaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snap, _ := l.Load()
	taken := map[string]bool{}
	for _, domain := range snap.Domains {
		var n int
		if _, err := fmt.Sscanf(domain.Name, "d%d.example", &n); err != nil {
			t.Fatal(err)
		}
		taken[numbers[n]] = true
		if _, err := gatesOf(domain.Plan); err != nil {
			t.Errorf("%s: %v", numbers[n], err)
		}
	}
	for _, text := range most {
		if !taken[text] {
			t.Errorf("%s is refused: what config takes for advised is not what is", text)
		}
	}
	for _, text := range []string{fmt.Sprintf("active_windows = %d", d.Windows+1), fmt.Sprintf("current_reporters = %d", d.Reporters+1)} {
		if taken[text] {
			t.Errorf("%s is taken", text)
		}
	}
	if len(taken) < len(numbers)/2 {
		t.Errorf("%d of %d are taken", len(taken), len(numbers))
	}
}
