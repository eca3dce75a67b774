package app

import (
	"testing"
	"time"

	"mtasts-server/mtasts"
)

// guarded are settings with a guard.
func guarded(guard string) string {
	return "policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[review]\n[rollout]\nguard = \"" + guard + "\"\n"
}

// An edit to enforce waits for its evidence in testing, whatever else is edited; an edit to
// what is milder waits for nothing, nor does the way out (RFC 8461 §8.3).
func TestGuardHoldsBackEnforceAlone(t *testing.T) {
	d := newDesk(t, map[string]string{"main.toml": guarded("refuse"), "policies/a.toml": table("a.example", "testing", "1d", "mx.example")})
	d.want("a.example", "testing mx.example")
	d.write("policies/a.toml", table("a.example", "enforce", "1d", "mx.example"))
	d.want("a.example", "testing mx.example")
	d.write("policies/a.toml", table("a.example", "enforce", "1d", "mx2.example"))
	d.want("a.example", "testing mx2.example")
	d.open() // a restart grants nothing
	d.want("a.example", "testing mx2.example")
	d.publisher.stager.grant("a.example", d.publisher.plan.ids["a.example"], stage{mtasts.ModeEnforce, day})
	d.want("a.example", "enforce mx2.example")
	d.open() // what was served is the evidence that it may be
	d.want("a.example", "enforce mx2.example")
	d.write("policies/a.toml", table("a.example", "none", "1d", "mx2.example"))
	d.want("a.example", "none mx2.example")
}

// With rollout.auto a policy is served in the stage that was granted, and never in less than
// was served before; an edit that wants less is followed at once.
func TestAutoServesWhatWasGranted(t *testing.T) {
	auto := func(mode string) string {
		return table("a.example", mode, "30d", "mx.example") + "rollout = { auto = true }\n"
	}
	d := newDesk(t, map[string]string{"policies/a.toml": table("a.example", "testing", "1d", "mx.example")})
	d.write("policies/a.toml", auto("enforce"))
	served := func(mode mtasts.Mode, maxAge time.Duration) {
		t.Helper()
		d.want("a.example", string(mode)+" mx.example")
		if e, ok := d.publisher.ledger.Lookup("a.example"); !ok || e.Mode != mode || e.MaxAge != maxAge {
			t.Errorf("%s for %s is in the ledger, want %s for %s", e.Mode, e.MaxAge, mode, maxAge)
		}
	}
	served(mtasts.ModeTesting, day)
	d.publisher.stager.grant("a.example", d.publisher.plan.ids["a.example"], stage{mtasts.ModeEnforce, day})
	served(mtasts.ModeEnforce, day)
	d.open()
	served(mtasts.ModeEnforce, day)
	d.publisher.stager.grant("a.example", d.publisher.plan.ids["a.example"], stage{mtasts.ModeEnforce, 60 * day}) // more than the table says
	served(mtasts.ModeEnforce, 30*day)
	d.write("policies/a.toml", auto("testing"))
	served(mtasts.ModeTesting, 30*day)
}
