package app

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// This file says which domain the announcer works for next, and when.

// put begins to work for domain, or begins anew.
func (a *announcer) put(domain, rua string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[domain]
	if t == nil {
		t = &announcement{domain: domain, index: -1}
		a.tasks[domain] = t
	}
	t.rua, t.failures, t.err = rua, 0, nil
	if t.running {
		t.touched = true
		return
	}
	a.schedule(t, a.now())
}

// drop ends the work for domain, for which there is nothing to do any more.
func (a *announcer) drop(domain string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[domain]
	if t == nil {
		return
	}
	if t.running { // who works for it looks again
		t.touched = true
		return
	}
	if t.index >= 0 {
		heap.Remove(&a.due, t.index)
	}
	delete(a.tasks, domain)
}

// schedule has t gone on with at that time. The mutex is held.
func (a *announcer) schedule(t *announcement, at time.Time) {
	t.at = at
	if t.index >= 0 {
		heap.Fix(&a.due, t.index)
	} else {
		heap.Push(&a.due, t)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// next waits for the first domain that is due; nil when ctx is done.
func (a *announcer) next(ctx context.Context) *announcement {
	for {
		a.mu.Lock()
		wait := time.Hour
		if len(a.due) > 0 {
			t := a.due[0]
			if wait = t.at.Sub(a.now()); wait <= 0 {
				heap.Pop(&a.due)
				t.running = true
				a.mu.Unlock()
				return t
			}
		}
		a.mu.Unlock()
		timer := time.NewTimer(min(wait, time.Minute)) // the clock may be set
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// finished is the wait of a domain that needs no more work.
const finished = -1

// done notes what work came to.
func (a *announcer) done(t *announcement, wait time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.running = false
	if err != nil && !t.touched {
		if t.failures++; t.err == nil || t.err.Error() != err.Error() {
			a.log.Warn("not announced yet", "domain", t.domain, "next", string(t.step), "err", err)
		}
		t.err = err
		wait = announceWaits[min(t.failures, len(announceWaits))-1]
		if _, foreign := errors.AsType[foreignError](err); foreign {
			wait = foreignWait
		}
		wait += time.Duration(rand.Int64N(int64(wait)/5 + 1))
	}
	switch {
	case t.touched:
		t.touched = false
		a.schedule(t, a.now())
	case wait == finished:
		delete(a.tasks, t.domain)
	default:
		if err == nil {
			t.failures, t.err = 0, nil
		}
		a.schedule(t, a.now().Add(wait))
	}
}

// announcements is a heap of them by time.
type announcements []*announcement

func (h announcements) Len() int           { return len(h) }
func (h announcements) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h announcements) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *announcements) Push(x any) {
	t := x.(*announcement)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *announcements) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = -1
	*h = slices.Delete(old, len(old)-1, len(old))
	return t
}
