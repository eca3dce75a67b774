package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/lookup/lookuptest"
	"mtasts-server/mtasts"
)

// Of a domain that is served as last published nobody may know where it reports to: what is
// in DNS stays, also in what tools read.
func TestRecordsOfKeptDomain(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.toml"), []byte("state = \"state\"\n[certificates]\nsource = \"local\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Join(dir, "state", "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	body := version("one")
	if err := l.Publish(time.Now(), []ledger.Publication{{Domain: "example.com", ID: mtasts.ID(body), Body: body, Source: "gone.toml"}}); err != nil {
		t.Fatal(err)
	}
	v, err := OpenView(filepath.Join(dir, "main.toml"), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	views, err := v.Records(t.Context(), v.Names(), RecordsOptions{Offline: true})
	if err != nil || len(views) != 1 || views[0].Unsure == "" {
		t.Fatalf("offline: %+v, %v", views, err)
	}
	for _, c := range []struct {
		dns     string
		records int
		unsure  bool
	}{
		{`_smtp._tls.example.com. 60 IN TXT "v=TLSRPTv1; rua=mailto:a@example.com"`, 1, false},
		{"NXDOMAIN", 0, false},
		{"SERVFAIL", 0, true},
	} {
		in := &inquiry{resolver: lookup.Over(lookuptest.Map{"TXT _smtp._tls.example.com.": c.dns}.Exchange(t), time.Now)}
		view := &RecordsView{Domain: "example.com"}
		in.keepReports(t.Context(), view)
		sheet := view.Sheet()
		if len(sheet.Records) != c.records || (view.Unsure != "") != c.unsure {
			t.Errorf("%s: %+v, unsure %q", c.dns, sheet, view.Unsure)
		}
	}
}
