package intake_test

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"mtasts-server/internal/reports/intake"
)

func mails(t *testing.T, mbox string) []string {
	t.Helper()
	g, _ := read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(mbox)})
	if len(g.errs) > 0 {
		t.Fatalf("%q: %v", mbox, g.errs)
	}
	all := make([]string, len(g.arrivals))
	for i, a := range g.arrivals {
		all[i] = string(a.Data)
	}
	return all
}

func TestMbox(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"one":                       {line + mailOne, []string{mailOne}},
		"two":                       {line + mailOne + "\n" + line + mailTwo + "\n", []string{mailOne, mailTwo}},
		"no empty line between":     {line + mailOne + line + mailTwo, []string{mailOne, mailTwo}},
		"no line end at the end":    {line + "A: b\n\nc", []string{"A: b\n\nc"}},
		"CRLF":                      {strings.ReplaceAll(line+"A: b\n\nc\n\n"+line+"A: d\n", "\n", "\r\n"), []string{"A: b\r\n\r\nc\r\n", "A: d\r\n"}},
		"marked lines":              {line + "A: b\n\n>From the start\n>>From x\n> From y\n>Fromage\nz >From\n", []string{"A: b\n\nFrom the start\n>From x\n> From y\n>Fromage\nz >From\n"}},
		"unmarked lines":            {line + "A: b\n\nFrom the 10:00 meeting of 2023\nFrom Tue on, 08:00 2023\n", []string{"A: b\n\nFrom the 10:00 meeting of 2023\nFrom Tue on, 08:00 2023\n"}},
		"a header only":             {line + "A: b\n", []string{"A: b\n"}},
		"nothing of a mail":         {line, []string{""}},
		"an odd first line":         {"From whoever\n" + mailOne, []string{mailOne}},
		"a long line before a mark": {line + "A: b\n\n" + strings.Repeat("x", 64<<10) + ">From y\n", []string{"A: b\n\n" + strings.Repeat("x", 64<<10) + ">From y\n"}},
		"no separator is that long": {line + "A: b\n\nFrom " + strings.Repeat("x", 1000) + line[4:], []string{"A: b\n\nFrom " + strings.Repeat("x", 1000) + line[4:]}},
		"a long line":               {line + "A: b\n\n" + strings.Repeat("x", 64<<10) + "From x Tue Jan 10 08:00:00 2023\n", []string{"A: b\n\n" + strings.Repeat("x", 64<<10) + "From x Tue Jan 10 08:00:00 2023\n"}},
	} {
		t.Run(name, func(t *testing.T) { want(t, mails(t, c.in), c.want...) })
	}
}

// The separators that are met: of Postfix, procmail, Thunderbird, Google Takeout, mailman, UUCP.
func TestSeparators(t *testing.T) {
	for _, between := range []string{
		"From a@example.net  Tue Jan 10 08:00:00 2023",
		"From MAILER-DAEMON Tue Jan  3 08:00:00 2023",
		"From - Tue Jan 10 08:00:00 2023",
		"From 1754613@xxx Tue Jan 10 08:00:00 +0000 2023",
		"From a at example.net  Tue Jan 10 08:00:00 2023",
		"From \"a b\"@example.net Tue Jan 10 08:00 PST 2023",
		"From a Tue Jan 10 08:00:00 2023 +0100",
		"From a Tue, 10 Jan 08:00:00 2023",
		"From a Tue Jan 10 08:00:00 2023 remote from mx",
		"From a@example.net Tue Jan 10 08:00:00 2023\r",
		"From Tue Jan 10 08:00:00 2023",
	} {
		want(t, mails(t, line+mailOne+"\n"+between+"\n"+mailTwo), mailOne, mailTwo)
	}
}

// An mbox file of many gigabytes is read in the memory of a mail.
func TestMboxMemory(t *testing.T) {
	const size = 256 << 20
	in := io.LimitReader(&repeating{text: line + mailOne + random(100_000) + "\n"}, size)
	files, err := intake.NewFiles(intake.FilesOptions{Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	var peak uint64
	var m runtime.MemStats
	n := 0
	for _, err := range files.Arrivals(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%500 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
	if n < 2_000 || peak > 64<<20 {
		t.Errorf("%d mails with %d MiB", n, peak>>20)
	}
}

type repeating struct {
	text string
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// Of two mbox files one after the other come the mails of the first, and those of the second.
func FuzzMbox(f *testing.F) {
	f.Add("A: b\n\nc\n", "A: d\n")
	f.Add("A: b\n\n>From c\n\n", line+"\n>")
	f.Add("\r\n\r\n", "From \n"+line)
	f.Add(strings.Repeat("x", 70_000)+"\n"+line, "\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, two := line+a, line+b
		if !strings.HasSuffix(one, "\n") {
			one += "\n"
		}
		apart := append(mails(t, one), mails(t, two)...)
		want(t, mails(t, one+two), apart...)
		size := 0
		for _, m := range apart {
			size += len(m)
		}
		if size > len(one)+len(two) {
			t.Errorf("%d bytes became %d", len(one)+len(two), size)
		}
	})
}

// What is written as an mbox file with marks comes out as it was.
func FuzzMboxMarks(f *testing.F) {
	f.Add("A: b\n\nFrom here\n>From there\n")
	f.Fuzz(func(t *testing.T, mail string) {
		mail += "\n"
		lines := strings.SplitAfter(mail, "\n")
		for i, l := range lines {
			if strings.HasPrefix(strings.TrimLeft(l, ">"), "From ") {
				lines[i] = ">" + l
			}
		}
		want(t, mails(t, line+strings.Join(lines, "")+"\n"+line+mailTwo), mail, mailTwo)
	})
}
