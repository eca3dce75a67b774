package review

import (
	"bytes"
	_ "embed" // page.html
	"encoding/json"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageTemplate string

// WriteHTML writes the page as one file of HTML: no scripts, nothing from elsewhere.
func (p *Page) WriteHTML(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"class": StepCount.class, "date": date, "number": number[int], "as": func(a as) string { return [...]string{"", "n", "f", "a"}[a] },
	}).Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("review: the page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, struct {
		*Page
		Title    string
		FineLine string
		Sections []section
		StepsNow []bar
		StepsWas []bar
		Bars     []weekBar
		Most     int
	}{p, p.title(), p.fineSentence(), p.sections(), p.stepBars(func(s StepCount) int { return s.Now }), p.stepBars(func(s StepCount) int { return s.Was }), p.weekBars(), p.most()}); err != nil {
		return fmt.Errorf("review: the page: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("review: writing the page: %w", err)
	}
	return nil
}

// WriteJSON writes the page as JSON.
func (p *Page) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		return fmt.Errorf("review: writing the page: %w", err)
	}
	return nil
}

// The pictures, in units of their own.
const (
	barWidth  = 600.0
	weekTall  = 50.0 // up for what opened, and down for what closed
	stepClass = 6    // colours; then they begin anew

	// picturesFrom is from how many domains on a picture says more than the box.
	picturesFrom = 10
)

// Pictured reports whether there are enough domains for pictures.
func (p *Page) Pictured() bool { return p.Domains >= picturesFrom }

// class is the colour of a step: the same one whichever other steps there are.
func (s StepCount) class() int { return (s.place + stepClass - 1) % stepClass }

// bar is a part of a bar of steps.
type bar struct {
	X, Width float64
	Class    int
	Step     string
	N        int
}

func (p *Page) stepBars(of func(StepCount) int) []bar {
	sum := 0
	for _, s := range p.Steps {
		sum += of(s)
	}
	var list []bar
	x := 0.0
	for _, s := range p.Steps {
		if n := of(s); n > 0 {
			width := barWidth * float64(n) / float64(sum)
			list = append(list, bar{round(x), round(width), s.class(), s.Step, n})
			x += width
		}
	}
	return list
}

// weekBar is a week's bars: what opened above the line, and what closed below.
type weekBar struct {
	Week
	X, Width, Up, Top, Down float64
}

func (p *Page) most() int {
	most := 0
	for _, w := range p.Weeks {
		most = max(most, w.Opened, w.Closed)
	}
	return most
}

func (p *Page) weekBars() []weekBar {
	most := p.most()
	if most == 0 {
		return nil
	}
	var list []weekBar
	width := barWidth / float64(len(p.Weeks))
	for i, w := range p.Weeks {
		up, down := weekTall*float64(w.Opened)/float64(most), weekTall*float64(w.Closed)/float64(most)
		list = append(list, weekBar{w, round(width*float64(i) + width*0.15), round(width * 0.7), round(up), round(weekTall - up), round(down)})
	}
	return list
}

// round keeps the file short.
func round(x float64) float64 { return float64(int(x*10+0.5)) / 10 }
