package certs

import (
	"cmp"
	"container/heap"
	"runtime"
	"time"
)

// job is what the scheduler has to do for a host.
type job uint8

const (
	jobLook  job = iota // read what storage has
	jobCheck            // ask DNS whether an order could succeed
	jobOrder            // ask the CA for a certificate
	jobAsk              // ask the CA when the certificate should be renewed
)

// lane is a queue of hosts for which something is due now. Lanes are served in
// the order of their numbers, each up to its share of the slots, so that no kind
// of trouble takes all slots from those who have none.
type lane int

const (
	laneLook  lane = iota // what is on the disk is the first thing to know
	laneCheck             // preflight, which decides who is in the lanes below
	laneRenew             // renewals, the first to expire first
	laneAsk               // renewal information
	laneFresh             // hosts without a certificate, the last to come first
	laneAgain             // renewals and new hosts that failed before
	laneProbe             // those for whom an order seems to be in vain
	laneCount
)

// share is how many of slots a lane may hold at a time.
//
// A failing host often holds its slot for long (the CA waits for its connection
// to time out), hence only half for all who failed before: whoever comes new
// finds a slot. Renewals and new hosts leave an eighth each, so that a queue of
// 100,000 of them, which lasts for weeks under a CA's limits, does not shut out
// the others. Reading and parsing is bound by processors, asking by politeness, and
// preflight, which takes milliseconds, must not be felt where DNS takes seconds.
func (l lane) share(slots int) int {
	switch l {
	case laneLook:
		return max(1, min(slots/2, runtime.GOMAXPROCS(0)))
	case laneCheck, laneAsk:
		return max(1, slots/4)
	case laneProbe:
		return max(1, slots/8)
	case laneAgain:
		return max(1, slots/2)
	}
	return max(1, slots-max(1, slots/8))
}

// less is the order in which a lane is served.
func (l lane) less() func(a, b *task) bool {
	switch l {
	case laneCheck:
		return byPromise
	case laneFresh:
		// Nobody knows yet which of them hang until a timeout: whoever has
		// just been added does not wait for thousands of them.
		return func(a, b *task) bool { return a.seq > b.seq }
	case laneAgain:
		// Nor does who failed once wait for those who have failed for weeks.
		return byPatience
	}
	return byRank
}

// moment is a time in eight bytes: nanoseconds since 1970, 0 for none.
type moment int64

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m)).UTC()
}

// period is from when until when.
type period struct{ start, end moment }

// task is what the scheduler knows of a host. The scheduler's mutex guards it.
type task struct {
	slot *slot

	// What is next: job (below) at due, or, once it is due, waiting in lane by rank.
	due   moment
	rank  moment
	seq   uint64 // those of equal rank in the order in which they came
	queue *queue // where it waits; nil: nowhere, as its job is running
	index int    // its place there

	renewAt moment  // when the certificate is to be renewed
	askAt   moment  // when to ask for renewal information
	retryAt moment  // when to try again after a failure
	window  period  // that the CA proposed; zero: none
	chance  float64 // drawn once for each certificate

	// What preflight said.
	checked moment // when it last let an order pass, until that is made
	held    int    // looks in a row that found an order to be in vain
	finding string // why; "" where nothing speaks against one
	unsure  int    // looks in a row, after that, that DNS did not answer
	refused []bool // by CAA, for each account; nil: none
	probeAt moment // when an order is let through all the same

	// from are the accounts that the order under way may use, in their order.
	from []int

	failures    int // orders that failed one after the other
	lookFailed  int
	askFailed   int
	lastAttempt moment // when the last order ended
	lastError   string

	cancel func() // ends the running job; nil: none is running

	// Together, so that they take eight bytes of 100,000 tasks.
	job      job
	looked   bool // storage was read
	cert     bool // there is a certificate, even an expired one
	noWindow bool // the CA has no renewal information for it
	probe    bool // an order is let through now although it seems in vain
	paid     bool // the first of from is, or need not be
	gone     bool // the host left while its job was running
}

// queue is a heap of tasks.
type queue struct {
	tasks []*task
	less  func(a, b *task) bool
}

func byDue(a, b *task) bool { return a.due < b.due }

func byRank(a, b *task) bool {
	if c := cmp.Compare(a.rank, b.rank); c != 0 {
		return c < 0
	}
	return a.seq < b.seq
}

// byPatience takes those who failed less often first; all who have reached the
// longest wait are alike.
func byPatience(a, b *task) bool {
	most := len(retryWaits)
	if c := cmp.Compare(min(a.failures, most), min(b.failures, most)); c != 0 {
		return c < 0
	}
	return byRank(a, b)
}

// byPromise takes renewals first, then those who were never held back, the last to
// come first, then those who were the fewest times: whoever has just published a
// record does not wait for thousands who never will.
func byPromise(a, b *task) bool {
	class := func(t *task) int {
		switch {
		case t.held > 0:
			return 1 + min(t.held, len(lookWaits))
		case t.cert:
			return 0
		}
		return 1
	}
	if c := cmp.Compare(class(a), class(b)); c != 0 {
		return c < 0
	}
	if class(a) == 1 {
		return a.seq > b.seq
	}
	return byRank(a, b)
}

func (q *queue) Len() int           { return len(q.tasks) }
func (q *queue) Less(i, j int) bool { return q.less(q.tasks[i], q.tasks[j]) }

func (q *queue) Swap(i, j int) {
	q.tasks[i], q.tasks[j] = q.tasks[j], q.tasks[i]
	q.tasks[i].index, q.tasks[j].index = i, j
}

func (q *queue) Push(x any) {
	t := x.(*task)
	t.index, t.queue = len(q.tasks), q
	q.tasks = append(q.tasks, t)
}

func (q *queue) Pop() any {
	last := len(q.tasks) - 1
	t := q.tasks[last]
	q.tasks[last], q.tasks = nil, q.tasks[:last]
	t.queue = nil
	return t
}

func (q *queue) add(t *task) { heap.Push(q, t) }

// first returns the task whose turn it is, nil where there is none.
func (q *queue) first() *task {
	if len(q.tasks) == 0 {
		return nil
	}
	return q.tasks[0]
}

func (q *queue) take() *task { return heap.Pop(q).(*task) }

// passed reports whether preflight has just let t's order pass.
func (t *task) passed(now time.Time) bool {
	age := now.Sub(t.checked.time())
	return t.checked != 0 && age >= 0 && age < freshLook
}

// leave takes t out of the queue that it waits in.
func (t *task) leave() {
	if t.queue != nil {
		heap.Remove(t.queue, t.index)
	}
}
