package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// The verbs beside the server show what is served, and not what the table is on its way to.
func TestVerbsShowStages(t *testing.T) {
	y := newHousehold(t, "refuse")
	auto, hand, plain := y.move("auto.example", "enforce", "30d", true), y.move("hand.example", "testing", "7d", false), y.move("plain.example", "testing", "1d", false)
	y.records[auto.name] = "none-of-ours"
	hand.extra = ""
	y.save()
	y.app.steward.attend(t.Context())
	hand.mode, hand.maxAge = "enforce", "30d"
	y.clock = y.clock.Add(time.Hour)
	y.save()
	y.see()
	v, err := OpenView("main.toml", func(err error) { t.Error(err) })
	y.check(err)
	wants := v.Wants()
	for _, r := range []*resident{auto, hand, plain} {
		body := string(r.now().body)
		p, err := v.Policy(r.name)
		y.check(err)
		if p.Policy != body || p.ID != mtasts.ID([]byte(body)) || !p.Current() {
			t.Errorf("%s: policy shows\n%s (%s), served is\n%s", r.name, p.Policy, p.State, body)
		}
		if said := strings.Contains(fmt.Sprint(p.Why), "on the way to enforce"); said != (r != plain) {
			t.Errorf("%s: %v", r.name, p.Why)
		}
		if w := wants[r.name]; string(w.Body) != body {
			t.Errorf("%s: verify wants\n%s", r.name, w.Body)
		}
		views, err := v.Records(t.Context(), []string{r.name}, RecordsOptions{Offline: true})
		y.check(err)
		if got := fmt.Sprint(views[0].Records); !strings.Contains(got, mtasts.ID([]byte(body))) {
			t.Errorf("%s: records are %s", r.name, got)
		}
	}
}

// What the server does by itself ends where the table says; where it says testing, the server
// does nothing by itself.
func TestRolloutEndsWithTheTable(t *testing.T) {
	y := newHousehold(t, "off")
	y.move("low.example", "enforce", "2d", true)
	y.move("testing.example", "testing", "1d", true)
	y.save()
	show := func(name string) (view *RolloutView) {
		t.Helper()
		r, err := OpenRollout("main.toml", func(err error) { t.Error(err) })
		y.check(err)
		defer r.Close()
		r.judge.now = func() time.Time { return y.clock }
		y.check(r.Each(t.Context(), []string{name}, func(v *RolloutView) error { view = v; return nil }))
		return view
	}
	pace := func(days int) {
		for range days {
			y.days(1)
			y.app.steward.attend(t.Context())
			y.app.steward.pace(t.Context())
			y.see()
		}
	}
	pace(1)
	if v := show("testing.example"); v.Auto || len(v.Edit) == 0 || v.Next == nil {
		t.Errorf("testing.example: auto %t, edit %q", v.Auto, v.Edit)
	}
	d := *byName(y.app.publisher.shown.Load(), []string{"testing.example"})["testing.example"]
	d.Name, d.AliasOf = "alias.example", d.Name
	if lines := edit(&d, rollout.Next{Mode: mtasts.ModeEnforce, MaxAge: 24 * time.Hour}); lines[0] != ` [domains."testing.example"]` {
		t.Errorf("an alias has no table: %q", lines)
	}
	if v := show("testing.example"); v.Kept != "" {
		t.Errorf("it is configured: %q", v.Kept)
	}
	pace(20)
	if v := show("low.example"); !v.Auto || v.Step != "enforce-short" || v.Next == nil || v.Next.MaxAge != 2*86400 {
		t.Errorf("low.example on the way: %+v", v)
	}
	pace(20)
	if v := show("low.example"); v.Step != "enforce-short" || v.Next != nil || v.Ready || len(v.Gates) > 0 {
		t.Errorf("low.example at its end: %+v", v)
	}
}

// Old MX hosts stay allowed until resolvers have forgotten them, and the mail that waits for
// them is delivered.
func TestPlanMXWaitsForResolvers(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "1d", false)
	y.save()
	r, err := OpenRollout("main.toml", func(err error) { t.Error(err) })
	y.check(err)
	defer r.Close()
	plan, err := r.PlanMX(t.Context(), a.name, a.mx, []string{"mx.new.example"})
	y.check(err)
	if len(plan.Stages) != 3 {
		t.Fatalf("stages: %+v", plan.Stages)
	}
	if wait := plan.Stages[2].NotBefore.Sub(plan.Stages[1].NotBefore); wait < 6*day {
		t.Errorf("the old hosts are allowed for %s after the change, want six days", wait)
	}
}

// The page shows the day that somebody wrote, and not the one after it, with which a word ends.
func TestPageShowsDaysAsWritten(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "testing", "1d", false)
	a.extra = overrideUntil("2030-01-01") + "silence = [{ code = \"x\", reason = \"r\", author = \"a\", until = 2030-01-01 }]\n"
	y.save()
	r, err := OpenRollout("main.toml", func(err error) { t.Error(err) })
	y.check(err)
	defer r.Close()
	page, err := r.Review(t.Context(), "", y.clock.Add(-day), y.clock, nil)
	y.check(err)
	var b strings.Builder
	y.check(page.WriteMarkdown(&b))
	if strings.Contains(b.String(), "2030-01-02") || strings.Count(b.String(), "2030-01-01") != 2 {
		t.Errorf("%s", b.String())
	}
}
