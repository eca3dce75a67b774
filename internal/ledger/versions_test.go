package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// versions are the max_age of each, with the days from when until when.
func versions(l *ledger.Ledger, domain string) (s string) {
	for _, v := range l.Versions(domain) {
		p, err := mtasts.Parse(v.Body)
		if err != nil || v.ID != mtasts.ID(v.Body) {
			return fmt.Sprint(v.ID, err)
		}
		until := "now"
		if !v.Until.IsZero() {
			until = fmt.Sprint(v.Until.Sub(t0).Hours() / 24)
		}
		s += fmt.Sprintf("%s %d: %v to %s\n", p.Mode, p.MaxAge, v.From.Sub(t0).Hours()/24, until)
	}
	return s
}

func TestVersions(t *testing.T) {
	const d = 24 * time.Hour
	dir := t.TempDir()
	l := open(t, dir)
	must(t, l.Publish(t0, publication("example.com", body("testing", 86400))))
	must(t, l.Publish(t0.Add(1*d), publication("example.com", body("testing", 86400)))) // the same
	must(t, l.Publish(t0.Add(2*d), publication("example.com", body("enforce", 86400))))
	must(t, l.Publish(t0.Add(5*d), publication("example.com", body("none", 86400))))
	const want = "testing 86400: 0 to 2\nenforce 86400: 2 to 5\nnone 86400: 5 to now\n"
	if got := versions(l, "example.com"); got != want {
		t.Errorf("%s", got)
	}
	must(t, l.Forget(t0.Add(9*d), "example.com"))
	const gone = "testing 86400: 0 to 2\nenforce 86400: 2 to 5\nnone 86400: 5 to 9\n"
	for range 2 {
		if got := versions(l, "example.com"); got != gone {
			t.Errorf("%s", got)
		}
		l = open(t, dir)
	}
	// The journal is begun anew, as it was lost; and much later once more.
	must(t, os.Remove(filepath.Join(dir, "journal")))
	must(t, l.Refresh())
	must(t, l.Publish(t0.Add(9*d), publication("example.org", body("testing", 60))))
	for range 2 {
		if got := versions(l, "example.com"); got != gone {
			t.Errorf("after it was begun anew: %s", got)
		}
		l = open(t, dir)
	}
	must(t, os.Remove(filepath.Join(dir, "journal")))
	must(t, l.Refresh())
	must(t, l.Publish(t0.Add(404*d), publication("example.net", body("testing", 60))))
	if got := versions(l, "example.com"); got != "enforce 86400: 2 to 5\nnone 86400: 5 to 9\n" {
		t.Errorf("after a year: %s", got)
	}
}

// A policy that changes all the time fills nothing.
func TestVersionsAreFew(t *testing.T) {
	l := open(t, t.TempDir())
	for i := range 100 {
		must(t, l.Publish(t0.Add(time.Duration(i)*time.Hour), publication("example.com", body("testing", 1000+i))))
	}
	if n := len(l.Versions("example.com")); n != 25 {
		t.Errorf("%d versions", n)
	}
}
