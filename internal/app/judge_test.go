package app

import (
	"slices"
	"testing"

	"mtasts-server/config"
)

// One domain whose numbers make no sense takes no step, and holds up no other.
func TestOneMisfitHoldsUpNoOther(t *testing.T) {
	y := newHousehold(t, "off")
	y.move("a.example", "testing", "1d", false)
	y.move("b.example", "testing", "1d", false)
	y.save()
	y.days(20)
	none := 0
	domains := slices.Clone(y.app.publisher.shown.Load().Domains)
	odd := *domains[0].Circumstances
	odd.Plan = &config.Plan{Gates: config.Gates{Windows: &none}}
	domains[0] = &config.Domain{Name: domains[0].Name, Body: domains[0].Body, ID: domains[0].ID, Circumstances: &odd}
	ready := map[string]bool{}
	err := y.app.steward.judge.each(t.Context(), domains, func(x *judged) error {
		ready[x.domain.Name] = x.verdict.Ready
		return nil
	})
	if err != nil || ready["a.example"] || !ready["b.example"] || len(ready) != 2 {
		t.Errorf("ready: %v, %v", ready, err)
	}
}

// A step that takes half a year without failures looks at half a year.
func TestLongWindowsAreLookedAtWhole(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "testing", "1d", false)
	a.windows = 160
	y.save()
	y.days(3)
	a.trouble = "certificate-expired"
	y.days(1)
	a.trouble = ""
	y.days(140)
	passed := map[string]bool{}
	err := y.app.steward.judge.each(t.Context(), y.app.publisher.shown.Load().Domains, func(x *judged) error {
		for _, g := range x.verdict.Gates {
			passed[g.Name] = g.Passed
		}
		return nil
	})
	if err != nil || passed["failures"] || !passed["sessions"] {
		t.Errorf("gates: %v, %v", passed, err)
	}
}
