package review

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
		o: o, store: o.Store, metrics: newMetrics(o.Codes), wake: make(chan struct{}, 1), jobs: make(chan job), results: make(chan Seen, o.Parallel),
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

// turn does what is due. It returns true if there may be more right now.
func (s *Scheduler) turn(ctx context.Context) (more bool) {
	now := s.o.Now()
	if now.Sub(s.synced) >= enlistEach && s.tell("domains are not put on the schedule", s.sync(ctx)) {
		s.synced = now
	}
	if now.Sub(s.counted) >= enlistEach && s.tell("findings are not counted", s.count(ctx)) {
		s.counted = now
	}
	if now.Sub(s.tidied) >= tidyEach && s.tell("what is old is not given up", s.store.Tidy(ctx, s.known)) {
		s.tidied = now
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
	if s.enlisted == nil {
		all, err := s.store.enlisted(ctx)
		if err != nil {
			return err
		}
		s.enlisted = all
	}
	risks := map[string]Risk{}
	var fresh []string
	for _, d := range s.o.Domains() {
		if risks[d.Name] = d.Risk; !s.enlisted[d.Name] {
			fresh = append(fresh, d.Name)
		}
	}
	s.mu.Lock()
	s.risks = risks
	s.mu.Unlock()
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

// Trouble says what is amiss, for people; nothing for nothing.
func (s *Scheduler) Trouble() []string {
	var lines []string
	if line := s.sight.trouble(); line != "" {
		lines = append(lines, line)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range sortedKeys(s.trouble) {
		lines = append(lines, "reviews: "+s.trouble[what])
	}
	return lines
}

// count counts for the metrics, and says if there is more to do than time for it.
func (s *Scheduler) count(ctx context.Context) error {
	counts, err := s.store.Counts(ctx)
	if err != nil {
		return err
	}
	n, err := s.store.overdue(ctx, s.o.Now().Add(-late))
	if err != nil {
		return err
	}
	s.metrics.set(counts, n)
	s.mu.Lock()
	all := len(s.risks)
	s.mu.Unlock()
	var slow error
	if !s.sight.blind() && float64(n) > lateShare*float64(all) {
		slow = fmt.Errorf("%d of %d are overdue by more than %s: more looks at a time or a second would help", n, all, late)
	}
	s.tell("domains are looked at too late", slow)
	return nil
}

// Describe implements prometheus.Collector.
func (s *Scheduler) Describe(ch chan<- *prometheus.Desc) { s.metrics.Describe(ch) }

// Collect implements prometheus.Collector.
func (s *Scheduler) Collect(ch chan<- prometheus.Metric) {
	blind := 0.0
	if s.sight.blind() {
		blind = 1
	}
	s.metrics.collect(ch, blind)
}
