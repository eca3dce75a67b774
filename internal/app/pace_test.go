package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// walker is a domain with rollout.auto that took its last step so long ago.
func walker(name string, now time.Time, ago time.Duration, change func(*judged)) *judged {
	p := mtasts.Policy{Mode: mtasts.ModeEnforce, MaxAge: int((30 * day).Seconds()), MX: []mtasts.MXPattern{"mx.example"}}
	at := now.Add(-ago)
	x := &judged{
		domain: &config.Domain{Name: name, Body: p.Body(), Circumstances: &config.Circumstances{Plan: &config.Plan{Auto: true}}},
		facts: rollout.Facts{Versions: []rollout.Version{
			{Mode: mtasts.ModeTesting, MaxAge: day, From: at.Add(-20 * day), Until: at}, {Mode: mtasts.ModeEnforce, MaxAge: day, From: at},
		}},
		verdict: rollout.Verdict{Step: rollout.EnforceShort, Since: at},
	}
	if change != nil {
		change(x)
	}
	return x
}

func ready(x *judged) {
	x.verdict.Ready, x.verdict.Next = true, rollout.Next{Mode: mtasts.ModeEnforce, MaxAge: 7 * day}
}

func alarmed(x *judged) { x.verdict.Alarms = []rollout.Reason{{Code: rollout.GateFailures}} }

func unsigned(holds bool) func(*judged) {
	return func(x *judged) {
		x.gates.UnauthenticatedHolds = holds
		x.verdict.Alarms = []rollout.Reason{{Code: rollout.GateUnsigned}}
	}
}

func brokenFor(d time.Duration, now time.Time) func(*judged) {
	return func(x *judged) { x.broken = now.Add(-d) }
}

// Who moves on today: so many of those that may, who waits for longest first.
func TestCohortQuota(t *testing.T) {
	now := time.Date(2027, 3, 1, 6, 0, 0, 0, time.UTC)
	all := []*judged{
		walker("new.example", now, 10*day, ready), walker("b.example", now, 20*day, ready), walker("a.example", now, 20*day, ready),
		walker("not-ready.example", now, 40*day, nil),
		walker("arrived.example", now, 50*day, func(x *judged) { ready(x); x.facts.Versions[1].MaxAge = 30 * day }),
		walker("to-testing.example", now, 50*day, func(x *judged) { ready(x); x.verdict.Next.Mode = mtasts.ModeTesting }),
	}
	for _, c := range []struct {
		quota   int
		stepped time.Duration // of two others
		want    string
	}{
		{1, 3 * day, "[a.example]"},
		{2, 3 * day, "[a.example b.example]"},
		{9, 3 * day, "[a.example b.example new.example]"},
		{3, 24 * time.Hour, "[a.example b.example new.example]"},
		{3, 24*time.Hour - time.Second, "[a.example]"},
		{2, time.Hour, "[]"},
		{1, time.Hour, "[]"},
	} {
		co := &cohort{now: now, quota: c.quota}
		for _, x := range append([]*judged{walker("x.example", now, c.stepped, nil), walker("y.example", now, c.stepped, nil)}, all...) {
			co.see(x)
		}
		var names []string
		for _, x := range co.next() {
			names = append(names, x.domain.Name)
		}
		if got := fmt.Sprint(names); got != c.want || co.stop() != "" {
			t.Errorf("quota %d, others stepped %s ago: %s, want %s (stop: %q)", c.quota, c.stepped, got, c.want, co.stop())
		}
	}
}

// What goes bad after a step stops all others, until it is mended.
func TestCohortStops(t *testing.T) {
	now := time.Date(2027, 3, 1, 6, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		fresh int // that are well
		ago   time.Duration
		bad   func(*judged)
		many  int
		stop  bool
	}{
		{"all is well", 10, day, nil, 1, false},
		{"one alarms", 10, day, alarmed, 1, true},
		{"one of 50", 49, day, alarmed, 1, true},
		{"one of 51", 50, day, alarmed, 1, false},
		{"two of 60", 58, day, alarmed, 2, true},
		{"a gate is open", 10, day, func(x *judged) { x.verdict.Gates = []rollout.Gate{{Name: rollout.GateFailures}} }, 1, true},
		{"a gate that is only a matter of time", 10, day, func(x *judged) { x.verdict.Gates = []rollout.Gate{{Name: rollout.GateWindows}} }, 1, false},
		{"anybody's word", 10, day, unsigned(true), 1, true},
		{"anybody's word, which does not hold", 10, day, unsigned(false), 1, false},
		{"it stepped long ago, and alarms", 10, 8 * day, alarmed, 1, false},
		{"it broke after the step, and is so still", 10, 20 * day, brokenFor(15*day, now), 1, true},
		{"it broke long after the step", 10, 20 * day, brokenFor(10*day, now), 1, false},
		{"nobody has mended it for a month", 10, 31 * day, brokenFor(30*day, now), 1, false},
	} {
		co := &cohort{now: now, quota: 5}
		for i := range c.fresh {
			co.see(walker(fmt.Sprint(i), now, 2*day, nil))
		}
		for i := range c.many {
			co.see(walker(fmt.Sprintf("bad%d.example", i), now, c.ago, c.bad))
		}
		if why := co.stop(); (why != "") != c.stop {
			t.Errorf("%s: stop %q, want %t", c.name, why, c.stop)
		}
	}
}

// A step that could not be written down would be taken back by a restart: none is taken then.
func TestNoStepWithoutALedger(t *testing.T) {
	y := newHousehold(t, "refuse")
	auto, hand := y.move("auto.example", "enforce", "30d", true), y.move("hand.example", "testing", "1d", false)
	y.save()
	y.app.steward.attend(t.Context())
	y.save()
	y.days(20)
	hand.mode = "enforce"
	y.check(os.Rename("state/ledger", "state/elsewhere"))
	y.check(os.WriteFile("state/ledger", nil, 0o600))
	y.save()
	step := func() {
		y.app.steward.attend(t.Context())
		y.app.steward.pace(t.Context())
		y.see()
	}
	step()
	y.want(auto, "with a broken disk", "testing 1d")
	y.want(hand, "with a broken disk", "testing 1d")
	y.check(os.Remove("state/ledger"))
	y.check(os.Rename("state/elsewhere", "state/ledger"))
	y.save()
	step()
	y.want(auto, "once it is mended", "enforce 1d")
	y.want(hand, "once it is mended", "enforce 1d")
}

// What is amiss with looking at all domains is told of, and tried again, until that goes well:
// that a few can be looked at mends nothing.
func TestTroubleOfAllOutlivesThatOfFew(t *testing.T) {
	y := newHousehold(t, "refuse")
	y.move("a.example", "testing", "1d", false)
	y.save()
	s := y.app.steward
	open := s.open
	s.open = func(context.Context, string) ([]string, error) { return nil, errors.New("it is gone") }
	s.pace(t.Context())
	s.attend(t.Context())
	if lines := strings.Join(s.amiss(), "\n"); !strings.Contains(lines, "it is gone") || !s.failed() {
		t.Errorf("amiss: %q, failed: %t", lines, s.failed())
	}
	s.open = open
	s.pace(t.Context())
	if lines := strings.Join(s.amiss(), "\n"); lines != "" || s.failed() {
		t.Errorf("then amiss: %q, failed: %t", lines, s.failed())
	}
}

// That the rollout goes on is told by the process that had stopped it, and not each hour by
// another one, which has other steps behind it.
func TestOnlyWhoStoppedGoesOn(t *testing.T) {
	y := newHousehold(t, "off")
	y.move("a.example", "testing", "1d", false)
	y.save()
	y.app.steward.pace(t.Context())
	y.open[stoppedKey] = true // by another process
	y.app.steward.pace(t.Context())
	if !y.open[stoppedKey] {
		t.Error("what another process has stopped is said to go on")
	}
	y.restart()
	y.app.steward.pace(t.Context())
	if y.open[stoppedKey] {
		t.Error("what the process before had stopped does not go on")
	}
}

// A step is one for as long as it is fresh, whatever was edited since.
func TestLastStep(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	v := func(hours int, mode mtasts.Mode, days int) rollout.Version {
		return rollout.Version{Mode: mode, MaxAge: time.Duration(days) * 24 * time.Hour, From: now.Add(time.Duration(hours) * time.Hour)}
	}
	for name, c := range map[string]struct {
		versions []rollout.Version
		want     int // hours; -1 for none
	}{
		"nothing":               {nil, -1},
		"new":                   {[]rollout.Version{v(0, "enforce", 1)}, -1},
		"to enforce":            {[]rollout.Version{v(0, "testing", 1), v(1, "enforce", 1)}, 1},
		"longer":                {[]rollout.Version{v(0, "testing", 1), v(1, "enforce", 1), v(2, "enforce", 7)}, 2},
		"other MX hosts since":  {[]rollout.Version{v(0, "testing", 1), v(1, "enforce", 1), v(2, "enforce", 1)}, 1},
		"shorter since":         {[]rollout.Version{v(0, "testing", 1), v(1, "enforce", 7), v(2, "enforce", 1)}, 1},
		"back to testing since": {[]rollout.Version{v(0, "testing", 1), v(1, "enforce", 7), v(2, "testing", 7)}, -1},
	} {
		at, ok := lastStep(rollout.Facts{Versions: c.versions})
		if ok != (c.want >= 0) || ok && !at.Equal(now.Add(time.Duration(c.want)*time.Hour)) {
			t.Errorf("%s: %v, %t", name, at, ok)
		}
	}
}
