package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An errand that does not end holds up nobody for long, is told of, and is done once more
// when it ends, however often it was asked for meanwhile.
func TestErrandThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := errand{name: "reading"}
		answers := make(chan struct{})
		done := 0
		f := func() { <-answers; done++ }
		began := time.Now()
		for range 3 {
			e.do(f)
		}
		if took := time.Since(began); took != 3*waitFor {
			t.Errorf("waited for %s", took)
		}
		if text := e.stuck(); text != "storage does not answer since 2000-01-01T00:00:00Z: reading" {
			t.Errorf("it is told by %q", text)
		}
		close(answers)
		synctest.Wait()
		if text := e.stuck(); done != 2 || text != "" {
			t.Errorf("done %d times, %q", done, text)
		}
		e.do(f)
		if done != 3 {
			t.Error("not done, and not waited for")
		}
	})
}

func TestErrandThatTakesAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := errand{name: "reading"}
		e.do(func() { time.Sleep(tellAfter - time.Second) })
		time.Sleep(tellAfter - waitFor - 2*time.Second)
		if text := e.stuck(); text != "" {
			t.Errorf("told at once: %q", text)
		}
		time.Sleep(time.Minute)
		if text := e.stuck(); strings.Contains(text, "reading") {
			t.Errorf("told when it has ended: %q", text)
		}
	})
}

// What takes long and is asked for all the time is not done all the time.
func TestSparingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e errand
		began, busy := time.Now(), time.Duration(0)
		for time.Since(began) < time.Hour {
			e.beginSparingly(func() { time.Sleep(time.Second); busy += time.Second })
			time.Sleep(300 * time.Millisecond)
		}
		synctest.Wait()
		if busy < 5*time.Minute || busy > 7*time.Minute {
			t.Errorf("busy for %v of an hour", busy)
		}
	})
}
