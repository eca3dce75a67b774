package app

import (
	"fmt"
	"strings"
	"testing"
)

// edited is a domain whose table is edited to enforce.
type edited struct {
	*resident
	before string // what was served: "new" for nothing
	word   string // of an override
	free   bool   // no guard keeps it back
	ripe   bool   // nor once its evidence was looked at
}

const (
	lackingEvidence = "evidence lacking"
	evidenceThere   = "evidence there"
	databaseGone    = "evidence there, database gone"
)

// An edit to enforce, by what was served before, what is known, and what somebody says.
func TestGuard(t *testing.T) {
	for _, guard := range []string{"off", "warn", "refuse"} {
		for _, evidence := range []string{lackingEvidence, evidenceThere, databaseGone} {
			t.Run(guard+", "+evidence, func(t *testing.T) {
				y := newHousehold(t, guard)
				all := y.candidates(guard, evidence)
				y.save()
				y.restart() // with a ledger that knows something
				y.days(20)
				for _, x := range all {
					x.edit()
				}
				y.save()
				if evidence == databaseGone {
					y.app.archive.close()
				}
				y.wantEdited("at once", all, func(x edited) bool { return x.free })
				for range 2 {
					y.app.steward.attend(t.Context())
				}
				y.app.steward.pace(t.Context())
				y.wantEdited("later", all, func(x edited) bool { return x.free || x.ripe })
				y.wantTold(guard, evidence, all)
				y.restart() // what was reached stays, whatever becomes of the word
				y.wantEdited("after a restart", all, func(x edited) bool { return x.free || x.ripe })
			})
		}
	}
}

// candidates move in, one of each kind.
func (y *year) candidates(guard, evidence string) (all []edited) {
	for _, before := range []string{"new", "testing", "enforce", "none"} {
		for _, word := range []string{"no-word", "valid", "expired"} {
			r := y.move(before+"-"+word+".example", "testing", "1d", false)
			r.silent = evidence == lackingEvidence
			switch before {
			case "new":
				r.absent = true
			case "enforce":
				r.mode, r.extra = "enforce", overrideUntil("2027-01-02")
			case "none":
				r.mode = "none"
			}
			all = append(all, edited{
				resident: r, before: before, word: word, free: guard != "refuse" || word == "valid" || before == "enforce",
				ripe: before == "testing" && evidence == evidenceThere,
			})
		}
	}
	return all
}

func (x *edited) edit() {
	x.mode, x.maxAge, x.absent, x.extra = "enforce", "30d", false, ""
	switch x.word {
	case "valid":
		x.extra = overrideUntil("2027-02-01")
	case "expired":
		x.extra = overrideUntil("2027-01-19")
	}
}

// wantEdited: those enforce that may, and the others are in testing.
func (y *year) wantEdited(when string, all []edited, enforces func(edited) bool) {
	y.t.Helper()
	for _, x := range all {
		if enforces(x) {
			y.want(x.resident, when, "enforce 30d")
		} else {
			y.want(x.resident, when, "testing 1d")
		}
	}
}

// wantTold: people learn what is missing, and what went through without evidence.
func (y *year) wantTold(guard, evidence string, all []edited) {
	y.t.Helper()
	lacking := y.app.publisher.stager.lacking()
	for _, x := range all {
		if why := lacking[x.name]; (why != "") != (!x.free && !x.ripe) {
			y.t.Errorf("%s: what is missing is said to be %q", x.name, why)
		}
		want := guard == "warn" && evidence == lackingEvidence && x.before == "testing" && x.word != "valid"
		if said := strings.Contains(y.log.String(), "without its evidence\" domain="+x.name); said != want {
			y.t.Errorf("%s: the log tells of an edit without evidence: %t, want %t", x.name, said, want)
		}
	}
	if trouble := strings.Join(y.app.steward.amiss(), "\n"); strings.Contains(trouble, "cannot be looked at") != (evidence == databaseGone) {
		y.t.Errorf("amiss: %q", trouble)
	}
}

func overrideUntil(date string) string {
	return fmt.Sprintf("override = { reason = \"a reason\", author = \"me\", until = %q }\n", date)
}
