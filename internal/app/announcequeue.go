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

// put begins to work for domain, of which id is served, or begins anew. What is being
// worked for already goes on as it is, with its waits.
func (a *announcer) put(domain, id, rua string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[domain]
	if t == nil {
		t = &announcement{domain: domain}
		a.tasks[domain] = t
	} else if t.id == id && t.rua == rua {
		return
	}
	t.id, t.rua, t.failures, t.err, t.told = id, rua, 0, nil, nil
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
	t.leaveQueue()
	delete(a.tasks, domain)
}

// schedule has t gone on with at that time. The mutex is held.
func (a *announcer) schedule(t *announcement, at time.Time) {
	t.leaveQueue()
	t.at, t.queue = at, &a.due
	if t.failures > 0 {
		t.queue = &a.again
	}
	heap.Push(t.queue, t)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (t *announcement) leaveQueue() {
	if t.queue != nil {
		heap.Remove(t.queue, t.index)
	}
}

// maxRetrying is how many of the places those may take that have failed before: thousands
// of them, whose hosts take no connection, must not keep an edit waiting.
const maxRetrying = maxAnnouncing / 2

// next waits for the first domain that is due; nil when ctx is done.
func (a *announcer) next(ctx context.Context) *announcement {
	for {
		a.mu.Lock()
		t, wait := a.first()
		a.mu.Unlock()
		if t != nil {
			return t
		}
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

// first takes what is due, those that have not failed before the others, or says how long to
// wait. The mutex is held.
func (a *announcer) first() (*announcement, time.Duration) {
	wait := time.Hour
	now := a.now()
	for _, queue := range []*announcements{&a.due, &a.again} {
		retry := queue == &a.again
		if len(*queue) == 0 || retry && a.retrying >= maxRetrying { // one that ends wakes us
			continue
		}
		t := (*queue)[0]
		if left := t.at.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		heap.Pop(queue)
		t.running, t.retry = true, retry
		if retry {
			a.retrying++
		}
		return t, 0
	}
	return nil, wait
}

// finished is the wait of a domain that needs no more work.
const finished = -1

// done notes what work came to.
func (a *announcer) done(t *announcement, wait time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.running = false
	if t.retry {
		a.retrying--
		t.retry = false
		defer func() {
			select {
			case a.wake <- struct{}{}:
			default:
			}
		}()
	}
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
	t.queue = nil
	*h = slices.Delete(old, len(old)-1, len(old))
	return t
}
