package intake_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/tlsrpt"
)

const (
	report  = `{"organization-name":"Example"}`
	mailOne = "From: a@example.net\nDelivered-To: <tlsrpt+k3v9@example.org>\nSubject: one\n\nbody one\n"
	mailTwo = "From: a@example.net\nTo: tlsrpt@example.org\nSubject: two\n\nbody two\n"
	line    = "From a@example.net Tue Jan 10 08:00:00 2023\n"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// got is what was read, short: where from, what, and errors in words.
type got struct {
	arrivals []*reports.Arrival
	errs     []error
	order    []string // sources of both
}

func read(t *testing.T, ctx context.Context, o intake.FilesOptions) (got, *intake.Files) {
	t.Helper()
	o.Now = func() time.Time { return noon }
	files, err := intake.NewFiles(o)
	if err != nil {
		t.Fatal(err)
	}
	var g got
	for a, err := range files.Arrivals(ctx) {
		if (a == nil) == (err == nil) {
			t.Fatalf("an arrival %v with the error %v", a, err)
		}
		if err != nil {
			g.errs, g.order = append(g.errs, err), append(g.order, "error "+err.Error())
			continue
		}
		if !a.Received.Equal(noon) || a.Channel != reports.File || a.Submitter != "" || a.Unauthenticated != reports.NoAuthentication {
			t.Errorf("%s: %+v", a.Source, a)
		}
		g.arrivals, g.order = append(g.arrivals, a), append(g.order, a.Source)
	}
	return g, files
}

// lay writes the files of a txtar archive, and returns their directory.
func lay(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, f.Data)
	}
	return dir
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, have []string, want ...string) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Errorf("have\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestWhatIsInADirectory(t *testing.T) {
	dir := lay(t, `
-- b/report.txt --
{"organization-name":"named wrongly"}
-- a/mail --
Received: by mx.example.org
From: a@example.net

text
-- c.mbox --
From a@example.net Tue Jan 10 08:00:00 2023
From: a@example.net

one

From - Wed, 11 Jan 08:00:00 2023
From: b@example.net

two
-- readme --
This is no report.
-- empty.json --
-- .hidden/report.json --
{}
-- .hidden.json --
{}
-- maildir/cur/1.host:2,S --
From: a@example.net

read
-- maildir/new/2.host --
From: a@example.net

unread
-- maildir/tmp/3.host --
From: a@example.net

being writ
-- maildir/dovecot.index --
Index: of a server
-- maildir/.Junk/cur/4.host --
From: a@example.net

junk
`)
	if err := os.Symlink("..", filepath.Join(dir, "a", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, files := read(t, t.Context(), intake.FilesOptions{Paths: []string{dir}})
	for i := range g.order {
		g.order[i] = strings.ReplaceAll(g.order[i], dir+"/", "")
	}
	want(t, g.order, "a/mail", "b/report.txt", "c.mbox (mail 1)", "c.mbox (mail 2)",
		"error empty.json: report: no-report: it is empty",
		"maildir/cur/1.host:2,S", "maildir/new/2.host",
		"error readme: report: no-report: it begins like no report, mail or mbox file")
	for _, a := range g.arrivals {
		if a.Mail == strings.Contains(a.Source, "report") {
			t.Errorf("%s: mail is %t", a.Source, a.Mail)
		}
	}
	p := files.Progress()
	if p.Read != p.Total || p.Total == 0 || p.Files != 7 {
		t.Errorf("progress at the end: %+v", p)
	}
	if p.Skipped != 7 { // hidden twice, a link, a pipe, and of the Maildir tmp, .Junk and dovecot.index
		t.Errorf("%d were skipped", p.Skipped)
	}
	for _, kept := range []string{"maildir/new/2.host", "maildir/cur/1.host:2,S"} {
		if _, err := os.Stat(filepath.Join(dir, kept)); err != nil {
			t.Error(err)
		}
	}
}

func TestOneBadPathEndsNothing(t *testing.T) {
	dir := lay(t, "-- closed/x --\n{}\n-- z.json --\n{}\n-- secret --\n{}\n")
	for _, name := range []string{"closed", "secret"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(dir, "closed"), 0o700)
	missing := filepath.Join(t.TempDir(), "missing")
	g, _ := read(t, t.Context(), intake.FilesOptions{Paths: []string{missing, dir}})
	if len(g.errs) == 0 || !errors.Is(g.errs[0], os.ErrNotExist) || strings.Count(g.errs[0].Error(), missing) != 1 {
		t.Errorf("of a path that is not there: %v", g.errs)
	}
	if g.order[len(g.order)-1] != filepath.Join(dir, "z.json") {
		t.Errorf("read: %q", g.order)
	}
	if os.Getuid() == 0 {
		return // root reads everything
	}
	if len(g.errs) != 3 || !errors.Is(g.errs[1], os.ErrPermission) || !errors.Is(g.errs[2], os.ErrPermission) {
		t.Errorf("of what may not be read: %v", g.errs)
	}
}

func TestStandardInput(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		mail bool
	}{
		"a report":                  {report, false},
		"a report with a BOM":       {"\ufeff" + report, false},
		"a packed report":           {packed(t, report), false},
		"a mail":                    {mailOne, true},
		"a mail from Postfix":       {line + mailOne, true},
		"a mail with CRLF":          {strings.ReplaceAll(mailOne, "\n", "\r\n"), true},
		"a zip file of one report":  {zipped(t, "a.json", report), false},
		"a broken zip file":         {"PK\x03\x04 what is this", false}, // Unpack says why
		"a broken gzip file":        {"\x1f\x8b what is this", false},
		"JSON that is no report":    {"[1, 2]", false},
		"a report after some blank": {"\r\n  " + report, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, paths := range [][]string{nil, {"-"}} {
				g, files := read(t, t.Context(), intake.FilesOptions{Paths: paths, Stdin: strings.NewReader(c.in)})
				if len(g.errs) > 0 || len(g.arrivals) != 1 || g.arrivals[0].Mail != c.mail {
					t.Fatalf("have %+v", g)
				}
				if have := string(g.arrivals[0].Data); have != strings.TrimPrefix(c.in, line) {
					t.Errorf("it was changed: %q", have)
				}
				if p := files.Progress(); p.Total != 0 || p.Read != int64(len(c.in)) {
					t.Errorf("progress: %+v", p)
				}
			}
		})
	}
}

func TestANamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0) // that both ends are open, as of <(zcat mails.gz)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	files, err := intake.NewFiles(intake.FilesOptions{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, line+mailOne+random(5000)+"\n"+line); err != nil {
		t.Fatal(err)
	}
	var last error
	n := 0
	for _, err := range files.Arrivals(ctx) { // the pipe stays open: without ctx this lasts for ever
		cancel()
		n, last = n+1, err
	}
	if n != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d, and at last %v", n, last)
	}
	g, _ := read(t, t.Context(), intake.FilesOptions{Paths: []string{emptyPipe(t)}})
	if len(g.errs) != 1 {
		t.Errorf("of a pipe that nobody writes to: %+v", g)
	}
}

func emptyPipe(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "silent")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArchives(t *testing.T) {
	mbox := line + mailOne + "\n" + line + mailTwo
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"zip":            {zipped(t, "a.json", report, "__MACOSX/a", "x", "d/b.eml", mailOne, "d/.c", "x", "e.txt", "no report"), []string{"(a.json)", "(d/b.eml)", "error (e.txt)"}},
		"zip in a zip":   {zipped(t, "a.zip", zipped(t, "x", report, "y", report), "b.json.gz", packed(t, report)), []string{"(a.zip)", "(b.json.gz)"}},
		"tar":            {tarred(t, "a.json", report, "m", mbox), []string{"(a.json)", "(m) (mail 1)", "(m) (mail 2)"}},
		"tar.gz":         {packed(t, tarred(t, "a.json", report, "b.json", report)), []string{"(a.json)", "(b.json)"}},
		"tar in tar.gz":  {packed(t, tarred(t, "a.tar", tarred(t, "x", report))), []string{"error (a.tar)"}},
		"mbox.gz":        {packed(t, mbox), []string{"(mail 1)", "(mail 2)"}},
		"eml.gz":         {packed(t, mailOne), []string{""}},
		"mbox.gz, twice": {packed(t, packed(t, mbox)), []string{""}}, // one thing that is set aside
		"cut tar":        {tarred(t, "a.json", report)[:530], []string{"error (a.json)", "error"}},
		"cut mbox.gz":    {packed(t, mbox+random(20_000))[:9000], []string{"(mail 1)", "error (mail 2)"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			write(t, path, []byte(c.in))
			g, _ := read(t, t.Context(), intake.FilesOptions{Paths: []string{path}})
			for i := range g.order {
				g.order[i] = strings.TrimSpace(strings.ReplaceAll(g.order[i], path, ""))
				if at, ok := strings.CutPrefix(g.order[i], "error"); ok {
					at, _, _ = strings.Cut(at, ":")
					g.order[i] = strings.TrimSpace("error " + strings.TrimSpace(at))
				}
			}
			want(t, g.order, c.want...)
		})
	}
}

func TestToken(t *testing.T) {
	for header, want := range map[string]string{
		"To: tlsrpt@example.org":                                                        "",
		"To: TLSRPT+K3V9@example.org":                                                   "k3v9",
		"To: Reports <tlsrpt+k3v9@example.org>, b@x.org":                                "k3v9",
		"To: a@x.org,\n tlsrpt+k3v9@example.org":                                        "k3v9",
		"To: tlsrpt+one@x.org\nDelivered-To: a+two@x.org\nX-Original-To: a+three@x.org": "two",
		"X-Original-To: a+three@x.org\nTo: tlsrpt+one@x.org":                            "three",
		"Delivered-To: reports@x.org\nTo: tlsrpt+one@x.org":                             "one",
		"Delivered-To: a+latest@x.org\nDelivered-To: a+forged@x.org":                    "latest",
		"Subject: a+no@x.org\nTo: b@x.org":                                              "",
		"To: a+" + strings.Repeat("x", 33) + "@x.org":                                   "",
		"To: a+b-c@x.org":  "",
		"To: a+b+c3@x.org": "c3",
		"To: +k3v9@x.org":  "",
		"no header":        "",
		"X-Long: " + strings.Repeat("x", 300<<10) + "\nTo: a+late@x.org": "",
	} {
		in := "From: a@example.net\n" + header + "\n\nTo: tlsrpt+body@example.org\n"
		g, _ := read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(in)})
		if len(g.arrivals) != 1 || g.arrivals[0].Token != want {
			t.Errorf("%.60q: %+v, want %q", header, g.arrivals, want)
		}
	}
	g, _ := read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(`{"To": "a+no@x.org"}`)})
	if g.arrivals[0].Token != "" {
		t.Error("a report has a token")
	}
}

func TestTooBig(t *testing.T) {
	big := strings.Repeat("x", tlsrpt.MaxMessageSize)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"report": {report + big, []string{"error too-big"}},
		"mail":   {mailOne + big, []string{"error too-big"}},
		"zip":    {zipped(t, "a", report) + big, []string{"error too-big"}},
		"mbox":   {line + mailOne + line + mailOne + big + "\n" + line + mailTwo, []string{"standard input (mail 1)", "error too-big", "standard input (mail 3)"}},
		"member": {zipped(t, "a", report+big, "b", report), []string{"error too-big", "standard input (b)"}},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(c.in)})
			for i, at := range g.order {
				if strings.HasPrefix(at, "error") && strings.Contains(at, "too-big") {
					g.order[i] = "error too-big"
				}
			}
			want(t, g.order, c.want...)
			for _, err := range g.errs {
				if aside := new(tlsrpt.ErrReport); !errors.As(err, &aside) || aside.Reason != "too-big" {
					t.Errorf("%v is no reason to set aside", err)
				}
			}
		})
	}
}

// What is not worth reading to its end counts as read.
func TestProgressOfTooBig(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.json"), []byte(report+strings.Repeat(" ", 2*tlsrpt.MaxPackedSize)))
	write(t, filepath.Join(dir, "b.json"), []byte(report))
	_, files := read(t, t.Context(), intake.FilesOptions{Paths: []string{dir, "-"}, Stdin: strings.NewReader("")})
	if p := files.Progress(); p.Total != 0 || p.Read != int64(2*tlsrpt.MaxPackedSize+2*len(report)) {
		t.Errorf("%+v", p)
	}
}

func TestManyMembers(t *testing.T) {
	many := make([]string, 0, 2*10_001)
	for n := range 10_001 {
		many = append(many, fmt.Sprintf("%d.json", n), "{}")
	}
	g, _ := read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(zipped(t, many...))})
	if len(g.arrivals) != 0 || len(g.errs) != 1 {
		t.Errorf("of a zip file: %d read, %d errors", len(g.arrivals), len(g.errs))
	}
	g, _ = read(t, t.Context(), intake.FilesOptions{Stdin: strings.NewReader(tarred(t, many...))})
	if len(g.arrivals) != 10_000 || len(g.errs) != 1 {
		t.Errorf("of a tar archive: %d read, %d errors", len(g.arrivals), len(g.errs))
	}
}

func TestUnpackingHasAnEnd(t *testing.T) {
	const limit = 100_000
	zeros := strings.Repeat("\x00", 2*limit)
	for name, c := range map[string]struct {
		in   string
		want string // of arrivals and errors
	}{
		"enough":      {packed(t, strings.Repeat(line+mailOne, 10)), "aaaaaaaaaa"},
		"mbox.gz":     {packed(t, line+mailOne+line+zeros), "ae"},
		"tar.gz":      {packed(t, tarred(t, "a", report, "b", report+zeros, "c", report)), "aee"},
		"zip":         {zipped(t, "a", report, "b", report+zeros, "c", report, "d", report), "aee"},
		"of one file": {packed(t, report+zeros), "a"}, // Unpack has its own bound
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			write(t, path, []byte(c.in))
			files, err := intake.NewFiles(intake.FilesOptions{Paths: []string{path, path}}) // each has its own
			if err != nil {
				t.Fatal(err)
			}
			files.LimitUnpacked(limit)
			have := ""
			for _, err := range files.Arrivals(t.Context()) {
				if err != nil {
					have += "e"
				} else {
					have += "a"
				}
			}
			if have != c.want+c.want {
				t.Errorf("have %q, want %q twice", have, c.want)
			}
		})
	}
}

func TestDeepDirectories(t *testing.T) {
	dir := t.TempDir()
	deep := dir
	for range 34 {
		deep = filepath.Join(deep, "d")
		if err := os.Mkdir(deep, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(deep, "a.json"), []byte(report))
	}
	write(t, filepath.Join(dir, "z.json"), []byte(report))
	g, _ := read(t, t.Context(), intake.FilesOptions{Paths: []string{dir}})
	if len(g.arrivals) != 33 || len(g.errs) != 1 || g.order[len(g.order)-1] != filepath.Join(dir, "z.json") {
		t.Errorf("%d read; %v; %q", len(g.arrivals), g.errs, g.order)
	}
}

func TestTheCallerStops(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), []byte(strings.Repeat(line+mailOne, 5)))
	write(t, filepath.Join(dir, "b"), []byte(zipped(t, "a", report, "b", report, "c", "nothing")))
	write(t, filepath.Join(dir, "c"), []byte(tarred(t, "a", report, "b", report)))
	write(t, filepath.Join(dir, "d"), []byte("nothing"))
	for stop := 1; stop <= 11; stop++ {
		files, err := intake.NewFiles(intake.FilesOptions{Paths: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range files.Arrivals(t.Context()) {
			if n++; n == stop {
				break // going on after this would panic
			}
		}
		if n != min(stop, 11) {
			t.Errorf("%d of %d", n, stop)
		}
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancel()
	g, _ := read(t, ctx, intake.FilesOptions{Paths: []string{t.TempDir(), "-"}, Stdin: strings.NewReader(report)})
	if len(g.order) != 1 || !errors.Is(g.errs[0], context.Canceled) {
		t.Errorf("have %q", g.order)
	}
}

func TestNamesAreStrangers(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a\nlevel=ERROR\x1b[31m"), []byte(report))
	write(t, filepath.Join(dir, strings.Repeat("é", 120)), []byte(zipped(t, strings.Repeat("x", 60_000), report, "c\u202ed", "no")))
	g, _ := read(t, t.Context(), intake.FilesOptions{Paths: []string{dir}})
	if len(g.order) != 3 {
		t.Fatalf("have %q", g.order)
	}
	for _, at := range g.order {
		if strings.ContainsAny(at, "\n\x1b\u202e\ufffd") || len(at) > 1000 {
			t.Errorf("%q", at)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, paths := range [][]string{nil, {"-"}, {"x", ""}} {
		if _, err := intake.NewFiles(intake.FilesOptions{Paths: paths}); err == nil {
			t.Errorf("%q was taken", paths)
		}
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.String()
}

// zipped is a zip file of names and texts by turns.
func zipped(t *testing.T, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for m := range slices.Chunk(members, 2) {
		w, err := z.Create(m[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m[1]); err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	return b.String()
}

func tarred(t *testing.T, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for m := range slices.Chunk(members, 2) {
		if err := w.WriteHeader(&tar.Header{Name: m[0], Mode: 0o600, Size: int64(len(m[1])), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m[1]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.String()
}

// random is text that does not pack well.
func random(n int) string {
	text := make([]byte, n)
	seed := uint32(1)
	for i := range text {
		seed = seed*1664525 + 1013904223
		text[i] = 'a' + byte(seed>>24)%26
	}
	return string(text)
}
