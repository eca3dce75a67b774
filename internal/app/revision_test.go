package app

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// However files change, a revision leads to what would be served if all were looked at.
func TestRevisionsAddUp(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			d := newDesk(t, nil)
			for step := range 40 {
				for range 1 + r.IntN(2) {
					d.write(fmt.Sprintf("policies/%d.toml", r.IntN(6)), randomFile(r))
				}
				if r.IntN(8) == 0 {
					d.remove(fmt.Sprintf("policies/%d.toml", r.IntN(6)))
				}
				if r.IntN(8) == 0 { // another process, as the verb forget
					book, err := ledger.Visit(d.publisher.ledger.Dir())
					if err != nil {
						t.Fatal(err)
					}
					if err := book.Forget(d.clock, randomDomain(r)); err != nil {
						t.Fatal(err)
					}
				}
				d.clock = d.clock.Add(time.Minute)
				d.publisher.look()
				d.complete(fmt.Sprintf("step %d", step))
			}
		})
	}
}

// complete compares what is served with what one look at everything says.
func (d *desk) complete(when string) {
	d.t.Helper()
	p := d.publisher
	fresh := &publisher{ledger: p.ledger}
	all := fresh.revise(p.snap, fresh.touched(p.snap), func(kept) bool { return false })
	table := d.server.Table()
	if table.Len() != len(all.publications) {
		d.t.Fatalf("%s: %d policies are served, want %d", when, table.Len(), len(all.publications))
	}
	for _, want := range all.publications {
		if body, _ := table.Lookup(mtasts.PolicyHost(want.Domain)); string(body) != string(want.Body) {
			d.t.Fatalf("%s: %s: %q is served, want %q", when, want.Domain, body, want.Body)
		}
	}
	if !maps.Equal(p.plan.ids, all.ids) {
		d.t.Fatalf("%s: ids %v, want %v", when, p.plan.ids, all.ids)
	}
	same := func(a, b kept) bool { return a.ID == b.ID && a.reason == b.reason && a.detail == b.detail }
	if !maps.EqualFunc(p.plan.kept, all.kept, same) {
		d.t.Fatalf("%s: kept %v, want %v", when, p.plan.kept, all.kept)
	}
}

func randomDomain(r *rand.Rand) string { return fmt.Sprintf("d%d.example", r.IntN(20)) }

// randomFile has a few domains, some of them wrong, and is broken at times.
func randomFile(r *rand.Rand) string {
	if r.IntN(10) == 0 {
		return "[domains" // no TOML
	}
	tables := map[string]string{}
	for range r.IntN(8) {
		domain := randomDomain(r)
		tables[domain] = table(domain, []string{"testing", "enforce"}[r.IntN(2)], "1d", fmt.Sprintf("mx%d.example", r.IntN(3)))
		if r.IntN(8) == 0 {
			tables[domain] = table(domain, "bogus", "1d", "mx.example")
		}
	}
	var b strings.Builder
	for _, text := range tables {
		b.WriteString(text)
	}
	return b.String()
}
