package alert_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
)

// A clock that was a year ahead for a while, and what was told then, keeps nothing from being
// told once it is right.
func TestAClockThatWasWrongHoldsUpNothing(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		d := newDesk(t, o)
		for range 4 { // once more than it is told at once in a day
			d.raise(urgent("a"), closed("a"))
			d.after(0)
		}
		d.now = d.now.AddDate(1, 0, 0)
		for i := range 40 {
			d.raise(urgent(fmt.Sprintf("%02d", i)))
		}
		d.after(0)
		d.after(10 * time.Minute) // the rest together, and a digest
		d.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
		d.raise(closed("39"))
		d.after(time.Hour)
		d.answer = nil
		d.now = noon.Add(2 * time.Hour)
		d.raise(urgent("now"), warning("later"))
		if got := d.after(0); !slices.Contains(got, "opened now") || !slices.Contains(got, "closed 39") {
			t.Errorf("told %q", got)
		}
		d.after(time.Minute) // a digest
		for i := range 40 {
			d.raise(closed(fmt.Sprintf("%02d", i)))
		}
		d.raise(closed("now"))
		d.after(0)
		got := d.after(10 * time.Minute)
		if len(got) != 1 || got[0][:5] != "more " {
			t.Errorf("told %q, want the rest together", got)
		}
		d.raise(warning("b"))
		if got := d.after(d.tomorrow()); len(got) != 1 || got[0] != "digest +1[b] -0[] =0[]" {
			t.Errorf("told %q, want a digest", got)
		}
	})
}
