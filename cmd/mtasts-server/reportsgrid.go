package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// reportWidth is what all terminals have.
const reportWidth = 80

// grid is a table whose columns are as wide as they need to be. Those that hold names
// become narrower where a line would not fit.
type grid struct {
	columns []column
	rows    [][]string
}

type column struct {
	title string
	kind  columnKind
}

type columnKind int

const (
	textColumn   columnKind = iota
	numberColumn            // to the right
	nameColumn              // may be cut in the middle
)

// narrowest is how narrow a name becomes.
const narrowest = 12

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) write(out io.Writer, indent string) {
	widths := make([]int, len(g.columns))
	all := len(indent) - 2
	for i, c := range g.columns {
		widths[i] = len(c.title)
		for _, row := range g.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		all += widths[i] + 2
	}
	g.narrow(widths, all-reportWidth)
	line := func(cells []string) {
		var b strings.Builder
		b.WriteString(indent)
		for i, cell := range cells {
			cell = middleCut(cell, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if g.columns[i].kind == numberColumn {
				cell, pad = pad+cell, ""
			}
			b.WriteString(cell + pad + "  ")
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
	var titles []string
	for _, c := range g.columns {
		titles = append(titles, c.title)
	}
	line(titles)
	for _, row := range g.rows {
		line(row)
	}
}

// narrow takes from the widest names what is too much.
func (g *grid) narrow(widths []int, much int) {
	for ; much > 0; much-- {
		widest := -1
		for i, c := range g.columns {
			if c.kind == nameColumn && widths[i] > max(narrowest, len(c.title)) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// middleCut keeps the beginning and the end of a name: of hosts both tell something.
func middleCut(s string, width int) string {
	rs := []rune(s)
	if len(rs) <= width {
		return s
	}
	const dots = "..."
	head := (width - len(dots)) / 2
	tail := width - len(dots) - head
	return string(rs[:head]) + dots + string(rs[len(rs)-tail:])
}
