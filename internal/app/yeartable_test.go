package app

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

var updateYear = flag.Bool("update-year", false, "write the table of the year's outcomes anew")

// wantEnds: every domain ends where it should.
func (y *year) wantEnds() {
	for _, r := range y.residents {
		if got := r.end(); got != r.kind.end && !y.t.Failed() {
			y.t.Errorf("%s (%s) ended with %s, want %s", r.name, r.kind.name, got, r.kind.end)
		}
	}
	for key := range y.open { // what is mended is told of as well, over every restart
		if r := y.byName[strings.Split(key, "/")[1]]; r == nil || !r.silent {
			y.t.Errorf("the alert %q is open still", key)
		}
	}
}

// wantTable compares the table of outcomes with the one that is kept.
func (y *year) wantTable(name string) {
	_, here, _, _ := runtime.Caller(0)
	file := filepath.Join(filepath.Dir(here), "testdata", name)
	got := y.table()
	y.t.Logf("\n%s", got)
	if *updateYear && !y.t.Failed() {
		y.check(os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		y.t.Errorf("the outcomes are not those of testdata/%s (%v); they are now:\n%s", name, err, got)
	}
}

// table has a line for each kind of domain.
func (y *year) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kind of domain\tcount\tends with\tdays to enforce: least\tmedian\tmost\talerts\turgent")
	for _, k := range cast() {
		ends := map[string]int{}
		var days []int
		count, alerts, urgent := 0, 0, 0
		for _, r := range y.residents {
			if r.kind.name != k.name {
				continue
			}
			count++
			ends[r.end()]++
			alerts += y.alerts[r.name]
			urgent += y.urgent[r.name]
			if r.enforced >= 0 {
				days = append(days, r.enforced)
			}
		}
		var where []string
		for end, n := range ends {
			where = append(where, fmt.Sprintf("%s: %d", end, n))
		}
		slices.Sort(where)
		if len(ends) == 1 {
			where[0], _, _ = strings.Cut(where[0], ":")
		}
		least, median, most := "-", "-", "-"
		if len(days) > 0 {
			slices.Sort(days)
			least, median, most = fmt.Sprint(days[0]), fmt.Sprint(days[len(days)/2]), fmt.Sprint(days[len(days)-1])
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\n", k.name, count, strings.Join(where, ", "), least, median, most, alerts, urgent)
	}
	w.Flush()
	fmt.Fprintf(&b, "\nalerts on the server: %d; days on which the rollout stood still: %s\n", y.alerts[""], ranges(y.stopped))
	return b.String()
}

// ranges prints sorted days: "3-5, 9".
func ranges(days []int) string {
	var parts []string
	for i := 0; i < len(days); {
		j := i
		for j+1 < len(days) && days[j+1] == days[j]+1 {
			j++
		}
		part := fmt.Sprint(days[i])
		if j > i {
			part += fmt.Sprintf("-%d", days[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
