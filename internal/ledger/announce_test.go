package ledger_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
)

// What is announced is known after a restart, for who looks on, and when the journal is
// begun anew.
func TestAnnouncements(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	at := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	announce := func(as ...ledger.Announcement) {
		t.Helper()
		must(t, l.Announce(at, as))
		at = at.Add(time.Minute)
	}
	announce(ledger.Announcement{Domain: "a.example", RUA: "mailto:a@a.example"}, ledger.Announcement{Domain: "b.example", ID: "1", By: "zone+export"})
	announce(ledger.Announcement{Domain: "a.example", ID: "1", RUA: "mailto:a@a.example"})
	announce(ledger.Announcement{Domain: "a.example", ID: "1", RUA: "mailto:a@a.example"}) // nothing new
	announce(ledger.Announcement{Domain: "c.example", ID: "1"})
	must(t, l.Unannounce(at, "c.example"))
	want := []ledger.Announcement{
		{Domain: "a.example", ID: "1", RUA: "mailto:a@a.example", At: time.Date(2026, 11, 25, 8, 1, 0, 0, time.UTC)},
		{Domain: "b.example", ID: "1", By: "zone+export", At: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)},
	}
	same := func(why string, l *ledger.Ledger) {
		t.Helper()
		all := l.AllAnnounced()
		slices.SortFunc(all, func(a, b ledger.Announcement) int { return strings.Compare(a.Domain, b.Domain) })
		if !slices.Equal(all, want) || l.CountAnnounced() != len(want) {
			t.Errorf("%s: %+v", why, all)
		}
		if _, ok := l.Announced("c.example"); ok {
			t.Errorf("%s: c.example is announced", why)
		}
	}
	same("at once", l)
	same("after a restart", open(t, dir))
	guest, err := ledger.Visit(dir)
	must(t, err)
	same("beside the server", guest)
	// A journal that was taken away is written anew, from what is known.
	must(t, os.Truncate(filepath.Join(dir, "journal"), 0))
	must(t, l.Refresh())
	must(t, l.Flush(at))
	same("from a journal that was begun anew", open(t, dir))
}
