package review

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the page as Markdown with tables, as GitHub and others have them.
func (p *Page) WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s to %s\n\n", markdown(p.title()), date(p.From), date(p.Until))
	for _, line := range p.Summary {
		fmt.Fprintf(&b, "- %s\n", markdown(line))
	}
	if len(p.Fine) > 0 {
		fmt.Fprintf(&b, "\n%s\n", markdown(p.fineSentence()))
	}
	if p.Pictured() {
		b.WriteString("\n| Step | Domains | On " + date(p.From) + " |\n|---|--:|--:|\n")
		for _, s := range p.Steps {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", markdown(s.Step), number(s.Now), number(s.Was))
		}
	}
	for _, s := range p.sections() {
		s.markdown(&b)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("review: writing the page: %w", err)
	}
	return nil
}

func (p *Page) title() string {
	if p.Name == "" {
		return "MTA-STS review"
	}
	return "MTA-STS review of " + p.Name
}

func (p *Page) fineSentence() string {
	s := strings.Join(p.Fine, "; ") + "."
	return strings.ToUpper(s[:1]) + s[1:]
}

func (s *section) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n", markdown(s.Title))
	if s.Intro != "" {
		fmt.Fprintf(b, "%s\n\n", markdown(s.Intro))
	}
	b.WriteString("|")
	for _, h := range s.Head {
		b.WriteString(" " + markdown(h) + " |")
	}
	b.WriteString("\n|")
	for _, c := range s.Rows[0] {
		if c.As == figure {
			b.WriteString("--:|")
		} else {
			b.WriteString("---|")
		}
	}
	b.WriteString("\n")
	for _, row := range s.Rows {
		b.WriteString("|")
		for _, c := range row {
			b.WriteString(" " + c.markdown() + " |")
		}
		b.WriteString("\n")
	}
	if s.More > 0 {
		fmt.Fprintf(b, "\nAnd %s more.\n", number(s.More))
	}
}

func (c cell) markdown() string {
	switch {
	case c.Text == "":
		return ""
	case c.As == name:
		// In a span of code nothing is a link, a mention or HTML. A bar would end the cell.
		return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(strings.TrimSpace(c.Text)) + "`"
	case c.As == alarm:
		return "**" + markdown(c.Text) + "**"
	}
	return markdown(c.Text)
}

// markdown writes a text so that it is that text, whoever wrote it: no link, no mention, no
// HTML, no emphasis. It is for within a line: what marks one where it begins is not escaped.
func markdown(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '@': // names somebody, or is an address: no escape helps there, but code does
			b.WriteString("`@`")
			continue
		case strings.ContainsRune("\\`*[]<>|&#~$!{}", r),
			r == '_' && !within(s, i),                   // max_age is no emphasis
			r == ':' && strings.HasPrefix(s[i:], "://"), // GitHub makes links of these by itself
			r == '.' && strings.HasSuffix(strings.ToLower(s[:i]), "www"):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// within reports whether there is a letter or digit, of ASCII, before and after s[i].
func within(s string, i int) bool {
	word := func(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }
	return i > 0 && i+1 < len(s) && word(s[i-1]) && word(s[i+1])
}
