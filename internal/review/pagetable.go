package review

import "slices"

const (
	// pageRowsMax is how many rows a table has on the page: what a person goes through.
	pageRowsMax = 50

	// kindsMax bounds different codes and reasons that are counted. Codes are ours, and
	// reasons are sentences with numbers in them, so that each may be another one.
	kindsMax = 10_000

	// namesMax is how many reporters, hosts or reasons one row names.
	namesMax = 5
)

// worst keeps the first rows of many, in an order.
type worst[T any] struct {
	compare func(a, b T) int
	rows    []T
	n       int
}

func newWorst[T any](compare func(a, b T) int) *worst[T] { return &worst[T]{compare: compare} }

func (w *worst[T]) add(row T) {
	w.n++
	if len(w.rows) == pageRowsMax && w.compare(row, w.rows[len(w.rows)-1]) >= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(w.rows, row, w.compare)
	w.rows = slices.Insert(w.rows, i, row)
	w.rows = w.rows[:min(len(w.rows), pageRowsMax)]
}

func (w *worst[T]) table() Table[T] {
	rows := w.rows
	if rows == nil {
		rows = []T{} // in JSON a table is never null
	}
	return Table[T]{Rows: rows, More: w.n - len(rows)}
}

// counted has one T for each of a bounded number of keys; what is more is left out.
type counted[T any] map[string]*T

func (c counted[T]) of(k string) *T {
	v := c[k]
	if v == nil {
		v = new(T)
		if len(c) < kindsMax {
			c[k] = v
		}
	}
	return v
}

// tableOf returns the worst of what was counted.
func tableOf[T any](c counted[T], compare func(a, b T) int) Table[T] {
	w := newWorst(compare)
	for _, v := range c {
		w.add(*v)
	}
	return w.table()
}

// some returns the first few of list, cleaned, and how many are left out.
func some(list []string) (few []string, more int) {
	n := min(len(list), namesMax)
	few = make([]string, n)
	for i := range few {
		few[i] = bounded(list[i], maxName)
	}
	return few, len(list) - n
}
