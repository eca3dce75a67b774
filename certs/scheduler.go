package certs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// engine gets certificates, one host at a time. Its methods are called from many
// goroutines, but order never twice at a time for one host. They return soon
// after their context is done.
type engine interface {
	// stored returns what storage has for host. The error is fs.ErrNotExist
	// or errUnusable where there is nothing of use; any other one means that
	// storage could not be read.
	stored(ctx context.Context, host string) (*certificate, error)

	// order asks for a certificate, once, and stores it. cur is the one at
	// hand, nil for none; account is the number of the one to use. A
	// certificate beside an error is good, but could not be stored.
	order(ctx context.Context, host string, cur *certificate, account int) (*certificate, error)

	// window asks when cur should be renewed. An error that wraps
	// errors.ErrUnsupported means that nobody will ever know.
	window(ctx context.Context, cur *certificate) (window, error)
}

const (
	// orderLimit ends an attempt. A good one takes seconds; 16 of them wait for
	// each other up to 16 s in certmagic's throttle; a CA gives up a validation
	// after a minute or so, and there may be two challenges and two CAs.
	orderLimit = 4 * time.Minute

	// lookLimit ends a read from the local storage, askLimit a question.
	lookLimit = time.Minute
	askLimit  = time.Minute

	// checkLimit ends a look at DNS, and at the CA's directory.
	checkLimit = 10 * time.Second

	// maxNap is how long the scheduler sleeps at most: so long a clock that was
	// set goes unnoticed.
	maxNap = time.Minute

	// maxDrift is how far wall clock and process clock may part between two
	// looks before the clock counts as having been set. NTP slews far less.
	maxDrift = 2 * time.Minute
)

// scheduler decides which host is worked for, and when: what is due, in its
// lane's turn, on a bounded number of slots. It knows nothing of ACME.
type scheduler struct {
	engine engine
	slots  int
	ari    bool
	log    *slog.Logger
	now    func() time.Time

	// preflight says whether an order for host could succeed; nil: nobody is asked.
	preflight func(ctx context.Context, host string) verdict

	storable func() bool // whether what is ordered could be stored; waits for nothing

	mu       sync.Mutex
	tasks    map[string]*task
	waiting  *queue // by due time
	lanes    [laneCount]*queue
	busy     [laneCount]int // running jobs
	running  int
	ending   map[string]bool // hosts that left while a job was running which has not returned yet
	seq      uint64
	accounts []account // never fewer than one
	looks    pace      // of preflight
	doubt    doubt
	changed  bool // what is to be remembered changed since it was last asked for
	former   map[string]attempt

	wake chan struct{}
	wg   sync.WaitGroup

	obtained, renewed, failed, asked, askFailed atomic.Int64
	preflights                                  [outcomeCount]atomic.Int64
}

func newScheduler(e engine, slots int, ari bool, log *slog.Logger, now func() time.Time) *scheduler {
	s := &scheduler{
		engine: e, slots: slots, ari: ari, log: log,
		now:      func() time.Time { return now().Round(0) }, // wall clock only: certificates know no other
		tasks:    map[string]*task{},
		waiting:  &queue{less: byDue},
		ending:   map[string]bool{},
		storable: func() bool { return true },
		accounts: make([]account, 1),
		looks:    newPace(looksPerSecond, time.Second),
		wake:     make(chan struct{}, 1),
	}
	for l := range s.lanes {
		s.lanes[l] = &queue{less: lane(l).less()}
	}
	return s
}

// set replaces the set of hosts by those of t. It does not wait for anything.
func (s *scheduler) set(t table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for host, old := range s.tasks {
		if t[host] != old.slot {
			s.drop(old)
		}
	}
	now := s.now()
	for host, slot := range t {
		if s.tasks[host] != nil {
			continue
		}
		task := &task{slot: slot, chance: rand.Float64()}
		if f, ok := s.former[host]; ok {
			task.failures, task.lastAttempt, task.lastError = f.Failures, momentOf(f.Last), f.Error
			if s.preflight != nil {
				task.held, task.finding, task.probeAt = f.Held, f.Finding, momentOf(f.Probe)
			}
		}
		s.tasks[host] = task
		s.plan(task, now)
	}
	s.poke()
}

// drop forgets a host: it is not renewed any more, and a running job of it ends.
func (s *scheduler) drop(t *task) {
	delete(s.tasks, t.slot.host)
	t.gone = true
	t.leave()
	if t.cancel != nil {
		t.cancel()
		s.ending[t.slot.host] = true
	}
	if t.failures > 0 || t.held > 0 {
		s.changed = true
	}
}

// poke makes run look again.
func (s *scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// run works until ctx is done, and returns once every job has ended.
func (s *scheduler) run(ctx context.Context) {
	defer s.wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	wall, began := s.now(), time.Now()
	for {
		s.mu.Lock()
		now := s.now()
		if drift := now.Sub(wall) - time.Since(began); drift.Abs() > maxDrift {
			s.log.Warn("the clock was set: planning anew", "by", drift.Round(time.Second).String())
			s.doubt.set(drift, now)
			s.replan(now)
		}
		wall, began = now, time.Now()
		s.promote(now)
		nap := min(maxNap, s.dispatch(ctx, now))
		if t := s.waiting.first(); t != nil {
			nap = min(nap, max(t.due.time().Sub(now), 0))
		}
		s.mu.Unlock()

		timer.Reset(nap)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// promote moves what is due from the waiting queue to its lane.
func (s *scheduler) promote(now time.Time) {
	for t := s.waiting.first(); t != nil && !t.due.time().After(now); t = s.waiting.first() {
		s.waiting.take()
		s.lanes[t.lane()].add(t)
	}
}

// dispatch starts jobs while there are slots, and lanes with a share left. It returns
// when to come back for orders that have to wait for the CA's budget.
func (s *scheduler) dispatch(ctx context.Context, now time.Time) (again time.Duration) {
	again = maxNap
	for l := lane(0); l < laneCount && s.running < s.slots; {
		t := s.lanes[l].first()
		if t == nil || s.busy[l] >= l.share(s.slots) {
			l++
			continue
		}
		if wait := s.afford(t, now); wait > 0 {
			if t.probe { // nothing is left over for it: it is looked at on
				s.hold(t, now)
				s.plan(t, now)
				continue
			}
			again = min(again, wait)
			l++
			continue
		}
		s.lanes[l].take()
		s.running++
		s.busy[l]++
		jobCtx, cancel := context.WithTimeout(ctx, t.job.limit())
		t.cancel = cancel
		s.wg.Go(func() {
			defer cancel()
			s.do(jobCtx, t)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.running--
			s.busy[l]--
			s.ended(ctx, t)
			s.poke()
		})
	}
	return again
}

// afford returns how long t's job has to wait until a budget allows it, storage is well
// and the clock believed; 0 is for now, and then it is counted. A new host goes to the
// first account that has orders left. A renewal waits for the one that it is of:
// elsewhere it would count as new.
func (s *scheduler) afford(t *task, now time.Time) time.Duration {
	switch t.job {
	case jobCheck:
		wait := s.looks.wait(now, 0)
		if wait == 0 {
			s.looks.take()
		}
		return wait
	case jobOrder:
	default:
		return 0
	}
	if !s.storable() {
		return holdOrders
	}
	if wait := s.doubt.wait(now, s.ordering()); wait > 0 {
		return wait
	}
	t.from = s.candidates(t)
	try := len(t.from)
	if s.renews(t, t.from[0]) {
		try = 1
	}
	shortest := maxNap
	for i, a := range t.from[:try] {
		wait, counts := s.price(t, a, now)
		if wait > 0 {
			shortest = min(shortest, wait)
			continue
		}
		if t.paid = counts; counts {
			s.accounts[a].pace.take()
		}
		t.from[0], t.from[i] = t.from[i], t.from[0]
		return 0
	}
	return shortest
}

// candidates are the accounts that t's order may use, the one that its certificate is
// of before the others. Where CAA refuses all of them, it has been decided that they
// are asked all the same.
func (s *scheduler) candidates(t *task) []int {
	var all []int
	for a := range s.accounts {
		if !slices.Contains(t.refused, false) || !t.refused[a] {
			all = append(all, a)
		}
	}
	if i := slices.IndexFunc(all, func(a int) bool { return s.renews(t, a) }); i > 0 {
		first := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	return all
}

// renews reports whether an order of account renews what it issued.
func (s *scheduler) renews(t *task, account int) bool {
	c := t.slot.cert.Load()
	return c != nil && !c.foreign && c.issuer == s.accounts[account].name
}

// price returns how long t's order has to wait for the budget of account, and whether
// it counts there. The CA does not count what renews one of its certificates at the
// time that it proposed ("replaces", RFC 9773 §5).
func (s *scheduler) price(t *task, account int, now time.Time) (wait time.Duration, counts bool) {
	if s.renews(t, account) && t.window.end != 0 {
		return 0, false
	}
	reserve := paceReserve
	if t.probe {
		reserve = probeReserve
	} else if c := t.slot.cert.Load(); c != nil && !c.foreign {
		reserve = 0
	}
	return s.accounts[account].pace.wait(now, reserve), true
}

// claim counts an order of t at account, which is asked since those before it failed,
// unless there is no budget for it.
func (s *scheduler) claim(t *task, account int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, counts := s.price(t, account, s.now())
	if wait > 0 {
		return false
	}
	if counts {
		s.accounts[account].pace.take()
	}
	return true
}

// ordering is how many orders are under way.
func (s *scheduler) ordering() int { return s.busy[laneRenew] + s.busy[laneFresh] + s.busy[laneAgain] }

// queue returns how many orders wait, and when the last of them will have begun.
func (s *scheduler) queue(now time.Time) (waiting int, eta time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []lane{laneRenew, laneFresh, laneAgain} {
		waiting += s.lanes[l].Len()
	}
	for _, t := range s.lanes[laneCheck].tasks {
		if t.held == 0 { // likely to pass
			waiting++
		}
	}
	return waiting, lastBegins(s.accounts, now, waiting)
}

// budget returns what is left at each account.
func (s *scheduler) budget() []account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accounts)
}

// ended notes that t's job has returned, and plans the next one: of t, or of the
// task of a host that left and is back already.
func (s *scheduler) ended(ctx context.Context, t *task) {
	t.cancel = nil
	if t.gone {
		delete(s.ending, t.slot.host)
		t = s.tasks[t.slot.host]
	}
	if t != nil && ctx.Err() == nil {
		s.plan(t, s.now())
	}
}

func (j job) limit() time.Duration {
	switch j {
	case jobLook:
		return lookLimit
	case jobCheck:
		return checkLimit
	case jobAsk:
		return askLimit
	}
	return orderLimit
}

// lane is where t waits now that it is due.
func (t *task) lane() lane {
	switch {
	case t.job == jobLook:
		return laneLook
	case t.job == jobCheck:
		return laneCheck
	case t.job == jobAsk:
		return laneAsk
	case t.probe:
		return laneProbe
	case t.failures > 0:
		return laneAgain
	case t.cert:
		return laneRenew
	}
	return laneFresh
}

// plan decides what is next for t, and queues it, unless it has to wait until a
// job for the same host has ended.
func (s *scheduler) plan(t *task, now time.Time) {
	t.leave()
	if s.ending[t.slot.host] {
		return
	}
	switch {
	case !t.looked:
		t.job, t.due = jobLook, t.retryAt
	case t.failures > 0 || t.held > 0 || !t.cert:
		t.job, t.due = jobOrder, t.retryAt
	case s.ari && !t.noWindow && t.askAt < t.renewAt:
		t.job, t.due = jobAsk, t.askAt
	default:
		t.job, t.due = jobOrder, t.renewAt
	}
	passed := t.passed(now)
	if t.job == jobOrder && s.preflight != nil && !passed {
		t.job = jobCheck
	}
	if !passed { // who has keeps the place
		s.seq++
		t.seq = s.seq
	}
	t.rank = t.due
	if c := t.slot.cert.Load(); t.lane() == laneRenew && c != nil {
		t.rank = momentOf(c.notAfter())
	}
	if t.due.time().After(now) {
		s.waiting.add(t)
	} else {
		s.lanes[t.lane()].add(t)
	}
}

// replan plans all who wait anew, after the clock was set. What was to be done
// some time from then must not be put off by a year.
func (s *scheduler) replan(now time.Time) {
	for _, t := range s.tasks {
		if t.cancel != nil {
			continue
		}
		if latest := momentOf(now.Add(maxRetry)); t.retryAt > latest {
			t.retryAt = latest
		}
		if latest := momentOf(now.Add(maxAsk)); t.askAt > latest {
			t.askAt = latest
		}
		if latest := momentOf(now.Add(maxProbe)); t.probeAt > latest {
			t.probeAt = latest
		}
		if t.cert && t.renewAt.time().After(now) && t.failures > 0 {
			t.failures, t.lastError, s.changed = 0, "", true // it was due by the wrong clock only
		}
		s.plan(t, now)
	}
}

// errPanic stands for an engine that panicked.
var errPanic = errors.New("internal error")
