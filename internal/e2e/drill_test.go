package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// drillCount is how often a drill does what it does: more often in make drill.
func drillCount(t *testing.T, env string, otherwise int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number from 1", env, text)
	}
	return n
}

// TestDrillKill kills the server again and again, by kill -9, at moments of all kinds,
// while policy files are edited without pause and new domains bring new certificates. It
// must always start again, and serve at once each domain that was served before: a whole
// policy that was written for it, and none that is older than what was seen before.
//
// What this cannot show is a power cut: what the killed process wrote is in the page
// cache, synced or not.
func TestDrillKill(t *testing.T) {
	t.Parallel()
	rounds := drillCount(t, "MTASTS_DRILL_ROUNDS", 20)
	s := newSite(t)
	e := newEditor(s)
	for range 5 {
		e.add(2)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); e.run(stop) }()
	halt := sync.OnceFunc(func() { close(stop); <-stopped })
	defer halt()

	moments := []func(p *program){
		func(*program) { time.Sleep(rand.N(time.Second)) },
		func(*program) { changes(s.path("state/ledger/journal")) },
		func(*program) {
			changes(s.path("state/certs/served"), s.path("state/certs/certmagic/certificates/local"))
		},
		func(*program) { changes(s.path("policies"), s.path("policies/*")) },
		func(p *program) {
			p.signal(syscall.SIGHUP)
			time.Sleep(rand.N(3 * time.Millisecond))
		},
	}
	for round := range rounds {
		for range rand.N(3) { // killed while it starts
			p := s.spawn()
			time.Sleep(rand.N(100 * time.Millisecond))
			p.kill()
		}
		p := s.start()
		undamaged(t, p)
		client := p.client(true)
		for _, domain := range e.domains(false) {
			if _, _, err := e.fetch(client, domain); err != nil {
				t.Errorf("round %d, after the start: %v", round, err)
			}
		}
		e.tell(p.cmd.Process)
		senders := e.senders(t, p, 2)
		time.Sleep(rand.N(300 * time.Millisecond))
		moments[round%len(moments)](p)
		e.tell(nil)
		senders.expectEnd()
		p.kill()
		senders.wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	halt()
	p := s.start()
	undamaged(t, p)
	e.newest(t, p)
	eventually(t, "nothing is amiss", func() error {
		text, err := p.readyz()
		if err == nil && strings.Contains(text, "amiss") {
			err = fmt.Errorf("%q", text)
		}
		return err
	})
	p.stop()
	changed := 0
	for _, n := range e.seen {
		changed += n
	}
	t.Logf("%d rounds, %d edits, %d domains, up to edit %d each", rounds, e.edits, len(e.seen), changed/len(e.seen))
}

// tell has the editor send SIGHUP to a process, or to none.
func (e *editor) tell(process *os.Process) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.process = process
}

// undamaged wants the server to find the ledger in order: what kill -9 can leave behind is
// no damage.
func undamaged(t *testing.T, p *program) {
	t.Helper()
	for _, line := range p.lines() {
		if strings.Contains(line, "damaged") || strings.Contains(line, "cannot be read") {
			t.Errorf("in the log: %s", line)
		}
	}
}

// senders fetch policies without pause.
type senders struct {
	ending  atomic.Bool // from now on failures are no wonder
	stop    chan struct{}
	fetched atomic.Int64
	wg      sync.WaitGroup
}

// senders begins n senders that keep their connections, and n that open a new one each
// time. A failure of theirs fails the test.
func (e *editor) senders(t *testing.T, p *program, n int) *senders {
	x := &senders{stop: make(chan struct{})}
	for i := range 2 * n {
		client := p.client(i%2 == 0)
		x.wg.Go(func() { x.run(t, e, client) })
	}
	return x
}

func (x *senders) run(t *testing.T, e *editor, client *http.Client) {
	for {
		for _, domain := range e.domains(true) {
			select {
			case <-x.stop:
				return
			default:
			}
			_, known, err := e.fetch(client, domain)
			switch {
			case x.ending.Load():
				return
			case err != nil && known:
				t.Error(err)
				return
			case err == nil:
				x.fetched.Add(1)
			}
		}
	}
}

// expectEnd says that the server is about to end.
func (x *senders) expectEnd() { x.ending.Store(true) }

func (x *senders) wait() {
	close(x.stop)
	x.wg.Wait()
}

// TestReloadsUnderLoad edits policies again and again, each edit being taken in before
// the next one, while senders fetch without pause: none of them may fail.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	reloads := drillCount(t, "MTASTS_DRILL_RELOADS", 50)
	s := newSite(t)
	e := newEditor(s)
	for range 4 {
		e.add(3)
	}
	for _, f := range e.files {
		s.replace(f.name, e.next(f))
	}
	p := s.start()
	e.newest(t, p) // from here on each of them is known
	load := e.senders(t, p, 3)
	client := p.client(true)
	for i := range reloads {
		f := e.files[i%len(e.files)]
		s.replace(f.name, e.next(f))
		if i%10 != 0 { // else the server finds out by itself
			p.signal(syscall.SIGHUP)
		}
		for _, domain := range f.domains {
			eventually(t, fmt.Sprintf("edit %d of %s is served", f.written, domain), func() error {
				n, _, err := e.fetch(client, domain)
				if err == nil && n != f.written {
					err = fmt.Errorf("edit %d", n)
				}
				return err
			})
		}
	}
	load.wait()
	p.stop()
	t.Logf("%d reloads, %d fetches", reloads, load.fetched.Load())
	if n := load.fetched.Load(); n < int64(reloads) {
		t.Errorf("%d fetches during %d reloads are no load", n, reloads)
	}
	if left, err := filepath.Glob(s.path("state/ledger/*")); err != nil || len(left) != 1 {
		t.Errorf("in the ledger's directory: %q, %v", left, err)
	}
}
