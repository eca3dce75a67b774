package alert

import (
	"fmt"
	"strings"
	"time"
)

// textWidth is where lines of a mail are broken, in letters: a terminal and a telephone show it.
const textWidth = 76

// hang is where the values of an item begin.
const hang = 10

// text returns the message as somebody reads it, in lines that end with "\n".
func (m *Message) text() string {
	var b strings.Builder
	switch i := m.item(); {
	case m.Kind == Test:
		b.WriteString("This is a test, which somebody asked for with `mtasts-server alerts test`.\nNothing is wrong. Alerts of mtasts-server arrive here.\n")
	case i != nil:
		i.write(&b)
		if !i.Event {
			b.WriteString("\n" + footers[m.Kind])
		}
	default:
		m.sections(&b)
	}
	return b.String()
}

var footers = map[Kind]string{
	Opened: "Sent at once, as mail is lost meanwhile. You are told when it is mended;\nuntil then each daily digest names it.\n",
	Closed: "Sent at once, as its beginning was. Nothing is left to do.\n",
}

func (m *Message) sections(b *strings.Builder) {
	if m.Kind == More {
		wrap(b, 0, "So many came within an hour that these are told together. Often one provider or one change is behind them all: look for what they have in common first.")
		b.WriteByte('\n')
	}
	section(b, "New", m.Opened, m.Counts.Opened)
	section(b, "Mended", m.Closed, m.Counts.Closed)
	section(b, "Still open, and losing mail", m.Still, m.Counts.Still)
	if m.Skipped > 0 {
		wrap(b, 0, fmt.Sprintf("%d owners were not written to, as they are too many at once.", m.Skipped))
	}
}

func section(b *strings.Builder, title string, items []Item, n int) {
	if n == 0 {
		return
	}
	title = fmt.Sprintf("%s: %d", title, n)
	b.WriteString(title + "\n" + strings.Repeat("=", len(title)) + "\n\n")
	for k := range items {
		items[k].write(b)
		b.WriteByte('\n')
	}
	if rest := n - len(items); rest > 0 {
		fmt.Fprintf(b, "and %d more, which `mtasts-server review` shows.\n\n", rest)
	}
}

// write prints what, since when, evidence, fix and who.
func (i *Item) write(b *strings.Builder) {
	wrap(b, 0, i.about(i.Title))
	for _, f := range []struct{ name, value string }{
		{"What", i.Text},
		{"Since", stamp(i.At)},
		{"Mended", stamp(i.ClosedAt)},
		{"Evidence", i.Evidence},
		{"Fix", i.Fix},
		{"Who", i.Owner},
		{"Code", i.Code},
	} {
		if f.value == "" || f.name == "Fix" && !i.ClosedAt.IsZero() {
			continue
		}
		wrap(b, hang, fmt.Sprintf("%-*s%s", hang, f.name, f.value))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// wrap prints s in lines of textWidth, the later ones indented. Blanks between the first word
// and the value stay; a word that is longer stays whole: it may be a name to copy.
func wrap(b *strings.Builder, indent int, s string) {
	n := 0
	for word := range strings.SplitSeq(s, " ") {
		switch length := len([]rune(word)); {
		case n == 0:
			n = length
		case n+1+length > textWidth && n > indent:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			n = indent + length
		default:
			b.WriteByte(' ')
			n += 1 + length
		}
		b.WriteString(word)
	}
	b.WriteByte('\n')
}
