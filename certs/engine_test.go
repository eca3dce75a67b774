package certs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeEngine is a CA and a disk that do what the test says. It notes when orders
// began, and fails the test where the scheduler breaks engine's contract.
type fakeEngine struct {
	t *testing.T

	// nil: nothing is stored; an order takes five seconds; the CA knows no
	// renewal information.
	onStored func(ctx context.Context, host string) (*certificate, error)
	onOrder  func(ctx context.Context, host string, cur *certificate) (*certificate, error)
	onWindow func(ctx context.Context, cur *certificate) (window, error)

	// onOrderFrom goes before onOrder where the account matters.
	onOrderFrom func(ctx context.Context, host string, cur *certificate, account int) (*certificate, error)

	mu     sync.Mutex
	orders map[string][]time.Time // when they began
	busy   map[string]bool
	tally
}

// tally is what a fakeEngine was asked for.
type tally struct {
	sequence []string // of the orders, as they began
	asks     int
	running  int
	most     int // that were running at a time
}

func (e *fakeEngine) begin(host string) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running++
	e.most = max(e.most, e.running)
	if e.busy[host] {
		e.t.Errorf("two jobs at a time for %s", host)
	}
	if host != "" {
		e.busy[host] = true
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.running--
		delete(e.busy, host)
	}
}

func (e *fakeEngine) stored(ctx context.Context, host string) (*certificate, error) {
	defer e.begin(host)()
	e.mu.Lock()
	onStored := e.onStored
	e.mu.Unlock()
	if onStored == nil {
		return nil, fs.ErrNotExist
	}
	return onStored(ctx, host)
}

func (e *fakeEngine) order(ctx context.Context, host string, cur *certificate, account int) (*certificate, error) {
	defer e.begin(host)()
	e.mu.Lock()
	e.orders[host] = append(e.orders[host], time.Now())
	e.sequence = append(e.sequence, host)
	onOrder, onOrderFrom := e.onOrder, e.onOrderFrom
	e.mu.Unlock()
	if onOrderFrom != nil {
		return onOrderFrom(ctx, host, cur, account)
	}
	if onOrder == nil {
		return issue(ctx, host, cur)
	}
	return onOrder(ctx, host, cur)
}

// set has orders done in another way from now on.
func (e *fakeEngine) set(order func(context.Context, string, *certificate) (*certificate, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onOrder = order
}

func (e *fakeEngine) window(ctx context.Context, cur *certificate) (window, error) {
	defer e.begin("")()
	e.mu.Lock()
	e.asks++
	e.mu.Unlock()
	if e.onWindow == nil {
		return window{}, errors.ErrUnsupported
	}
	return e.onWindow(ctx, cur)
}

// began tells when the orders of host began.
func (e *fakeEngine) began(host string) []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.orders[host])
}

func (e *fakeEngine) count() tally {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.tally
	c.sequence = slices.Clone(c.sequence)
	return c
}

// issue is an order that succeeds after five seconds.
func issue(ctx context.Context, _ string, _ *certificate) (*certificate, error) {
	if err := pause(ctx, 5*time.Second); err != nil {
		return nil, err
	}
	return valid(90 * day), nil
}

// hang is an order that is answered by nobody.
func hang(ctx context.Context, _ string, _ *certificate) (*certificate, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var errRefused = errors.New("connection refused")

// refuse is an order that fails at once.
func refuse(context.Context, string, *certificate) (*certificate, error) { return nil, errRefused }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fake issues certificates that nobody could use.
var fake = &authority{}

// valid is a certificate that is issued now.
func valid(lifetime time.Duration) *certificate { return aged(lifetime, 0) }

// aged is a certificate that was issued some time ago.
func aged(lifetime, age time.Duration) *certificate {
	from := time.Now().Add(-age)
	return &certificate{packed: fake.pack([]byte(rand.Text())), size: len(rand.Text()), authority: fake, from: momentOf(from), until: momentOf(from.Add(lifetime)), issuer: "fake"}
}

// made reports whether t was made of c.
func made(t *tls.Certificate, c *certificate) bool {
	if t == nil || c == nil {
		return false
	}
	der, err := c.der()
	return err == nil && bytes.Equal(t.Certificate[0], der)
}

// world is a scheduler at work on a set of hosts. It lives in a synctest bubble, so
// that months pass in no time.
type world struct {
	*scheduler
	e     *fakeEngine
	hosts table

	mu     *sync.Mutex
	logged *bytes.Buffer
	wrong  *time.Duration // by how much the clock is
}

func newWorld(t *testing.T, slots int, ari bool) *world {
	e := &fakeEngine{t: t, orders: map[string][]time.Time{}, busy: map[string]bool{}}
	w := &world{e: e, hosts: table{}, mu: new(sync.Mutex), logged: new(bytes.Buffer), wrong: new(time.Duration)}
	w.scheduler = newScheduler(e, slots, ari, slog.New(slog.NewTextHandler(w, nil)), w.time)
	w.accounts[0].name = "fake"
	return w
}

// Write is for the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(p)
}

// said is what was logged.
func (w *world) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

// time is what the clock on the wall shows.
func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(*w.wrong)
}

func (w *world) setClock(wrong time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*w.wrong = wrong
}

// start runs the scheduler until stop, which waits for its end. The bubble checks
// that nothing is left running.
func (w *world) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx) }()
	return func() { cancel(); <-ended }
}

// add and remove change the set of hosts as Manage does.
func (w *world) add(hosts ...string) {
	t := maps.Clone(w.hosts)
	for _, host := range hosts {
		t[host] = &slot{host: host}
	}
	w.hosts = t
	w.set(t)
}

func (w *world) remove(hosts ...string) {
	t := maps.Clone(w.hosts)
	for _, host := range hosts {
		delete(t, host)
	}
	w.hosts = t
	w.set(t)
}

func (w *world) cert(host string) *certificate { return w.hosts[host].cert.Load() }

// task is a copy of what the scheduler knows of host.
func (w *world) task(host string) task {
	w.scheduler.mu.Lock()
	defer w.scheduler.mu.Unlock()
	return *w.tasks[host]
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
