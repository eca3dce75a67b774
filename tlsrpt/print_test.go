package tlsrpt_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/tlsrpt"
)

// What is printed is read as the same report, of everything in the corpus.
func TestPrint(t *testing.T) {
	files, err := filepath.Glob("testdata/reports/*")
	if err != nil || len(files) < 50 {
		t.Fatal(len(files), err)
	}
	printed := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if msg, _, err := tlsrpt.ReadMessage(data); err == nil {
			data = msg.Data
		}
		text, _, err := tlsrpt.Unpack(data, "")
		if err != nil {
			continue
		}
		if r, err := tlsrpt.ParseReport(text); err == nil {
			printed++
			printTwice(t, r)
		}
	}
	if printed < 30 {
		t.Errorf("only %d reports could be printed", printed)
	}
}

func printTwice(t *testing.T, r *tlsrpt.Report) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tlsrpt.ParseReport(text)
	if bad := (*tlsrpt.ErrReport)(nil); errors.As(err, &bad) && bad.Reason == "too-big" {
		return // escapes made it longer than what is read
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := *r
	want.Notes, again.Notes = nil, nil
	if diff := cmp.Diff(&want, again); diff != "" {
		t.Errorf("printed and read again (-want +got):\n%s", diff)
	}
}
