package e2e_test

import (
	"os/exec"
	"testing"
)

// TestPrometheusRules has Prometheus itself read the rules, and try them on series of which
// is known what they are to say.
func TestPrometheusRules(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatalf("the Debian package prometheus is missing, run: make setup (%v)", err)
	}
	for _, args := range [][]string{{"check", "rules", "../../examples/prometheus/alerts.yaml"}, {"test", "rules", "testdata/prometheus.yaml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}
