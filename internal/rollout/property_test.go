package rollout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// runs is how many random domains each property is tried on.
const runs = 1500

// each tries a property on random domains, each with a seed that makes it again.
func each(t *testing.T, property func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time)) {
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 1))
		g, f, now := anyGates(r), rollout.Facts{}, after(float64(r.IntN(60))+r.Float64())
		f = anyFacts(r, now)
		property(t, r, g, f, now)
		if t.Failed() {
			t.Fatalf("seed %d: %+v at %s with %+v", seed, f, now, g)
		}
	}
}

func anyGates(r *rand.Rand) rollout.Gates {
	g := rollout.Default()
	if r.IntN(2) == 0 {
		g.Windows = 1 + r.IntN(20)
		g.ActiveWindows = r.IntN(g.Windows + 1)
		g.Reporters = r.IntN(3)
		g.CurrentReporters = r.IntN(g.Reporters + 1)
		g.Ladder[1].Clean, g.Ladder[2].Clean = 1+r.IntN(10), 1+r.IntN(10)
		g.Lag = time.Duration(r.IntN(5*24)) * time.Hour
		g.Silence = time.Duration(1+r.IntN(10)) * day
	}
	g.UnauthenticatedHolds = r.IntN(2) == 0
	return g
}

// anyFacts is a domain that is mostly well, so that gates are open and shut.
func anyFacts(r *rand.Rand, now time.Time) rollout.Facts {
	f := rollout.Facts{Check: rollout.Check{At: now, OK: r.IntN(5) > 0}}
	if r.IntN(10) > 0 {
		f.TLSRPTSince = after(float64(r.IntN(40)) - 20)
	}
	from := start
	for range r.IntN(4) {
		v := anyVersion(r)
		v.From, from = from, from.Add(time.Duration(1+r.IntN(15*24))*time.Hour)
		if from.After(now) {
			break
		}
		v.Until = from
		f.Versions = append(f.Versions, v)
	}
	if r.IntN(10) > 0 {
		v := anyVersion(r)
		v.From = from
		if n := len(f.Versions); n == 0 || f.Versions[n-1].Until.Equal(from) && !from.After(now) {
			f.Versions = append(f.Versions, v)
		}
	}
	f.MX = []rollout.MXSet{{Since: after(float64(r.IntN(20)) - 15), Hosts: []string{"mx1.example.org"}}}
	if r.IntN(5) == 0 {
		f.MX = append(f.MX, rollout.MXSet{Since: now.Add(-time.Duration(r.IntN(500)) * time.Hour), Hosts: []string{[]string{"a.example.net", "other.example.com"}[r.IntN(2)]}})
	}
	quiet := r.IntN(8)
	for date := start.Add(-3 * day); date.Before(now); date = date.Add(day) {
		if d := good(date); r.IntN(8) >= quiet {
			d.Authenticated.Reporters = d.Authenticated.Reporters[:r.IntN(3)]
			f.Days = append(f.Days, d)
		}
	}
	for range r.IntN(3) {
		f.Days = append(f.Days, badDay(r, now))
	}
	return f
}

func anyVersion(r *rand.Rand) rollout.Version {
	modes := []mtasts.Mode{mtasts.ModeTesting, mtasts.ModeTesting, mtasts.ModeEnforce, mtasts.ModeEnforce, mtasts.ModeNone}
	ages := []time.Duration{time.Hour, day, 7 * day, 14 * day, 30 * day}
	return served(modes[r.IntN(len(modes))], ages[r.IntN(len(ages))])
}

func badDay(r *rand.Rand, now time.Time) rollout.Day {
	e := anyFailures(r)
	d := rollout.Day{Date: start.Add(time.Duration(r.IntN(int(now.Sub(start)/day)+2)-1) * day)}
	if r.IntN(2) == 0 {
		d.Authenticated = e
	} else {
		d.Unauthenticated = e
	}
	return d
}

func anyFailures(r *rand.Rand) rollout.Evidence {
	kinds := append(tlsrpt.ResultTypes(), "another")
	types := []tlsrpt.PolicyType{tlsrpt.PolicySTS, tlsrpt.PolicyTLSA, tlsrpt.PolicyNone, "another"}
	return rollout.Evidence{Failures: []rollout.Failure{{Policy: types[r.IntN(len(types))], Result: kinds[r.IntN(len(kinds))], Sessions: 1 + r.Int64N(9)}}}
}

// noneOpened says which gates are passed in after that were not in before, or sooner to be.
func noneOpened(t *testing.T, before, after rollout.Verdict) {
	t.Helper()
	if len(before.Gates) != len(after.Gates) || before.Next != after.Next {
		t.Fatalf("other gates: %+v, %+v", before, after)
	}
	for i, g := range before.Gates {
		switch now := after.Gates[i]; {
		case !g.Passed && now.Passed:
			t.Errorf("a gate opened: %+v, %+v", g, now)
		case now.EarliestAt.Before(g.EarliestAt) && !now.EarliestAt.IsZero():
			t.Errorf("a gate opens sooner: %+v, %+v", g, now)
		}
	}
	if after.Ready && !before.Ready || after.NotBefore.Before(before.NotBefore) {
		t.Errorf("the step may be taken sooner: %+v, %+v", before, after)
	}
}

func TestMoreFailuresOpenNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		before := g.Judge(f, now)
		for range 1 + r.IntN(3) {
			f.Days = append(f.Days, badDay(r, now))
		}
		noneOpened(t, before, g.Judge(f, now))
	})
}

func TestNobodyKnownOpensNothing(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		before := g.Judge(f, now)
		for date := start; date.Before(now); date = date.Add(day) {
			d := rollout.Day{Date: date, Unauthenticated: good(date).Authenticated}
			d.Unauthenticated.Reporters = append(d.Unauthenticated.Reporters, rollout.Reporter{Domain: "forged.example", Current: true})
			if r.IntN(3) == 0 {
				d.Unauthenticated.Failures = anyFailures(r).Failures
			}
			f.Days = append(f.Days, d)
		}
		noneOpened(t, before, g.Judge(f, now))
	})
}

// Whatever is known, what is advised is never less than what is served; and a policy goes
// only after somebody has begun to withdraw it.
func TestNeverDown(t *testing.T) {
	each(t, func(t *testing.T, _ *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		v := g.Judge(f, now)
		current, served := rollout.Version{}, false
		if n := len(f.Versions); n > 0 && f.Versions[n-1].Until.IsZero() {
			current, served = f.Versions[n-1], true
		}
		switch {
		case v.Next.Remove && (current.Mode != mtasts.ModeNone || !served):
			t.Errorf("it is to go: %+v", v)
		case served && current.Mode == mtasts.ModeNone && v.Next != rollout.Next{Remove: true}:
			t.Errorf("of none: %+v", v)
		case current.Mode == mtasts.ModeTesting && v.Next.Mode != mtasts.ModeEnforce:
			t.Errorf("of testing: %+v", v)
		case current.Mode == mtasts.ModeEnforce && v.Next != rollout.Next{} && (v.Next.Mode != mtasts.ModeEnforce || v.Next.MaxAge <= current.MaxAge):
			t.Errorf("of enforce: %+v", v)
		}
	})
}

// What holds is an open gate, what is ready has none, and numbers say when.
func TestVerdictIsOne(t *testing.T) {
	ready := 0
	each(t, func(t *testing.T, _ *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		v := g.Judge(f, now)
		shut := open(v)
		if v.Ready != (v.Next != rollout.Next{} && len(shut) == 0) || v.Ready && len(v.Hold) > 0 || v.Ready && !v.NotBefore.Equal(now) {
			t.Errorf("%+v", v)
		}
		for _, h := range v.Hold {
			if len(v.Gates) > 0 && !slices.Contains(shut, h.Code) {
				t.Errorf("held by a gate that is passed: %+v", v)
			}
		}
		for _, gate := range v.Gates {
			if !gate.EarliestAt.IsZero() && (gate.Passed || !gate.EarliestAt.After(now)) {
				t.Errorf("%+v at %s", gate, now)
			}
		}
		if !slices.Contains(rollout.Steps(), v.Step) {
			t.Errorf("step %q", v.Step)
		}
		if v.Ready {
			ready++
		}
	})
	if ready < runs/50 || ready > runs/2 {
		t.Errorf("%d of %d random domains are ready: these properties say little", ready, runs)
	}
}

// If all goes well from now on, each gate opens when it was said to, not before, and stays open.
func TestTimeOnlyOpens(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		then := func(at time.Time) rollout.Verdict {
			return g.Judge(goesOn(f, g, now, at), at)
		}
		v := then(now)
		for i, gate := range v.Gates {
			at := later(gate.EarliestAt, now)
			if gate.EarliestAt.IsZero() && !gate.Passed {
				continue // it waits for somebody
			}
			if g := then(at).Gates[i]; !g.Passed {
				t.Errorf("%+v does not open then: %+v", gate, g)
			}
			if g := then(at.Add(-time.Second)).Gates[i]; at.After(now) && g.Passed {
				t.Errorf("%+v opened before: %+v", gate, g)
			}
			if at = at.Add(time.Duration(r.IntN(1000)) * time.Hour); !then(at).Gates[i].Passed {
				t.Errorf("%+v did not stay open until %s: %+v", gate, at, then(at).Gates[i])
			}
		}
		if at := v.NotBefore; v.Next != (rollout.Next{}) && v.NotBefore.After(now) && then(at.Add(-time.Second)).Ready {
			t.Errorf("ready before %s: %+v", at, v)
		}
	})
}

// goesOn is the domain at a later time, if from now on every day is good. Of the days that
// are still waited for at now, reports of success may yet come.
func goesOn(f rollout.Facts, g rollout.Gates, now, at time.Time) rollout.Facts {
	f.Check.At, f.Days = at, slices.Clone(f.Days)
	for date := now.Add(-g.Lag).Truncate(day); !date.After(at); date = date.Add(day) {
		if date.Before(at) {
			d := good(date)
			d.Authenticated.Reporters[1].Current = true
			f.Days = append(f.Days, d)
		}
	}
	return f
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// The order in which facts stand does not matter where it has no meaning.
func TestOrderOfDays(t *testing.T) {
	each(t, func(t *testing.T, r *rand.Rand, g rollout.Gates, f rollout.Facts, now time.Time) {
		want := fmt.Sprintf("%+v", g.Judge(f, now))
		f.Days = slices.Clone(f.Days)
		r.Shuffle(len(f.Days), func(i, j int) { f.Days[i], f.Days[j] = f.Days[j], f.Days[i] })
		if have := fmt.Sprintf("%+v", g.Judge(f, now)); have != want {
			t.Errorf("have %s, want %s", have, want)
		}
	})
}
