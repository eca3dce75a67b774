package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/mtasts"
)

// live is one day.
func (y *year) live() {
	ctx := context.Background()
	y.disasters()
	y.edit()
	y.app.publisher.look()
	y.observe()
	y.mail(ctx)
	y.review(ctx)
	y.clock = y.clock.Add(time.Hour)
	y.app.steward.attend(ctx)
	y.observe()
	y.clock = y.clock.Add(time.Hour)
	y.app.steward.pace(ctx)
	y.observe()
	if lines := y.app.steward.amiss(); slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, "no more domains") }) {
		y.stopped = append(y.stopped, y.day)
	}
	for _, r := range y.residents {
		r.yesterday = world{r.now().body, r.trouble, r.hosts, r.forged}
	}
	y.wantPace()
}

// disasters are what befalls the server.
func (y *year) disasters() {
	switch y.day {
	case databaseLost:
		y.app.archive.close()
		y.check(os.RemoveAll("state/reports"))
		y.open = map[string]bool{}
		for _, r := range y.residents {
			r.raw = nil
		}
		y.restart()
	case ledgerLost:
		y.check(os.RemoveAll("state/ledger"))
		y.dead = true
		y.restart()
	case ledgerLost + 1:
		y.dead = false
	default:
		if y.clock.Day() == 1 && y.day > 0 {
			y.restart()
		}
	}
	y.observe()
}

// edit has people change tables.
func (y *year) edit() {
	for _, r := range y.residents {
		if r.age = y.day - r.start; r.age < 0 {
			continue
		}
		if r.kind.live != nil {
			r.kind.live(y, r)
		}
		if r.kind.attack != nil {
			r.kind.attack(y, r)
		}
		switch text := r.text(); {
		case r.absent && r.written != "":
			y.check(os.Remove(r.file()))
			r.written = ""
		case !r.absent && text != r.written:
			y.put(r.file(), text)
			r.written = text
		}
	}
}

// mail has yesterday's reports come.
func (y *year) mail(ctx context.Context) {
	var all []*reports.Arrival
	date := y.clock.Truncate(day).Add(-day)
	for _, r := range y.residents {
		all = append(all, r.reports(date, y.clock)...)
	}
	for group := range slices.Chunk(all, 500) {
		outcomes, err := y.app.archive.reports.Put(ctx, group)
		y.check(err)
		for _, o := range outcomes {
			if o.Fate != reports.Taken {
				y.check(fmt.Errorf("a report was not taken: %+v", o))
			}
		}
	}
}

// review looks at all that is served; at what has long arrived only each third day, to be quick.
func (y *year) review(ctx context.Context) {
	var seen []review.Seen
	for _, r := range y.residents {
		quiet := r.arrived() && r.trouble == "" && r.yesterday.trouble == "" && y.clock.Sub(r.hostsSince) > 10*day && y.clock.Sub(r.now().from) > 10*day
		if r.now().body == nil || quiet && r.age%3 != 0 {
			continue
		}
		seen = append(seen, review.Seen{Domain: r.name, Look: r.glance(y.clock)})
	}
	for range 2 { // what is found must be seen twice
		for group := range slices.Chunk(seen, 200) {
			changes, err := y.app.archive.looks.RecordAll(ctx, group)
			y.check(err)
			y.app.reviewing.changed(changes)
		}
		seen = slices.DeleteFunc(seen, func(s review.Seen) bool { return len(s.Look.Problems) == 0 })
		for i := range seen {
			seen[i].Look.At = seen[i].Look.At.Add(5 * time.Minute)
		}
	}
}

// observe looks at what is served, as senders would, and judges what changed.
func (y *year) observe() {
	for _, r := range y.residents {
		body, served := y.app.server.Table().Lookup(mtasts.PolicyHost(r.name))
		if !served {
			body = nil
		}
		was, changed := r.see(body, y.clock)
		if changed {
			y.judge(r, was, r.now())
		}
		switch {
		case body != nil:
			y.records[r.name] = mtasts.ID(body)
		case r.absent:
			delete(y.records, r.name)
		}
	}
}

// judge says whether a change was right.
func (y *year) judge(r *resident, was, is era) {
	adopting := between(y.day, ledgerLost, ledgerLost+2)
	if why := milder(was, is); why != "" && r.mode == "enforce" && !(is.body == nil && adopting) {
		y.t.Errorf("day %d: %s (%s, age %d) enforced, and now %s\n%s\n%s", y.day, r.name, r.kind.name, r.age, why, was.body, is.body)
	}
	stricter := is.mode == mtasts.ModeEnforce && (was.mode != mtasts.ModeEnforce || was.age < is.age)
	free := was.body == nil && adopting || !r.auto && was.mode == mtasts.ModeEnforce || strings.HasPrefix(r.kind.name, "hand, override") && r.age < 10 && !strings.Contains(r.kind.name, "expired")
	if !stricter || free {
		return
	}
	if r.auto {
		y.stepped[y.day]++
	}
	if why := r.tooEarly(was, is, y.clock); why != "" {
		y.t.Errorf("day %d: %s (%s, age %d) stepped from %s %s to %s %s too early: %s", y.day, r.name, r.kind.name, r.age, was.mode, was.age, is.mode, is.age, why)
	}
}

// wantPace: a share of all takes a step in a day, and nobody while the provider is broken.
func (y *year) wantPace() {
	autos := 0
	for _, r := range y.residents {
		if r.auto && r.mode == "enforce" && r.age >= 0 {
			autos++
		}
	}
	if most := max(1, autos*5/100); y.stepped[y.day] > most {
		y.t.Errorf("day %d: %d domains took a step, of %d at most", y.day, y.stepped[y.day], most)
	}
	if between(y.day, providerBreaks, providerMends) && y.stepped[y.day] > 0 {
		y.t.Errorf("day %d: %d domains took a step while the provider's are broken", y.day, y.stepped[y.day])
	}
}
