package review_test

import (
	"sync/atomic"
	"testing"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/internal/review"
)

// A look by a clock that was a year ahead is no reason to believe no other for a year.
func TestLookByAWrongClock(t *testing.T) {
	each(t, func(s *scene) {
		a, b := lost("a.example.net"), lost("b.example.net")
		s.look(0, good(a))
		s.look(time.Hour, good(a))
		s.want(s.look(365*day, review.Look{Known: true, Problems: []review.Problem{b}, MX: []string{"mx2.example.net"}, TLSRPT: true}), "+mx-not-in-policy b.example.net, mx")
		s.want(s.look(3*time.Hour, good(a, b)), "mx")
		s.want(s.look(3*time.Hour+10*time.Minute, good(a, b)), "confirmed mx-not-in-policy b.example.net")
		s.want(s.look(4*time.Hour, good()), "")
		s.want(s.look(5*time.Hour, good()), "-mx-not-in-policy a.example.net, -mx-not-in-policy b.example.net")
		states, err := s.States(s.Context(), []string{"example.com"})
		if err != nil {
			t.Fatal(err)
		}
		state, now := states["example.com"], s.clock.now()
		if state.Looked != now || state.TLSRPTSince.After(now) || len(state.MX) != 3 || state.MX[2].Since.After(now) {
			t.Errorf("%+v", state)
		}
	})
}

// Who was put off by a clock that was a year ahead is looked at soon after it is right, and
// who is new is found.
func TestScheduleByAWrongClock(t *testing.T) {
	bubble(t, func(t *testing.T, _ *review.Store) {
		var off atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		s := newStore(t, database.Options{File: t.TempDir() + "/clock.db"}, now)
		w := newWorld(names(review.Enforcing, 3)...)
		o := w.options(s)
		o.Now = now
		run(t, o, func(*review.Scheduler) {
			wait(time.Hour)
			off.Store(int64(365 * day))
			wait(2 * time.Hour)
			off.Store(0)
			w.mu.Lock()
			w.domains = append(w.domains, review.Domain{Name: "new.example.com", Risk: review.Testing})
			w.mu.Unlock()
			w.count()
			wait(3 * time.Hour)
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.looks) != 4 {
				t.Errorf("looked at %v in three hours, want all four", w.looks)
			}
		})
	})
}
