package review

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turn is how long to wait at least, and rest at most, until it is looked again what is
	// due: other processes may have changed it.
	turn = time.Second
	rest = time.Minute

	// enlistEach is how often it is looked whether domains were added, and what is counted is
	// counted; tidyEach how often what is old is given up.
	enlistEach = time.Minute
	tidyEach   = time.Hour

	// claimed is how many domains at most, for each look at a time, are taken from the
	// schedule at once; lease is what they are taken for, beside the time that they may take.
	claimed = 4
	lease   = 5 * time.Minute

	// slowShare of the looks at a time are at most at domains where nobody answered the last
	// time: thousands of a dead provider do not hold up all others.
	slowShare = 4

	// parked is when another process may look at a domain that is not configured here.
	parked = time.Hour

	// late is what is overdue; lateShare of all domains is worth a word.
	late      = time.Hour
	lateShare = 0.1

	// groupMax is how many looks are stored at a time at most: where they come fast a commit
	// each would be what takes longest.
	groupMax = 1000

	// storeAgain is how long to wait where looks cannot be stored, and storeAtEnd how long
	// they may take to be stored at the end.
	storeAgain = 5 * time.Second
	storeAtEnd = 5 * time.Second
)

// Domain is a domain to look at.
type Domain struct {
	Name string
	Risk Risk
}

// Options of a Scheduler. Store, Look, Domains and Now are required.
type Options struct {
	Store   *Store
	Look    Looker          // returns when its context ends
	Domains func() []Domain // that are configured; it is asked each minute
	Now     func() time.Time
	Log     *slog.Logger // nil discards

	Changed  func([]Changes) // is told what changed, once it is stored; nil tells nobody
	Codes    []string        // those that metrics may name; others are "other"
	Parallel int             // looks at a time; 16 if 0
	Rate     float64         // looks a second at most; 20 if 0
	Timeout  time.Duration   // of a look; a minute if 0
	Pace     Pace            // DefaultPace if zero
}

// Scheduler looks at domains when they are due. Several processes on one database share
// the work.
type Scheduler struct {
	o       Options
	store   *Store
	metrics *metrics
	sight   sight

	wake    chan struct{}
	jobs    chan job
	results chan Seen
	slow    atomic.Int64 // looks in the slow lane that are under way

	mu      sync.Mutex
	risks   map[string]Risk
	touched map[string]time.Time // when to look
	trouble map[string]string

	enlisted map[string]bool // what follows belongs to Run
	synced   time.Time
	tidied   time.Time
	counted  time.Time
	budget   float64
	earned   time.Time
}

// job is a look to take.
type job struct {
	domain string
	lane   lane
}

// New returns a scheduler. Run has it work.
func New(o Options) (*Scheduler, error) {
	switch {
	case o.Store == nil || o.Look == nil || o.Domains == nil || o.Now == nil:
		return nil, errors.New("review: an option is missing")
	case o.Parallel < 0 || o.Rate < 0 || o.Timeout < 0:
		return nil, errors.New("review: looks at a time, a second and their time cannot be negative")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Parallel == 0 {
		o.Parallel = 16
	}
	if o.Rate == 0 {
		o.Rate = 20
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Pace == (Pace{}) {
		o.Pace = DefaultPace()
	}
	return &Scheduler{
		o: o, store: o.Store, metrics: newMetrics(o.Codes), wake: make(chan struct{}, 1), jobs: make(chan job), results: make(chan Seen, groupMax),
		risks: map[string]Risk{}, touched: map[string]time.Time{}, trouble: map[string]string{},
	}, nil
}

// Touch has a domain be looked at now: somebody asks.
func (s *Scheduler) Touch(domain string) { s.touch(domain, s.o.Now()) }

// Expect has a domain be looked at in some minutes: what senders see of it has changed just
// now, and what resolvers keep has not.
func (s *Scheduler) Expect(domain string) { s.touch(domain, s.o.Now().Add(s.o.Pace.Confirm)) }

func (s *Scheduler) touch(domain string, at time.Time) {
	s.noteTouched(domain, at)
	s.Wake()
}

// Wake has the schedule be read now, and not when the next look was due when it was last
// read: somebody else may have changed it.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // it is woken already
	}
}

// Run looks at domains until ctx ends. What was seen until then is stored.
func (s *Scheduler) Run(ctx context.Context) error {
	var looks, store sync.WaitGroup
	for range s.o.Parallel {
		looks.Go(func() {
			for j := range s.jobs {
				s.look(ctx, j)
			}
		})
	}
	store.Go(func() { s.record(ctx) })
	for ctx.Err() == nil {
		if !s.turn(ctx) {
			s.rest(ctx)
		}
	}
	close(s.jobs)
	looks.Wait()
	close(s.results)
	store.Wait()
	return nil
}

// rest waits until something is due, or somebody touched a domain.
func (s *Scheduler) rest(ctx context.Context) {
	wait := turn
	if s.budget >= 1 && !s.sight.blind() {
		// Where that cannot be seen it is not waited for long.
		if at, err := s.store.nextDue(ctx); err == nil {
			wait = min(max(turn, at.Sub(s.o.Now())), rest)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	case <-s.wake:
	}
}
