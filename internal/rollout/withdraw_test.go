package rollout_test

import (
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

func version(mode mtasts.Mode, maxAge time.Duration, from, until float64) rollout.Version {
	v := served(mode, maxAge)
	v.From = after(from)
	if until > 0 {
		v.Until = after(until)
	}
	return v
}

// An older version may be held for longer than the last one (RFC 8461 §8.3).
func TestEarliestRemoval(t *testing.T) {
	for _, c := range []struct {
		name     string
		versions []rollout.Version
		want     float64
		ok       bool
	}{
		{"nothing was served", nil, 0, true},
		{"one version", []rollout.Version{version(mtasts.ModeEnforce, 7*day, 0, 10), version(mtasts.ModeNone, day, 10, 0)}, 17, true},
		{"the longest is not the last", []rollout.Version{
			version(mtasts.ModeEnforce, 30*day, 0, 10), version(mtasts.ModeEnforce, day, 10, 20), version(mtasts.ModeNone, day, 20, 0),
		}, 40, true},
		{"the last is the longest", []rollout.Version{
			version(mtasts.ModeEnforce, 5*day, 0, 10), version(mtasts.ModeTesting, 7*day, 10, 20), version(mtasts.ModeNone, 99*day, 20, 0),
		}, 27, true},
		{"none does not count, though served and gone", []rollout.Version{
			version(mtasts.ModeTesting, day, 0, 1), version(mtasts.ModeNone, 99*day, 1, 20),
		}, 2, true},
		{"it is still served", []rollout.Version{version(mtasts.ModeTesting, day, 0, 0)}, 0, false},
	} {
		at, ok := rollout.EarliestRemoval(c.versions)
		want := time.Time{}
		if c.want > 0 {
			want = after(c.want)
		}
		if ok != c.ok || !at.Equal(want) {
			t.Errorf("%s: %s, %t", c.name, at, ok)
		}
	}
}

func TestWithdrawal(t *testing.T) {
	enforced, none := version(mtasts.ModeEnforce, 30*day, 0, 10), version(mtasts.ModeNone, day, 10, 0)
	stopped := none
	stopped.Until = after(20)
	for _, c := range []struct {
		name   string
		facts  rollout.Facts
		at     float64
		step   rollout.Step
		since  float64
		ready  bool
		before float64 // NotBefore; 0 for none
		alarms []string
	}{
		{"none is served", rollout.Facts{Versions: []rollout.Version{enforced, none}}, 39.99, rollout.Withdrawing, 10, false, 40, nil},
		{"all has expired", rollout.Facts{Versions: []rollout.Version{enforced, none}}, 40, rollout.Withdrawing, 10, true, 40, nil},
		{"what is not listed is held for longer", rollout.Facts{Versions: []rollout.Version{enforced, none}, HeldUntil: after(50)}, 45, rollout.Withdrawing, 10, false, 50, nil},
		{"nothing is served too early", rollout.Facts{Versions: []rollout.Version{enforced, stopped}}, 39, rollout.Withdrawing, 20, false, 0, []string{rollout.TakenAway}},
		{"nothing is served of enforce", rollout.Facts{Versions: []rollout.Version{enforced}}, 39, rollout.Withdrawing, 10, false, 0, []string{rollout.TakenAway}},
		{"nothing is served and nobody holds it", rollout.Facts{Versions: []rollout.Version{enforced, stopped}}, 40, rollout.Gone, 40, false, 0, nil},
		{"only the ledger's date is left", rollout.Facts{HeldUntil: after(10)}, 10, rollout.Gone, 10, false, 0, nil},
		{"it began with none", rollout.Facts{Versions: []rollout.Version{none}}, 40, rollout.Withdrawing, 10, false, 10 + 365.25, nil},
		{"meanwhile the MX moved", rollout.Facts{
			Versions: []rollout.Version{enforced, none}, MX: []rollout.MXSet{{Since: start, Hosts: []string{"mx.example.com"}}},
		}, 30, rollout.Withdrawing, 10, false, 40, []string{rollout.GateMXAllowed}},
	} {
		v := rollout.Default().Judge(c.facts, after(c.at))
		if v.Step != c.step || v.Ready != c.ready || !v.Since.Equal(after(c.since)) || !slices.Equal(codes(v.Alarms), c.alarms) {
			t.Errorf("%s: %+v", c.name, v)
		}
		if v.Next.Remove != (c.before > 0) || c.before > 0 && !v.NotBefore.Equal(after(c.before)) {
			t.Errorf("%s: next %+v, not before %s", c.name, v.Next, v.NotBefore)
		}
	}
}
