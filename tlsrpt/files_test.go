package tlsrpt_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mtasts-server/tlsrpt"
)

// readFile reads one file of testdata/reports as it would come in, and says what becomes
// of it in one line: the reason to set it aside, or the sessions of its first domain, and
// what is noted.
func readFile(t testing.TB, name string) (line string, r *tlsrpt.Report) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/reports", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []tlsrpt.Note
	mediaType := ""
	if strings.HasSuffix(name, ".eml") {
		var m *tlsrpt.Message
		if m, all, err = tlsrpt.ReadMessage(data); err == nil {
			data, mediaType = m.Data, m.MediaType
		}
	}
	if err == nil {
		var more []tlsrpt.Note
		data, more, err = tlsrpt.Unpack(data, mediaType)
		all = append(all, more...)
	}
	if err == nil {
		r, err = tlsrpt.ParseReport(data)
	}
	if err != nil {
		bad, ok := errors.AsType[*tlsrpt.ErrReport](err)
		if !ok {
			t.Fatalf("%s: %v", name, err)
		}
		return "aside " + bad.Reason, nil
	}
	ok, failed := r.Sessions(r.Domains()[0])
	line = fmt.Sprintf("taken %d+%d", ok, failed)
	for _, n := range append(all, r.Notes...) {
		line += " " + string(n.Code)
	}
	return line, r
}

// TestFiles reads what reporters send, as files that other tests use too, and prints what
// becomes of each. testdata/reports.txt says what has to.
func TestFiles(t *testing.T) {
	text, err := os.ReadFile("testdata/reports.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			want[name] = strings.TrimSpace(what)
		}
	}
	files, err := os.ReadDir("testdata/reports")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	taken, noted, aside := 0, 0, 0
	for _, f := range files {
		got, _ := readFile(t, f.Name())
		switch {
		case strings.HasPrefix(got, "aside"):
			aside++
		case strings.Count(got, " ") > 1:
			noted++
		default:
			taken++
		}
		fmt.Fprintf(&table, "%-38s %s\n", f.Name(), got)
		if got != want[f.Name()] {
			t.Errorf("%s: %s, want %q", f.Name(), got, want[f.Name()])
		}
		delete(want, f.Name())
	}
	for name := range want {
		t.Errorf("there is no %s", name)
	}
	t.Logf("%d taken, %d taken and noted, %d set aside\n%s", taken, noted, aside, &table)
}

// Two reports of one id are two, if they are of two days.
func TestFilesSameID(t *testing.T) {
	_, one := readFile(t, "type-none-failed.json")
	_, two := readFile(t, "c25-same-id-other-range.json")
	_, mail := readFile(t, "mail-rfc8460.eml")
	key := func(r *tlsrpt.Report) [32]byte { return r.Key("example.com", "sender.example") }
	if one.ReportID != two.ReportID || key(one) == key(two) {
		t.Error("one id, two days: the same key")
	}
	if key(one) != key(mail) {
		t.Error("the same report by mail has another key")
	}
}

// seed adds the files whose names end so to a fuzz test.
func seed(f *testing.F, suffix string, add func(data []byte)) {
	f.Helper()
	names, err := filepath.Glob("testdata/reports/*" + suffix)
	if err != nil || len(names) == 0 {
		f.Fatal(suffix, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}
