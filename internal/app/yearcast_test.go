package app

import (
	"context"
	"fmt"
	"math"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// kind is a kind of domain: how many there are of 1,000, what happens to them, and how they
// are to end.
type kind struct {
	name   string
	count  int
	spread int // their tables appear within so many days
	first  int // from this one on
	end    string
	begin  func(*resident)        // nil: testing, by hand
	live   func(*year, *resident) // each morning
	attack func(*year, *resident) // what is forged that day
}

const (
	providerBreaks = 100 // the day of the year that a provider's certificate goes bad on
	providerMends  = 105
	databaseLost   = 70  // in March
	ledgerLost     = 160 // in June
)

func auto(r *resident)   { r.mode, r.maxAge, r.auto = "enforce", "30d", true }
func byHand(r *resident) { r.mode, r.maxAge = "testing", "1d" }

// ladder edits a table as somebody by hand does, on the days of its age.
func ladder(r *resident, to1d, to7d, to30d int) {
	switch r.age {
	case to1d:
		r.mode, r.maxAge = "enforce", "1d"
	case to7d:
		r.maxAge = "7d"
	case to30d:
		r.maxAge = "30d"
	}
}

func impatient(_ *year, r *resident) { ladder(r, 2, 60, 120) }
func patient(_ *year, r *resident)   { ladder(r, 21, 60, 120) }

func between(n, from, to int) bool { return n >= from && n < to }

// failing has sessions of r fail from one day of its age to another.
func fails(r *resident, what string, from, to int) {
	if r.trouble = ""; between(r.age, from, to) {
		r.trouble = what
	}
}

func cast() []*kind {
	return []*kind{
		{name: "hand, patient", count: 150, spread: 150, end: "enforce 30d", live: patient},
		{name: "hand, impatient", count: 150, spread: 150, end: "enforce 30d", live: impatient},
		{name: "hand, stays in testing", count: 10, spread: 100, end: "testing 1d"},
		{name: "auto", count: 250, spread: 150, end: "enforce 30d", begin: auto},
		{name: "auto, goal is a low rung", count: 20, spread: 100, end: "enforce 1w", begin: func(r *resident) { auto(r); r.maxAge = "7d" }},
		{name: "auto, mail twice a week, own gates", count: 60, spread: 120, end: "enforce 30d", begin: func(r *resident) { auto(r); r.every, r.windows = 2, 28 }},
		{name: "auto, mail twice a week, advised gates", count: 30, spread: 100, end: "testing 1d", begin: func(r *resident) { auto(r); r.every = 2 }},
		{name: "auto, reporters go silent in testing", count: 30, spread: 150, end: "testing 1d", begin: auto, live: func(_ *year, r *resident) { r.silent = r.age > 9 }},
		{name: "auto, reporters go silent later", count: 20, spread: 100, end: "enforce 30d", begin: auto, live: func(_ *year, r *resident) { r.silent = r.age > 240 }},
		{name: "auto, MX moved by plan-mx", count: 40, spread: 60, end: "enforce 30d", begin: auto, live: moveRight},
		{name: "auto, MX moved without a plan", count: 30, spread: 60, end: "enforce 30d", begin: auto, live: moveWrong},
		{name: "auto, at a provider that changes", count: 50, first: 76, spread: 3, end: "enforce 30d", begin: auto, live: atProvider},
		{name: "auto, certificate expires", count: 20, spread: 100, end: "enforce 30d", begin: auto, live: func(_ *year, r *resident) { fails(r, "certificate-expired", 200, 202) }},
		{name: "hand, certificate expires in testing", count: 20, spread: 100, end: "enforce 30d", live: func(y *year, r *resident) { fails(r, "certificate-expired", 5, 7); impatient(y, r) }},
		{name: "attacked, forged failures over HTTPS, enforced", count: 10, spread: 60, end: "enforce 30d", begin: auto, attack: forge(200, 260, forgery{"", "big.example", 0, 1000})},
		{name: "attacked, forged failures over HTTPS, in testing", count: 10, spread: 60, end: "enforce 30d", begin: auto, attack: forge(5, 60, forgery{"", "big.example", 0, 1000})},
		{name: "attacked, forged successes over HTTPS", count: 20, spread: 60, end: "testing 1d", begin: func(r *resident) { auto(r); r.silent = true }, attack: forge(1, 365, forgery{"", "big.example", 1000, 0}, forgery{"", "large.example", 1000, 0})},
		{name: "attacked, signed failures, enforced", count: 10, spread: 60, end: "enforce 30d", begin: auto, attack: forge(200, 260, forgery{"evil.example", "big.example", 0, 1000})},
		{name: "attacked, signed failures, in testing", count: 10, spread: 60, end: "enforce 30d", begin: auto, attack: forge(5, 60, forgery{"evil.example", "big.example", 0, 1000})},
		{name: "hand, override", count: 20, spread: 100, end: "enforce 30d", live: override(2, 10)},
		{name: "hand, override that has expired", count: 10, spread: 100, end: "enforce 30d", live: override(2, -1)},
		{name: "hand, withdrawn", count: 20, spread: 60, end: "gone", live: withdraw},
		{name: "hand, file vanishes", count: 10, spread: 60, end: "enforce 30d", live: func(y *year, r *resident) { impatient(y, r); r.absent = r.age >= 240 }},
		{name: "auto, back to testing", count: 20, spread: 60, end: "testing 1d", begin: auto, live: func(_ *year, r *resident) {
			if r.age == 200 {
				r.mode, r.maxAge = "testing", "1d"
			}
		}},
	}
}

// forge has r attacked from one day of its age to another.
func forge(from, to int, what ...forgery) func(*year, *resident) {
	return func(_ *year, r *resident) {
		if r.forged = nil; between(r.age, from, to) {
			r.forged = what
		}
	}
}

// override has an edit to enforce come on a day of its age, with a word that holds for some
// days from then.
func override(on, days int) func(*year, *resident) {
	return func(y *year, r *resident) {
		ladder(r, on, 60, 120)
		if r.age == on {
			r.extra = fmt.Sprintf("override = { reason = \"it was like this before\", author = \"me\", until = %q }\n", y.clock.AddDate(0, 0, days).Format(time.DateOnly))
		}
	}
}

// withdraw ends a policy in order, and removes the file some days later.
func withdraw(y *year, r *resident) {
	ladder(r, 21, 60, 120)
	if r.age >= 200 {
		r.mode = "none"
	}
	r.absent = r.age >= 205
}

// moveRight changes MX hosts as plan-mx says.
func moveRight(y *year, r *resident) {
	if r.age >= 150 && !r.planned && r.now().body != nil { // not on the day that the ledger is lost
		r.planned = true
		y.plan(r, "mx.new."+r.name)
	}
	for len(r.stages) > 0 && !y.clock.Before(r.stages[0].at) {
		switch s := r.stages[0]; s.kind {
		case string(rollout.ChangeMX):
			r.moveHosts(y.clock, s.mx...)
		default:
			r.mx = s.mx
		}
		r.stages = r.stages[1:]
	}
}

// plan notes the stages of a move of MX hosts.
func (y *year) plan(r *resident, to ...string) {
	snap := y.app.publisher.shown.Load()
	err := y.app.steward.judge.each(context.Background(), pick(byName(snap, []string{r.name}), []string{r.name}), func(x *judged) error {
		for _, s := range x.gates.PlanMX(x.facts, r.hosts, to, y.clock) {
			r.stages = append(r.stages, move{string(s.Kind), s.MX, s.NotBefore})
		}
		return nil
	})
	if err != nil || len(r.stages) != 3 {
		y.t.Errorf("%s: the plan for its MX hosts is %v (%v)", r.name, r.stages, err)
	}
}

// moveWrong changes MX hosts and tells nobody; days later the policy follows.
func moveWrong(y *year, r *resident) {
	switch r.age {
	case 150:
		r.moveHosts(y.clock, "mx.new."+r.name)
	case 153:
		r.mx = []string{"mx.new." + r.name}
	}
}

// atProvider is one of those whose MX hosts get another certificate on one day. Some of their
// operators say then that it is mended; the others wait.
func atProvider(y *year, r *resident) {
	if r.trouble = ""; between(y.day, providerBreaks, providerMends) {
		r.trouble = "certificate-not-trusted"
	}
	if y.day == providerMends+1 && r.n%2 == 0 {
		today := y.clock.Truncate(day)
		r.extra = fmt.Sprintf("resolved = [{ result = \"certificate-not-trusted\", before = %q, note = \"the provider has mended it\" }]\n", today.AddDate(0, 0, -1).Format(time.DateOnly))
		r.resolved = today
	}
}

// settle makes the residents of a year, of which there are about so many.
func settle(of int) (all []*resident) {
	for i, k := range cast() {
		count := max(1, int(math.Round(float64(k.count*of)/1000)))
		for n := range count {
			r := &resident{kind: k, n: n, name: fmt.Sprintf("d%03d.k%02d.example", n, i), enforced: -1}
			r.start = k.first + n*max(1, k.spread)/count
			r.mx, r.hosts = []string{"mx." + r.name}, []string{"mx." + r.name}
			begin := k.begin
			if begin == nil {
				begin = byHand
			}
			begin(r)
			all = append(all, r)
		}
	}
	return all
}

// end is where r is.
func (r *resident) end() string {
	e := r.now()
	switch {
	case e.body == nil:
		return "gone"
	case e.mode == mtasts.ModeNone:
		return "none"
	}
	return string(e.mode) + " " + inUnits(e.age)
}
