package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

// The server takes the steps by itself, as far as the table says.
func TestAutoRungs(t *testing.T) {
	y := newHousehold(t, "off")
	a, low := y.move("a.example", "enforce", "30d", true), y.move("low.example", "enforce", "3d", true)
	y.save()
	var steps []string
	seen := map[string]string{}
	for n := range 80 {
		y.days(1)
		y.app.steward.attend(t.Context())
		y.app.steward.pace(t.Context())
		y.see()
		for _, r := range []*resident{a, low} {
			if is := y.is(r); is != seen[r.name] {
				seen[r.name] = is
				steps = append(steps, fmt.Sprintf("%d %s %s", n+1, r.name, is))
			}
		}
		if n == 30 {
			y.restart()
		}
		for range 3 { // looking again changes nothing
			y.app.publisher.look()
		}
	}
	// One a day, as of two domains 5 % is one at least.
	want := []string{"1 a.example testing 1d", "1 low.example testing 1d", "20 a.example enforce 1d", "21 low.example enforce 1d", "31 a.example enforce 1w", "32 low.example enforce 3d", "63 a.example enforce 30d"}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps\n%s\nwant\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
	}
}

// What was granted is for the policy that the evidence is on.
func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*year, *resident)
		want string
	}{
		{"as it was", func(*year, *resident) {}, "enforce 1d"},
		{"other MX hosts", func(_ *year, r *resident) { r.mx = []string{"mx.other.example"} }, "testing 1d"},
		{"to testing and back", func(y *year, r *resident) {
			r.mode = "testing"
			y.save()
			r.mode = "enforce"
		}, "testing 30d"},
		{"to none and back", func(y *year, r *resident) {
			r.mode = "none"
			y.save()
			r.mode = "enforce"
		}, "testing 1d"},
		{"to testing for good", func(_ *year, r *resident) { r.mode = "testing" }, "testing 30d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newHousehold(t, "off")
			r := y.move("a.example", "enforce", "30d", true)
			y.save()
			y.app.steward.attend(t.Context())
			y.want(r, "at first", "testing 1d")
			e, _ := y.app.publisher.ledger.Lookup(r.name)
			y.clock = y.clock.Add(time.Hour)
			if s := y.app.publisher.stager; !s.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day}) || s.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day}) {
				t.Error("a grant is news once")
			}
			c.edit(y, r)
			y.save()
			y.want(r, "then", c.want)
		})
	}
}

// An edit of the MX hosts in the middle is served at once, in the stage that was reached.
func TestEditsOnTheWay(t *testing.T) {
	y := newHousehold(t, "off")
	r := y.move("a.example", "enforce", "30d", true)
	y.save()
	y.app.steward.attend(t.Context())
	e, _ := y.app.publisher.ledger.Lookup(r.name)
	y.app.publisher.stager.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day})
	y.save()
	y.want(r, "after a step", "enforce 1d")
	r.mx = append(r.mx, "mx.new.example")
	y.save()
	y.want(r, "with another MX host", "enforce 1d")
	if body := string(r.now().body); !strings.Contains(body, "mx.new.example") {
		t.Errorf("the edit is not served:\n%s", body)
	}
	r.maxAge = "1d"
	y.save()
	y.want(r, "with a goal that is reached", "enforce 1d")
	r.mode, r.maxAge = "testing", "7d"
	y.save()
	y.want(r, "back to testing", "testing 1w")
	r.mode = "enforce"
	y.save()
	y.want(r, "and to enforce", "testing 1w")
}
