package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReportsKill kills the server again and again, by kill -9, while reports come in. What
// it said to have taken is stored, once, and summed up once, however often it came.
func TestReportsKill(t *testing.T) {
	t.Parallel()
	rounds := drillCount(t, "MTASTS_DRILL_ROUNDS", 5)
	s, e := newReportsSite(t, 40, "")
	posters := &posters{e: e, sent: map[string]*sentReport{}}
	moments := []func(){
		func() { time.Sleep(rand.N(500 * time.Millisecond)) },
		func() { changes(s.path("state/reports/spool/*")) },
		func() { changes(s.path("state/reports/reports.db*")) },
	}
	for round := range rounds {
		for range rand.N(2) { // killed while it starts, with what waits
			p := s.spawn()
			time.Sleep(rand.N(150 * time.Millisecond))
			p.kill()
		}
		p := s.start()
		e.newest(t, p)
		senders := e.senders(t, p, 1)
		ctx, cancel := context.WithCancel(t.Context())
		posting := posters.run(ctx, p, 6)
		posters.awaitTaken(t, 20*(round+1))
		moments[round%len(moments)]()
		senders.expectEnd()
		p.kill()
		cancel()
		posting.Wait()
		senders.wait()
		for _, line := range p.lines() {
			if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, "report") {
				t.Errorf("round %d: in the log: %s", round, line)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	p := s.start()
	e.newest(t, p)
	p.saysNothing()
	s.awaitEmptySpool()
	p.stop()
	posters.check(t, s)
}

// sentReport is what is known of a report that was sent.
type sentReport struct {
	domain string
	body   []byte
	taken  bool // the server said so
}

// posters post reports, and some of them again.
type posters struct {
	e *editor

	mu    sync.Mutex
	sent  map[string]*sentReport // by report id
	order []string
	posts int
}

// run has n of them post without pause until ctx is done.
func (x *posters) run(ctx context.Context, p *program, n int) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range n {
		client := p.client(i%2 == 0)
		wg.Go(func() {
			for ctx.Err() == nil {
				id := x.next()
				x.post(ctx, client, id)
			}
		})
	}
	return &wg
}

// next is a new report, or one that was sent before: recently, as its sender got no
// answer, or long ago.
func (x *posters) next() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.posts++
	if n := len(x.order); n > 20 {
		switch rand.N(6) {
		case 0:
			return x.order[n-1-rand.N(20)]
		case 1:
			return x.order[rand.N(n)]
		}
	}
	id := fmt.Sprintf("r%d", len(x.order))
	domain := x.e.domain(len(x.order))
	x.sent[id] = &sentReport{domain: domain, body: packed(reportOn(domain, id, 1+len(x.order)%7, len(x.order)%3))}
	x.order = append(x.order, id)
	return id
}

func (x *posters) post(ctx context.Context, c *http.Client, id string) {
	x.mu.Lock()
	body := x.sent[id].body
	x.mu.Unlock()
	status, err := post(ctx, c, "/", body)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent[id].taken = x.sent[id].taken || err == nil && status/100 == 2
}

// awaitTaken waits until n reports were taken in all: a slow machine has as many as another.
func (x *posters) awaitTaken(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d reports are taken", n), func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		taken := 0
		for _, r := range x.sent {
			if r.taken {
				taken++
			}
		}
		if taken < n {
			return fmt.Errorf("%d are", taken)
		}
		return nil
	})
}

// check compares what is stored with what was sent.
func (x *posters) check(t *testing.T, s *site) {
	t.Helper()
	stored := s.entries()
	var lost []string
	taken := 0
	var want sums
	for _, id := range x.order {
		r := x.sent[id]
		e, ok := stored[id]
		if r.taken {
			taken++
		}
		if r.taken && !ok {
			lost = append(lost, id)
		}
		if ok {
			want = sums{want.reports + 1, want.successful + e.Successful, want.failed + e.Failed}
		}
		if ok && e.ID.Domain != r.domain {
			t.Errorf("%s, on %s, is stored as one on %s", id, r.domain, e.ID.Domain)
		}
	}
	for id := range stored {
		if x.sent[id] == nil {
			t.Errorf("%q was never sent", id)
		}
	}
	if len(lost) > 0 {
		t.Errorf("%d of %d reports that were taken are lost: %v", len(lost), taken, lost[:min(20, len(lost))])
	}
	if got := s.sums(slices.Clone(x.e.files[0].domains)...); got != want {
		t.Errorf("the sums are %+v, want %+v", got, want)
	}
	t.Logf("%d posts of %d reports; %d were taken, %d are stored", x.posts, len(x.order), taken, len(stored))
}
