package certs

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// restart ends w, and starts another scheduler with what w wrote down.
func restart(t *testing.T, w *world, stop func(), file string) (*world, func()) {
	t.Helper()
	stop()
	if m, changed := w.remember(); changed {
		if err := writeAttempts(file, m); err != nil {
			t.Fatal(err)
		}
	}
	next := newWorld(t, w.slots, w.ari)
	next.e.onStored, next.e.onOrder = w.e.onStored, w.e.onOrder
	var err error
	if next.former, err = readAttempts(file); err != nil {
		t.Fatal(err)
	}
	for host := range w.hosts {
		next.add(host)
	}
	return next, next.start(t)
}

func TestRestartRemembersFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "attempts.json")
		w := newWorld(t, 1, false)
		w.e.onOrder = refuse
		w.add(host)
		stop := w.start(t)
		pass(90 * time.Minute) // orders at 0, 5 and 75 minutes, or a little later
		before := w.task(host)
		if before.failures != 3 {
			t.Fatalf("%d failures, want 3", before.failures)
		}

		w, stop = restart(t, w, stop, file)
		defer stop()
		if got := w.task(host); got.failures != 3 || got.lastError != errRefused.Error() || got.lastAttempt != before.lastAttempt {
			t.Errorf("after the restart %+v", got)
		}
		pass(time.Until(before.lastAttempt.time().Add(restartGap)) - time.Second)
		if n := len(w.e.began(host)); n != 0 {
			t.Errorf("%d orders within %v of the last one", n, restartGap)
		}
		pass(2 * time.Second)
		if got := w.task(host); got.failures != 4 || len(w.e.began(host)) != 1 {
			t.Errorf("not tried again: %+v", got)
		}
	})
}

// Those who fail stay behind those who never did, through a restart too.
func TestRestartPutsNewHostsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "attempts.json")
		w := newWorld(t, 1, false)
		w.e.onOrder = refuse
		w.add(names("dead", 50)...)
		stop := w.start(t)
		pass(time.Minute)
		stop()
		pass(day) // all are due
		w.add(host)
		w, stop = restart(t, w, func() {}, file)
		defer stop()
		pass(time.Minute)
		if all := w.e.count().sequence; len(all) != 51 || all[0] != host {
			t.Errorf("%d orders, the first for %q", len(all), all[:1])
		}
	})
}

// A program that is restarted in a loop makes two attempts an hour, and no more.
func TestRestartLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "attempts.json")
		w := newWorld(t, 2, false)
		w.e.onOrder = refuse
		w.add(host)
		stop := w.start(t)
		var at []time.Time
		for range 12 * 60 {
			pass(time.Minute)
			at = append(at, w.e.began(host)...)
			w, stop = restart(t, w, stop, file)
		}
		stop()
		if len(at) < 12 {
			t.Errorf("%d orders in twelve hours: it is not tried any more", len(at))
		}
		for i := 2; i < len(at); i++ {
			if gap := at[i].Sub(at[i-2]); gap < time.Hour {
				t.Errorf("three orders within %v, the last at %v", gap, at[i])
			}
		}
	})
}

func TestRestartForgetsWhatIsOver(t *testing.T) {
	for _, c := range []struct {
		why    string
		stored func(context.Context, string) (*certificate, error)
		last   time.Duration // of the attempt before the restart, from now
		wait   time.Duration // until the first order
		orders int
	}{
		{"a certificate came from elsewhere", func(context.Context, string) (*certificate, error) { return valid(90 * day), nil }, -time.Minute, 10 * day, 0},
		{"the clock was set back by a year", nil, 365 * day, restartGap + time.Second, 1},
		{"it failed long ago", nil, -day, time.Second, 1},
		{"its certificate is still to be renewed", func(context.Context, string) (*certificate, error) { return aged(90*day, 70*day), nil }, -time.Minute, restartGap, 1},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.e.onStored = c.stored
				w.former = map[string]attempt{host: {Failures: 7, Last: time.Now().Add(c.last), Error: "old"}}
				w.add(host)
				defer w.start(t)()
				pass(time.Millisecond)
				if got := w.task(host); c.orders == 0 && (got.failures != 0 || got.lastError != "") {
					t.Errorf("still failing: %+v", got)
				}
				pass(c.wait)
				if n := len(w.e.began(host)); n != c.orders {
					t.Errorf("%d orders, want %d", n, c.orders)
				}
			})
		})
	}
}

func TestReadAttempts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "attempts.json")
	if m, err := readAttempts(file); len(m) != 0 || err != nil {
		t.Errorf("no file: %v, %v", m, err)
	}
	good := attempt{Failures: 2, Last: born, Error: "dns: no such host"}
	for _, c := range []struct {
		why  string
		in   map[string]attempt
		want map[string]attempt
	}{
		{"as it was written", map[string]attempt{host: good}, map[string]attempt{host: good}},
		{"held back", map[string]attempt{host: {Held: 3, Finding: "no address\n", Probe: born}}, map[string]attempt{host: {Held: 3, Finding: "no address ", Probe: born}}},
		{"less than never", map[string]attempt{host: {Failures: 1, Held: -1}}, map[string]attempt{}},
		{"nobody fails", map[string]attempt{}, map[string]attempt{}},
		{"no failure is none", map[string]attempt{host: {Error: "x"}, "a.example.com": {Failures: -1}}, map[string]attempt{}},
		{"a host that cannot be", map[string]attempt{"../x": good, "A.example.com": good}, map[string]attempt{}},
		{"an error that writes to the terminal", map[string]attempt{host: {Failures: 1, Last: born, Error: "a\x1b[2J\n" + strings.Repeat("x", 999)}}, map[string]attempt{host: {Failures: 1, Last: born, Error: "a [2J " + strings.Repeat("x", maxErrorText-6) + "…"}}},
	} {
		if err := writeAttempts(file, c.in); err != nil {
			t.Fatal(err)
		}
		got, err := readAttempts(file)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.why, got, err, c.want)
		}
	}
}

// Wherever the file was cut, it is an error, which costs what was remembered.
func TestReadAttemptsTorn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "attempts.json")
	data, err := json.Marshal(map[string]attempt{host: {Failures: 2, Last: born, Error: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if err := os.WriteFile(file, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readAttempts(file); err == nil || m != nil {
			t.Errorf("%d of %d bytes: %v, %v", n, len(data), m, err)
		}
	}
}

// What could not be written is written once the disk can take it.
func TestAttemptsAreWrittenOnceThatIsPossible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		w.e.onOrder = refuse
		w.add(host)
		stop := w.start(t)
		pass(time.Minute)
		stop()
		m := &Manager{o: Options{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(w, nil))}, sched: w.scheduler}
		// A directory in its place is what no rename replaces.
		if err := os.Mkdir(m.attemptsFile(), 0o700); err != nil {
			t.Fatal(err)
		}
		m.save(t.Context())
		if !strings.Contains(w.said(), "a restart will not know which hosts failed") {
			t.Error("nobody is told")
		}
		if err := os.Remove(m.attemptsFile()); err != nil {
			t.Fatal(err)
		}
		m.save(t.Context())
		if got, err := readAttempts(m.attemptsFile()); err != nil || got[host].Failures != 1 {
			t.Errorf("%v, %v", got, err)
		}
		if left, err := filepath.Glob(filepath.Join(m.o.Dir, tempPrefix+"*")); err != nil || len(left) != 0 {
			t.Errorf("left over: %q, %v", left, err)
		}
	})
}
