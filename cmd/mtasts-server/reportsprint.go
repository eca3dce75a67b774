package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mtasts-server/internal/app"
	"mtasts-server/mtasts"
)

// reportWidth is what all terminals have.
const reportWidth = 80

// printable is a text of a stranger as it may be shown: what a terminal would obey, or
// turn around, is escaped, and what is longer than most characters is cut.
func printable(s string, most int) string {
	cut := ""
	if n := 0; len(s) > most {
		for i := range s {
			if n++; n > most {
				s, cut = s[:i], "..."
				break
			}
		}
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`), `\\`, `\`) + cut
}

// The lengths of texts of strangers.
const (
	shownName   = 255 // a domain, or an organization
	shownSource = 100
	shownReason = 500 // whole error messages are among them
)

// jsonWriter writes whole JSON texts, and escapes in their strings what a terminal might
// obey: encoding/json leaves all from U+007F on as it is.
type jsonWriter struct{ out io.Writer }

func (w jsonWriter) Write(p []byte) (int, error) {
	b := make([]byte, 0, len(p))
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r < unicode.MaxASCII || unicode.IsPrint(r):
			b = append(b, rest[:size]...)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		rest = rest[size:]
	}
	if _, err := w.out.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

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

// thousands prints a count so that it can be read.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

// ratePercent prints a share that is rounded down, as that of a summary is.
func ratePercent(rate *float64) string {
	if rate == nil {
		return "-"
	}
	const hundredths = 10_000
	n := int64(*rate*hundredths + 1e-6)
	return fmt.Sprintf("%d.%02d%%", n/100, n%100)
}

// days is a flag: a number of days, as "30d" or "4w". Zero stands for all.
type days int

// maxDays is more than is kept of anything.
const maxDays = 3660

func (d *days) Type() string { return "days" }

func (d *days) String() string {
	if *d == 0 {
		return ""
	}
	return fmt.Sprintf("%dd", int(*d))
}

func (d *days) Set(s string) error {
	number, unit := strings.TrimRight(s, "dw"), 1
	if strings.HasSuffix(s, "w") {
		unit = 7
	}
	n, err := strconv.Atoi(number)
	if err != nil || len(s) != len(number)+1 || n < 1 || n > maxDays/unit {
		return errors.New(`want days or weeks, as 30d or 4w`)
	}
	*d = days(n * unit)
	return nil
}

// period is the last days, today included: from the start of the first to the end of the
// last, in UTC as reports are (RFC 8460 §4.1). The start is zero for all.
func (d days) period(now time.Time) (since, until time.Time) {
	until = now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	if d > 0 {
		since = until.AddDate(0, 0, -int(d))
	}
	return since, until
}

// domainsOf returns the domains that are named, or all that r has.
func domainsOf(r *app.Reports, args []string) ([]string, error) {
	if len(args) == 0 {
		if len(r.Domains) == 0 {
			return nil, errors.New("no domain is configured: write a policy file, or have one written by the verb init")
		}
		return r.Domains, nil
	}
	domains := make([]string, len(args))
	for i, arg := range args {
		var err error
		if domains[i], err = mtasts.ParseDomain(arg); err != nil {
			return nil, usageError{err}
		}
	}
	return domains, nil
}
