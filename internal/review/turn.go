package review

import (
	"context"
	"errors"
	"time"
)

// turn does what is due. It returns true if there may be more right now.
func (s *Scheduler) turn(ctx context.Context) (more bool) {
	now := s.o.Now()
	if elapsed(now, s.synced, enlistEach) && s.tell("domains are not put on the schedule", s.sync(ctx)) {
		s.synced = now
	}
	if elapsed(now, s.counted, enlistEach) && s.tell("findings are not counted", s.count(ctx)) {
		s.counted = now
	}
	if elapsed(now, s.tidied, tidyEach) && s.tell("what is old is not given up", s.store.Tidy(ctx, s.known)) {
		s.tidied, s.enlisted = now, nil // another process may have given up what only we know
	}
	s.tell("edited domains are not looked at", s.takeTouched(ctx))
	jobs, err := s.due(ctx, now)
	s.tell("it cannot be seen which domains are due", err)
	for _, j := range jobs {
		if s.sight.blind() && len(jobs) > 1 {
			return false // the others come again when their lease is over
		}
		if j.lane == slow {
			s.slow.Add(1)
		}
		select {
		case s.jobs <- j:
		case <-ctx.Done():
			return false
		}
	}
	return len(jobs) > 0
}

// tell keeps what went wrong for Trouble, and returns whether nothing did.
func (s *Scheduler) tell(what string, err error) bool {
	s.mu.Lock()
	old := s.trouble[what]
	delete(s.trouble, what)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.trouble[what] = what + ": " + err.Error()
	}
	s.mu.Unlock()
	if err != nil && old == "" && !errors.Is(err, context.Canceled) {
		s.o.Log.Error("reviews: "+what, "err", err)
	}
	return err == nil
}

// sync puts domains that are new on the schedule. Those of a first start are spread over
// twice the time that they take at the full rate: what turns out bad meanwhile has its turn.
func (s *Scheduler) sync(ctx context.Context) error {
	// First of all: who does not know the domains takes them for strangers, and gives them up.
	risks := map[string]Risk{}
	for _, d := range s.o.Domains() {
		risks[d.Name] = d.Risk
	}
	s.mu.Lock()
	s.risks = risks
	s.mu.Unlock()
	if s.enlisted == nil {
		all, err := s.store.enlisted(ctx)
		if err != nil {
			return err
		}
		s.enlisted = all
	}
	var fresh []string
	for d := range risks {
		if !s.enlisted[d] {
			fresh = append(fresh, d)
		}
	}
	for d := range s.enlisted {
		if _, known := risks[d]; !known {
			delete(s.enlisted, d) // it may come back
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := s.store.enlist(ctx, fresh, time.Duration(2*float64(len(fresh))/s.o.Rate*float64(time.Second))); err != nil {
		return err
	}
	for _, d := range fresh {
		s.enlisted[d] = true
	}
	return nil
}

func (s *Scheduler) known(domain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.risks[domain]
	return known
}

func (s *Scheduler) takeTouched(ctx context.Context) error {
	s.mu.Lock()
	byTime := map[time.Time][]string{}
	for d, at := range s.touched {
		at = at.Truncate(time.Second) // as it is stored: few statements, however many were touched
		byTime[at] = append(byTime[at], d)
	}
	clear(s.touched)
	s.mu.Unlock()
	var failed error
	for at, list := range byTime {
		if failed == nil {
			failed = s.store.touch(ctx, list, at)
		}
		if failed != nil { // again in the next turn
			for _, d := range list {
				s.noteTouched(d, at)
			}
		}
	}
	return failed
}

func (s *Scheduler) noteTouched(domain string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is, there := s.touched[domain]; !there || at.Before(is) {
		s.touched[domain] = at
	}
}

// due takes from the schedule what may be looked at now.
func (s *Scheduler) due(ctx context.Context, now time.Time) ([]job, error) {
	n := s.allowance(now)
	if s.sight.blind() {
		domain, ok := s.sight.probe(now)
		switch {
		case !ok || n < 1:
			return nil, nil
		case domain != "" && s.known(domain):
			s.budget--
			return []job{{domain, slow}}, nil
		}
		n = 1
	}
	return s.take(ctx, now, n)
}

// allowance is how many looks may begin now.
func (s *Scheduler) allowance(now time.Time) int {
	s.budget = min(s.budget+s.o.Rate*max(0, now.Sub(s.earned).Seconds()), max(1, s.o.Rate))
	s.earned = now
	return min(int(s.budget), claimed*s.o.Parallel)
}

// take claims n domains: some slow ones, urgent ones up to half, usual ones, and urgent ones
// again, so that none of them holds up the others.
func (s *Scheduler) take(ctx context.Context, now time.Time, n int) (jobs []job, err error) {
	hold := lease + claimed*s.o.Timeout
	for _, part := range []struct {
		lane lane
		most int
	}{
		{slow, min(n, max(1, s.o.Parallel/slowShare)-int(s.slow.Load()))},
		{urgent, (n + 1) / 2},
		{usual, n},
		{urgent, n},
	} {
		most := min(part.most, n-len(jobs))
		if most <= 0 {
			continue
		}
		list, err := s.store.claim(ctx, part.lane, most, hold)
		if err != nil {
			return jobs, err
		}
		var strangers []string
		for _, d := range list {
			if s.known(d) {
				jobs = append(jobs, job{d, part.lane})
			} else {
				strangers = append(strangers, d)
			}
		}
		if err := s.store.postpone(ctx, strangers, now.Add(parked)); err != nil {
			return jobs, err
		}
	}
	s.budget -= float64(len(jobs))
	return jobs, nil
}
