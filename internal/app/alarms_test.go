package app

import (
	"os"
	"testing"
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
