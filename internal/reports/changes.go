package reports

import (
	"cmp"
	"maps"
	"slices"
)

// ChangeKind is a kind of thing that changed.
type ChangeKind string

const (
	ChangedResultType ChangeKind = "result-type"
	ChangedMX         ChangeKind = "mx"
	ChangedReporter   ChangeKind = "reporter"
)

// Change is something that is not as in the period before.
type Change struct {
	Kind   ChangeKind `json:"kind"`
	Name   string     `json:"name"`
	What   What       `json:"what"`
	Before int64      `json:"before"` // sessions that failed; of a reporter all
	Now    int64      `json:"now"`
}

// What is what became of a thing.
type What string

const (
	Newly What = "new"
	Gone  What = "gone"
	More  What = "more" // at least twice as many, and not by a few
	Less  What = "less" // at most half as many, likewise
)

// fewSessions is a difference that is not worth a word: a handful of sessions more or
// less is a matter of chance.
const fewSessions = 10

// changes compares both periods. Where nobody reported before there is nothing to compare
// with. Reporters that nobody knows are left out: anybody can make up any number of them.
func changes(before []*visit, types, hosts tallies[string], reporters map[reporter]*ReporterRow) []Change {
	list := []Change{}
	if len(before) == 0 {
		return list
	}
	add := func(kind ChangeKind, name string, was, is int64) {
		if what := whatOf(was, is); what != "" {
			list = append(list, Change{kind, name, what, was, is})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		add(ChangedResultType, name, types[name].before, types[name].now)
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if name != "" {
			add(ChangedMX, name, hosts[name].before, hosts[name].now)
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(reporters), compareReporters) {
		if r.authenticated {
			add(ChangedReporter, r.name, reporters[r].Before, reporters[r].Sessions)
		}
	}
	slices.SortStableFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(orderOf(a.Kind), orderOf(b.Kind)), cmp.Compare(abs(b.Now-b.Before), abs(a.Now-a.Before)))
	})
	return list
}

// orderOf is the place of a kind among changes.
func orderOf(k ChangeKind) int {
	return slices.Index([]ChangeKind{ChangedResultType, ChangedMX, ChangedReporter}, k)
}

func whatOf(was, is int64) What {
	switch {
	case was == is:
		return ""
	case was == 0:
		return Newly
	case is == 0:
		return Gone
	case is >= 2*was && is-was >= fewSessions:
		return More
	case was >= 2*is && was-is >= fewSessions:
		return Less
	}
	return ""
}

func abs(n int64) int64 { return max(n, -n) }
