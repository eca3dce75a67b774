package rollout_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// plan is short for a plan: "change-mx 10+1h a b".
func plan(stages []rollout.Stage) (all []string) {
	for _, s := range stages {
		all = append(all, string(s.Kind)+" "+when(s.NotBefore)+" "+when(s.Certain)+" "+strings.Join(s.MX, " "))
	}
	return all
}

func when(t time.Time) string { return strings.TrimSuffix(t.Format("0102T15"), "T00") }

func TestPlanMX(t *testing.T) {
	const a, b, c = "mx1.example.org", "mx2.example.org", "b.example.net"
	policy := func(mode mtasts.Mode, from, until float64, mx ...mtasts.MXPattern) rollout.Version {
		v := version(mode, 7*day, from, until)
		v.MX = mx
		return v
	}
	for _, p := range []struct {
		name     string
		versions []rollout.Version
		old, new []string
		want     []string
	}{
		{"replaced", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a)}, []string{a}, []string{b}, []string{
			"widen-policy 0311 0311 mx1.example.org mx2.example.org",
			"change-mx 0312T01 0318 mx2.example.org",
			"narrow-policy 0317T02 0323T01 mx2.example.org",
		}},
		{"added", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a)}, []string{a}, []string{a, b}, []string{
			"widen-policy 0311 0311 mx1.example.org mx2.example.org",
			"change-mx 0312T01 0318 mx1.example.org mx2.example.org",
		}},
		{"taken away", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a, b)}, []string{a, b}, []string{b}, []string{
			"change-mx 0311 0311 mx2.example.org",
			"narrow-policy 0316T01 0316T01 mx2.example.org",
		}},
		{"allowed by a wildcard", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a, "*.example.net")}, []string{a}, []string{c}, []string{
			"change-mx 0311 0311 b.example.net",
			"narrow-policy 0316T01 0316T01 *.example.net",
		}},
		{"widened an hour ago", []rollout.Version{
			policy(mtasts.ModeEnforce, 0, 9.5, a), policy(mtasts.ModeEnforce, 9.5, 0, a, b),
		}, []string{a}, []string{b}, []string{
			"change-mx 0311T13 0317T12 mx2.example.org",
			"narrow-policy 0316T14 0322T13 mx2.example.org",
		}},
		{"an old policy is held for longer than the last", []rollout.Version{
			version(mtasts.ModeEnforce, 30*day, 0, 9), policy(mtasts.ModeEnforce, 9, 0, a),
		}, []string{a}, []string{b}, []string{
			"widen-policy 0311 0311 mx1.example.org mx2.example.org",
			"change-mx 0312T01 0409 mx2.example.org",
			"narrow-policy 0317T02 0414T01 mx2.example.org",
		}},
		{"none is served", []rollout.Version{policy(mtasts.ModeEnforce, 0, 9, a), policy(mtasts.ModeNone, 9, 0)}, []string{a}, []string{b}, []string{
			"change-mx 0311T01 0317 mx2.example.org",
		}},
		{"nothing is served, and it is still held", []rollout.Version{policy(mtasts.ModeEnforce, 0, 9, a)}, []string{a}, []string{b}, []string{
			"change-mx 0317 0317 mx2.example.org",
		}},
		{"no policy ever", nil, []string{a}, []string{b}, []string{"change-mx 0311 0311 mx2.example.org"}},
		{"the same", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a)}, []string{a, b}, []string{b, a}, nil},
		{"the old one is not allowed either", []rollout.Version{policy(mtasts.ModeEnforce, 0, 0, a)}, []string{c}, []string{a}, []string{
			"widen-policy 0311 0311 mx1.example.org b.example.net",
			"change-mx 0311 0311 mx1.example.org",
			"narrow-policy 0316T01 0316T01 mx1.example.org",
		}},
	} {
		t.Run(p.name, func(t *testing.T) {
			f := rollout.Facts{Versions: p.versions, RecordTTL: time.Hour, MXTTL: time.Hour}
			if have := plan(rollout.Default().PlanMX(f, p.old, p.new, after(10))); !slices.Equal(have, p.want) {
				t.Errorf("have\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(p.want, "\n  "))
			}
		})
	}
}

// What the ledger has only a date of may stand against any host.
func TestPlanWithPoliciesUnknown(t *testing.T) {
	f := rollout.Facts{Versions: []rollout.Version{version(mtasts.ModeEnforce, day, 5, 0)}, HeldUntil: after(25), RecordTTL: time.Hour}
	stages := rollout.Default().PlanMX(f, []string{"mx1.example.org"}, []string{"a.example.net"}, after(10))
	if want := []string{"change-mx 0311 0326 a.example.net", "narrow-policy 0316 0331 *.example.net"}; !slices.Equal(plan(stages), want) {
		t.Errorf("have %q, want %q", plan(stages), want)
	}
}

// Whoever follows a plan never has an MX host in DNS that what is served does not allow,
// and, at the certain dates, none that any held policy does not.
func TestPlansAreSafe(t *testing.T) {
	hosts := []string{"mx1.example.org", "mx2.example.org", "a.example.net", "b.example.net", "mx.example.com"}
	each(t, func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		from, to := someOf(r, hosts), someOf(r, hosts)
		stages := g.PlanMX(f, from, to, now)
		var policy []mtasts.MXPattern
		enforced := false
		if n := len(f.Versions); n > 0 && f.Versions[n-1].Until.IsZero() {
			policy, enforced = f.Versions[n-1].MX, f.Versions[n-1].Mode != mtasts.ModeNone
		}
		last := now
		for _, s := range stages {
			if s.NotBefore.Before(last) || s.Certain.Before(s.NotBefore) {
				t.Errorf("out of order: %+v", stages)
			}
			last = s.NotBefore
			if s.Kind != rollout.ChangeMX {
				policy = nil
				for _, mx := range s.MX {
					policy = append(policy, mtasts.MXPattern(mx))
				}
				continue
			}
			if enforced && !allAllowed(policy, s.MX) {
				t.Errorf("%v is in DNS, and the policy has %v", s.MX, policy)
			}
			for _, v := range f.Versions {
				until := v.Until
				if until.IsZero() {
					until = now // replaced now
				}
				if v.Mode != mtasts.ModeNone && until.Add(v.MaxAge).After(s.Certain) && !allAllowed(v.MX, s.MX) {
					t.Errorf("%+v is held at %s, and DNS has %v", v, s.Certain, s.MX)
				}
			}
		}
		if enforced && len(stages) > 0 && !allAllowed(policy, to) {
			t.Errorf("at the end the policy has %v", policy)
		}
	})
}

func allAllowed(patterns []mtasts.MXPattern, hosts []string) bool {
	for _, host := range hosts {
		if !slices.ContainsFunc(patterns, func(p mtasts.MXPattern) bool { return p.Match(host) }) {
			return false
		}
	}
	return true
}

func someOf(r *rand.Rand, hosts []string) []string {
	hosts = slices.Clone(hosts)
	r.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	return hosts[:1+r.IntN(3)]
}
