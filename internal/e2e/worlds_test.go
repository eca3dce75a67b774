package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// codes are what was found, as a world has it: codes, each once, errors by themselves and
// others after their severity.
func (r *worldReport) codes() []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Severity != "error" {
			f.Code = f.Severity + " " + f.Code
		}
		codes = append(codes, f.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// delivers reports whether a sender gets a policy.
func (r *worldReport) delivers() bool { return r.Record.ID != "" && r.Policy != nil }

// verifyWorlds has the program look at domains, in one process, which ends as it should.
func verifyWorlds(t *testing.T, bin, resolver string, exit int, domains []string, args ...string) map[string]*worldReport {
	t.Helper()
	args = append([]string{"verify", "--json", "--quiet", "--private", "--resolver", resolver, "--per-target", "8", "--parallel", "8"}, args...)
	cmd := exec.Command(bin, append(args, domains...)...)
	cmd.Env = programEnv()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	_, exited := errors.AsType[*exec.ExitError](err)
	if err != nil && !exited || cmd.ProcessState.ExitCode() != exit || strings.Contains(stderr.String(), "DATA RACE") {
		t.Fatalf("%s: %v, want exit status %d\n%s", strings.Join(cmd.Args, " "), err, exit, stderr.Bytes())
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
	want := slices.Clone(w.want)
	for _, code := range w.notes {
		want = append(want, "note "+code)
	}
	slices.Sort(want)
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
// internet of real servers: NSD, BIND, Unbound, Postfix.
func TestWorlds(t *testing.T) {
	// BIND listens only where an interface has the address.
	if !inOwnNetwork(t, nsWorlds, nsLame, firstHostV6, nobodyV6, mxPrefixV6+"1", mxPrefixV6+"2", mxPrefixV6+"3") {
		return
	}
	bin, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	worlds, ours := allWorlds(), oursWorlds()
	s := configureOurs(t, ours)
	n := startInternet(t, append(worlds, ours...))
	p, roots := serveOurs(t, s, n, ours)
	n.checkFacts(t, roots)
	found := map[string]*worldReport{}
	look := func(resolver string, exit int, domains []string, args ...string) {
		t.Helper()
		maps.Copy(found, verifyWorlds(t, bin, resolver, exit, domains, append(args, "--roots", roots)...))
	}
	look(n.resolver, 0, domainsOf(worlds, func(w *world) bool { return w.want == nil }))
	look(n.resolver, 1, domainsOf(worlds, func(w *world) bool { return w.want != nil && !w.slow }))
	look(n.resolver, 1, domainsOf(worlds, func(w *world) bool { return w.slow }), "--timeout", "5s")
	look(n.resolver, 1, domainsOf(ours, nil), "--config", s.path("mtasts-server.toml"))
	worlds = append(worlds, ours...)
	var table []string
	broken := 0
	judge := func(w *world, r *worldReport) {
		t.Helper()
		table = append(table, judgeWorld(t, w, r))
		if len(w.want) > 0 {
			broken++
		}
	}
	for _, w := range worlds {
		judge(w, found[w.domain()])
	}
	const healthy = "healthy.test"
	for _, r := range resolverWorlds() {
		judge(&r.world, verifyWorlds(t, bin, r.resolver, min(1, len(r.want)), []string{healthy}, append(r.args, "--roots", roots)...)[healthy])
	}
	t.Logf("%d worlds, %d of them broken\n%s", len(table), broken, strings.Join(table, "\n"))
	compareSenders(t, n.resolver, roots, worlds, found)
	p.stop()
}

// domainsOf returns the domains of worlds that are so.
func domainsOf(worlds []*world, so func(*world) bool) (domains []string) {
	for _, w := range worlds {
		if so == nil || so(w) {
			domains = append(domains, w.domain())
		}
	}
	return domains
}
