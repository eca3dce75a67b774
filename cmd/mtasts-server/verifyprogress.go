package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progressEvery is how often progress is told where nobody looks at a terminal: often
// enough for the log of a pipeline that ends what is silent.
const progressEvery = 10 * time.Second

// progress shows how far a long look has come: on a terminal as a bar that is written
// over, else as a line now and then. It is used by one goroutine.
type progress struct {
	out      io.Writer // nil: nothing is shown
	terminal bool
	all, n   int
	unit     string // behind numbers
	begun    time.Time
	told     time.Time
	shown    bool
}

func newProgress(out io.Writer, all int, quiet bool) *progress {
	p := &progress{out: out, all: all, begun: time.Now(), told: time.Now()}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if quiet || all < 2 {
		p.out = nil
	}
	return p
}

// step notes that one more is done.
func (p *progress) step() {
	p.n++
	if p.out == nil {
		return
	}
	now := time.Now()
	if p.n < p.all && (p.terminal || now.Sub(p.told) >= progressEvery) {
		p.told = now
		p.say(p.line(now))
	}
}

// say shows a line, in place of the one before where that can be.
func (p *progress) say(line string) {
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", line)
	p.shown = true
}

// line says how far we are, in less than 80 columns.
func (p *progress) line(now time.Time) string {
	const width = 30
	full := width * p.n / p.all
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = "#."[min(1, max(0, i-full+1))]
	}
	took := now.Sub(p.begun)
	left := time.Duration(float64(took) / float64(p.n) * float64(p.all-p.n)).Round(time.Second)
	return fmt.Sprintf("[%s] %d of %d%s, %.0f/s, %s left", bar, p.n, p.all, p.unit, float64(p.n)/max(took.Seconds(), 0.001), left)
}

// clear makes room for what is printed.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
