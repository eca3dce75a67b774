package review

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// record stores what looks saw, all that is there at a time.
func (s *Scheduler) record(ctx context.Context) {
	for first := range s.results {
		group := s.gather(first)
		for err := s.storeOnce(ctx, group); err != nil; err = s.storeOnce(ctx, group) {
			if !s.wait(ctx, storeAgain) {
				s.o.Log.Warn("looks are not stored: they come again", "looks", len(group), "err", err)
				break
			}
		}
	}
}

// gather returns first and what else waits. No domain is in it twice: who touches one may
// have it looked at again at once.
func (s *Scheduler) gather(first Seen) []Seen {
	group := map[string]Seen{first.Domain: first}
	for len(group) < groupMax {
		select {
		case seen, ok := <-s.results:
			if !ok {
				return slices.Collect(maps.Values(group))
			}
			if other, twice := group[seen.Domain]; !twice || seen.Look.At.After(other.Look.At) {
				group[seen.Domain] = seen
			}
		default:
			return slices.Collect(maps.Values(group))
		}
	}
	return slices.Collect(maps.Values(group))
}

// storeOnce stores a group once.
func (s *Scheduler) storeOnce(ctx context.Context, group []Seen) error {
	if ctx.Err() != nil { // the end: what is there is stored all the same
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), storeAtEnd)
		defer cancel()
	}
	changes, err := s.store.RecordAll(ctx, group)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return err
	}
	s.tell("what looks saw is not stored", err)
	if err != nil || s.o.Changed == nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c Changes) bool { return !c.Any() })
	if len(changes) > 0 {
		s.o.Changed(changes)
	}
	return nil
}

// wait waits, and returns false where ctx has ended before it began.
func (s *Scheduler) wait(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return true
}
