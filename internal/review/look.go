package review

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// outcome is what a look came to. It is a metric label.
type outcome string

const (
	lookedGood    outcome = "good"
	lookedErrors  outcome = "errors"
	lookedUnknown outcome = "unknown"
	lookedFailed  outcome = "failed" // the look itself went wrong
)

func outcomes() []outcome {
	return []outcome{lookedGood, lookedErrors, lookedUnknown, lookedFailed}
}

// look takes one look, and passes on what it saw.
func (s *Scheduler) look(ctx context.Context, j job) {
	if j.lane == slow {
		defer s.slow.Add(-1)
	}
	began := s.o.Now()
	l, err := s.ask(ctx, j.domain)
	if ctx.Err() != nil {
		return // it was cut short, and saw nothing
	}
	if err != nil {
		s.o.Log.Warn("a look at a domain went wrong", "domain", j.domain, "err", bounded(err.Error(), maxWords))
		l = Look{}
	}
	if l.At.IsZero() {
		l.At = began
	}
	s.metrics.look(outcomeOf(l, err))
	s.note(j.domain, l.Known)
	if !l.Known && s.sight.blind() {
		return // we saw nothing ourselves; it comes again when its lease is over
	}
	took := s.o.Now().Sub(began)
	s.mu.Lock()
	risk := s.risks[j.domain]
	s.mu.Unlock()
	s.results <- Seen{
		Domain: j.domain, Look: l,
		next: func(m *memory) time.Time { return l.At.Add(took + s.o.Pace.next(m, risk, l.At)) },
		lane: func(m *memory) lane { return laneOf(m, took) },
	}
}

// ask has Look look, for no longer than it may take. What it panics at is one domain's.
func (s *Scheduler) ask(ctx context.Context, domain string) (l Look, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			s.o.Log.Error("a look at a domain panicked", "domain", domain, "stack", string(debug.Stack()))
		}
	}()
	return s.o.Look(ctx, domain)
}

func outcomeOf(l Look, err error) outcome {
	switch {
	case err != nil:
		return lookedFailed
	case !l.Known:
		return lookedUnknown
	case slices.ContainsFunc(l.Problems, func(p Problem) bool { return p.Severity == Error }):
		return lookedErrors
	}
	return lookedGood
}

func (s *Scheduler) note(domain string, known bool) {
	changed := s.sight.note(s.o.Now(), domain, known)
	if !known {
		for _, d := range s.sight.controls(s.o.Now(), domain) {
			s.Touch(d)
		}
	}
	if !changed {
		return
	}
	if line := s.sight.trouble(); line != "" {
		s.o.Log.Error(line)
	} else {
		s.o.Log.Info("reviews see again")
	}
}
