package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// worldReport is what verify --json says of a domain, as far as it matters here.
type worldReport struct {
	Domain, Verdict string
	Record          struct{ ID string }
	Policy          *struct{ Mode string }
	Findings        []struct{ Code, Severity, Subject, Evidence string }
}

// codes are those of findings that are more than notes, each once.
func (r *worldReport) codes() []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Severity != "note" {
			codes = append(codes, f.Code)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// delivers reports whether a sender gets a policy.
func (r *worldReport) delivers() bool { return r.Record.ID != "" && r.Policy != nil }

// verifyWorlds has the program look at domains, in one process.
func verifyWorlds(t *testing.T, bin, resolver string, domains []string, args ...string) map[string]*worldReport {
	t.Helper()
	args = append([]string{"verify", "--json", "--quiet", "--private", "--resolver", resolver, "--per-target", "8"}, args...)
	cmd := exec.Command(bin, append(args, domains...)...)
	cmd.Env = programEnv()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) || stderr.Len() > 0 && strings.Contains(stderr.String(), "DATA RACE") {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	var answer struct{ Domains []*worldReport }
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		t.Fatalf("%v: %s\n%s", err, stdout.Bytes(), stderr.Bytes())
	}
	if len(answer.Domains) != len(domains) {
		t.Fatalf("%d reports of %d domains", len(answer.Domains), len(domains))
	}
	found := map[string]*worldReport{}
	for _, r := range answer.Domains {
		found[r.Domain] = r
	}
	return found
}

// judgeWorld compares what was found with what there is, and returns a line about it.
func judgeWorld(t *testing.T, w *world, r *worldReport) string {
	t.Helper()
	want := slices.Sorted(slices.Values(w.want))
	got := r.codes()
	if !slices.Equal(got, want) {
		t.Errorf("%s: found %q, want %q", w.name, got, want)
		for _, f := range r.Findings {
			t.Logf("  %s: %s %s %s: %s", w.name, f.Severity, f.Code, f.Subject, f.Evidence)
		}
	}
	return fmt.Sprintf("%-28s %-12s %s", w.name, r.Verdict, strings.Join(got, " "))
}

// TestWorlds has the program look at many domains, each broken in its own way, on an
// internet of real servers: BIND, Unbound, Postfix.
func TestWorlds(t *testing.T) {
	bin, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	worlds := allWorlds()
	n := startInternet(t, worlds)
	var fast, slow []string
	for _, w := range worlds {
		if w.slow {
			slow = append(slow, w.domain())
		} else {
			fast = append(fast, w.domain())
		}
	}
	found := verifyWorlds(t, bin, n.resolver, fast, "--roots", n.roots)
	if len(slow) > 0 {
		for domain, r := range verifyWorlds(t, bin, n.resolver, slow, "--roots", n.roots, "--timeout", "3s") {
			found[domain] = r
		}
	}
	var table []string
	broken := 0
	for _, w := range worlds {
		table = append(table, judgeWorld(t, w, found[w.domain()]))
		if len(w.want) > 0 {
			broken++
		}
	}
	t.Logf("%d worlds, %d of them broken\n%s", len(worlds), broken, strings.Join(table, "\n"))
}
