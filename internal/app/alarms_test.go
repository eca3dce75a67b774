package app

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/alert"
)

// Alarms that people were told of end, though the server was started anew meanwhile, and
// though the domain is not configured any more.
func TestAlarmsEndAfterARestart(t *testing.T) {
	y := newHousehold(t, "off")
	a, b := y.move("a.example", "enforce", "1d", false), y.move("b.example", "enforce", "1d", false)
	y.save()
	for _, r := range []*resident{a, b} {
		r.forged = []forgery{{"", "big.example", 0, 10}}
	}
	y.days(2)
	y.app.steward.pace(t.Context())
	if len(y.open) != 2 {
		t.Fatalf("open: %v", y.open)
	}
	a.forged, b.forged = nil, nil
	y.restart()
	y.check(os.Remove(b.file()))
	b.absent = true
	y.save()
	y.days(12)
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("open still: %v", y.open)
	}
}

// A database that is new knows nothing of who was silent before.
func TestNoAlarmOfSilenceBeforeReportsAreKept(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "1d", false)
	a.silent = true
	other := y.move("b.example", "testing", "1d", false)
	y.save()
	y.clock = y.clock.Add(30 * day)
	y.app.steward.pace(t.Context())
	y.days(6)
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("alarms: %v", y.open)
	}
	y.days(3)
	y.app.steward.pace(t.Context())
	if !y.open[alarmKey(a.name, "heard")] || len(y.open) != 1 {
		t.Errorf("alarms: %v, want one of silence; %s is not silent", y.open, other.name)
	}
}

// The end of an alarm that could not be told, as the database was away, is told later.
func TestEndOfAnAlarmIsNotLost(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "1d", false)
	y.save()
	a.forged = []forgery{{"", "big.example", 0, 10}}
	y.days(2)
	y.app.steward.pace(t.Context())
	if len(y.open) != 1 {
		t.Fatalf("open: %v", y.open)
	}
	a.forged = nil
	y.days(12)
	y.app.alerting.tell = func(context.Context, ...alert.Alert) error { return errors.New("the database is away") }
	y.app.steward.pace(t.Context())
	y.app.alerting.tell = y.tell
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("open still: %v", y.open)
	}
}

// That the rollout has stopped is said as long as it has, whatever else is looked at.
func TestItIsSaidThatTheRolloutHasStopped(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "30d", true)
	y.save()
	for range 21 {
		y.days(1)
		y.app.steward.attend(t.Context())
		y.app.steward.pace(t.Context())
		y.see()
	}
	y.want(a, "after three weeks", "enforce 1d")
	a.forged = []forgery{{"", "big.example", 0, 10}}
	y.days(2)
	said := func() bool {
		return strings.Contains(strings.Join(y.app.steward.amiss(), "\n"), "no more domains are moved on")
	}
	y.app.steward.pace(t.Context())
	if !said() {
		t.Fatal("it has not stopped")
	}
	if y.app.steward.attend(t.Context()); !said() {
		t.Error("it is not said any more")
	}
	a.forged = nil
	y.days(12)
	if y.app.steward.pace(t.Context()); said() {
		t.Error("it is said still, and is over")
	}
}

// An error in its file does not mend a domain: its mail is lost as before.
func TestAlarmsOutliveABrokenFile(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "1d", false)
	y.save()
	a.forged = []forgery{{"", "big.example", 0, 10}}
	y.days(2)
	y.app.steward.pace(t.Context())
	if len(y.open) != 1 {
		t.Fatalf("open: %v", y.open)
	}
	b := y.move("b.example", "enforce", "1d", false)
	b.extra = "resolved = [{ before = \"" + y.clock.Format(time.DateOnly) + "\", note = \"forged\" }]\n"
	b.forged = a.forged
	y.save()
	y.days(1)
	b.forged = nil
	b.extra = "resolved = [{ before = \"" + y.clock.Format(time.DateOnly) + "\", note = \"forged\" }]\n"
	y.save()
	y.app.steward.pace(t.Context())
	y.put(a.file(), "no TOML [")
	y.put(b.file(), "no TOML [")
	y.app.publisher.look()
	y.want(a, "with a broken file", "enforce 1d")
	y.app.steward.pace(t.Context())
	if len(y.open) != 1 {
		t.Errorf("with a broken file, open: %v", y.open)
	}
	y.restart()
	y.app.steward.pace(t.Context())
	if !y.open[alarmKey(a.name, "unauthenticated-failures")] {
		t.Errorf("after a restart, open: %v", y.open)
	}
	a.forged = nil
	y.days(12)
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("open still: %v", y.open)
	}
}
