package certs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// openLimit bounds New: the local CA is made under a lock that a killed
	// process may have left behind, and which then is waited for some seconds.
	openLimit = 30 * time.Second

	// saveEvery is how often failed attempts are written down, if there are
	// new ones: a kill -9 forgets those of half a minute.
	saveEvery = 30 * time.Second

	// sweepFirst and sweepEvery are when what left is cleaned up. Not at the
	// start, when a configuration may have a mistake in it.
	sweepFirst = time.Hour
	sweepEvery = 24 * time.Hour

	// repickEvery is how often the source files looks whether another
	// certificate has become the better one by the passing of time.
	repickEvery = time.Minute
)

// Manager obtains, keeps and hands out the certificates of a set of hosts. Its
// methods may be called from any goroutine.
type Manager struct {
	o     Options
	hosts atomic.Pointer[table]

	manage  sync.Mutex // one Manage or Reload at a time
	running atomic.Bool

	// For the source files.
	files *files

	// For all others.
	engine    engine
	responder responder // nil where no CA checks us
	start     func() (stop func(), err error)
	sweeps    []func(ctx context.Context, ours func(string) bool, now time.Time) (int, error)
	sched     *scheduler
	saved     []account // as they were last written down
	shelf     *shelf
	health    *health // of the shelf's disk
	cold      singleflight.Group
	slow      atomic.Int32 // reads for handshakes that storage does not answer
	hot       hot
}

// New checks o and makes what is needed in its directories. It asks nobody on
// the network and starts nothing.
func New(o Options) (*Manager, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	m := &Manager{o: o}
	m.hosts.Store(&table{})
	if o.Source == SourceFiles {
		m.files = openFiles(o.FilesDir, o.Log, o.Now)
		return m, nil
	}
	if err := m.open(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return m, nil
}

// open sets up what orders and keeps certificates.
func (m *Manager) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	sh, err := newShelf(filepath.Join(m.o.Dir, "served"))
	if err != nil {
		return err
	}
	m.shelf, m.health = sh, &health{dir: sh.dir}
	m.sweeps = append(m.sweeps, sh.sweep)
	if m.o.Source == SourceAutocert {
		e, err := newAutocertEngine(&m.o, sh)
		if err != nil {
			return err
		}
		m.engine, m.responder, m.start = e, e, e.start
	} else {
		e, err := newCertmagicEngine(ctx, &m.o, sh)
		if err != nil {
			return err
		}
		m.engine, m.start = e, e.start
		m.sweeps = append(m.sweeps, e.storage.sweep)
		if m.o.Source == SourceCertmagic {
			m.responder = e
		}
	}
	m.sched = newScheduler(m.engine, m.o.Slots, m.o.ARI && m.o.Source == SourceCertmagic, m.o.Log, m.o.Now)
	m.sched.storable = m.storable
	if m.o.acme() {
		m.sched.accounts = nil
		for _, ca := range m.o.CAs {
			m.sched.accounts = append(m.sched.accounts, account{name: caName(ca), pace: newPace(ca.Orders, pacePer)})
		}
		if !m.o.Preflight.Off {
			m.sched.preflight = newPreflight(&m.o).look
		}
		if err := readPaces(m.paceFile(), m.sched.accounts, m.o.Now()); err != nil {
			m.o.Log.Warn("starting with a full budget of orders", "err", err) // the CA says when it is not
		}
	}
	if m.sched.former, err = readAttempts(m.attemptsFile()); err != nil {
		m.o.Log.Warn("starting without them", "err", err) // they may be lost
	}
	return nil
}

func (m *Manager) attemptsFile() string { return filepath.Join(m.o.Dir, "attempts.json") }

func (m *Manager) paceFile() string { return filepath.Join(m.o.Dir, "orders.json") }

// Manage replaces the set of hosts by hosts: lower-case A-labels without a final
// dot. It does not wait for disk or network. New hosts are asked for at once;
// those that left are out of the handshake table, are not renewed any more, and
// an order under way for them is cancelled.
func (m *Manager) Manage(hosts []string) {
	m.manage.Lock()
	defer m.manage.Unlock()
	old := *m.hosts.Load()
	t := make(table, len(hosts))
	for _, host := range hosts {
		switch {
		case !validHost(host):
			m.o.Log.Error("no certificate: this is not a host name in its normal form", "host", host)
		case t[host] != nil: // named twice
		case old[host] != nil:
			t[host] = old[host]
		default:
			t[host] = &slot{host: host}
		}
	}
	if m.files != nil {
		m.files.pick(t)
	}
	m.hosts.Store(&t)
	if m.sched != nil {
		m.sched.set(t)
	}
}

// Run obtains and renews certificates until ctx is done, and returns nil once all
// of its goroutines have ended. It can be called once.
func (m *Manager) Run(ctx context.Context) error {
	if m.running.Swap(true) {
		return errors.New("certificates: already running")
	}
	if m.files != nil {
		m.every(ctx, repickEvery, repickEvery, m.repick)
		return nil
	}
	stop, err := m.start()
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	defer stop()
	if m.responder != nil {
		m.o.Log.Info("certificates: the CA connects to ports 80 and 443 of each host",
			"http01", !m.o.DisableHTTP01, "received_on", port(m.o.HTTPPort, 80),
			"tlsalpn01", !m.o.DisableTLSALPN01, "received_on_tls", port(m.o.TLSPort, 443))
	}
	var wg sync.WaitGroup
	wg.Go(func() { m.every(ctx, saveEvery, saveEvery, m.save) })
	if m.health != nil {
		wg.Go(func() { m.health.watch(ctx, m.tellHealth, m.saveAgain) })
	}
	wg.Go(func() { m.every(ctx, sweepFirst, sweepEvery, m.sweep) })
	m.sched.run(ctx)
	wg.Wait()
	m.save(ctx)
	return nil
}

func port(p, standard int) int {
	if p == 0 {
		return standard
	}
	return p
}

// every calls f after first, and then again and again, until ctx is done.
func (m *Manager) every(ctx context.Context, first, then time.Duration, f func(context.Context)) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			f(ctx)
			timer.Reset(then)
		}
	}
}

// save writes down which hosts fail, and how many orders are left.
func (m *Manager) save(context.Context) {
	if failing, changed := m.sched.remember(); changed {
		if err := writeAttempts(m.attemptsFile(), failing); err != nil {
			m.o.Log.Warn("a restart will not know which hosts failed", "err", err)
			m.sched.unsaved()
		}
	}
	if left := m.sched.budget(); !slices.Equal(left, m.saved) {
		if err := writePaces(m.paceFile(), left); err != nil {
			m.o.Log.Warn("a restart will not know how many orders are left", "err", err)
			return
		}
		m.saved = left
	}
}

// tellHealth logs that storage became bad, or well again.
func (m *Manager) tellHealth(err error) {
	if err != nil {
		m.o.Log.Error("certificates cannot be stored: none is ordered until they can be, and those at hand are handed out", "err", errorText(err))
	} else {
		m.o.Log.Info("certificates can be stored again")
	}
}

// saveAgain stores what could not be stored before.
func (m *Manager) saveAgain() {
	n, err := m.shelf.unsaved.save()
	if err != nil {
		m.o.Log.Warn("new certificates could not be stored still", "err", errorText(err))
	}
	if n > 0 {
		m.o.Log.Info("stored certificates that could not be stored before", "count", n)
	}
}

// sweep deletes what hosts that left have in storage, long after it expired.
func (m *Manager) sweep(ctx context.Context) {
	ours := func(host string) bool { return (*m.hosts.Load())[host] != nil }
	for _, sweep := range m.sweeps {
		n, err := sweep(ctx, ours, m.o.Now())
		if err != nil {
			m.o.Log.Warn("could not clean up", "err", err)
		}
		if n > 0 {
			m.o.Log.Info("deleted certificates of hosts that left", "count", n)
		}
	}
}

// LocalRoot is the path of the local CA's root certificate, for those who shall
// trust it; "" for other sources.
func (m *Manager) LocalRoot() string {
	if m.o.Source != SourceLocal {
		return ""
	}
	return rootPath(filepath.Join(m.o.Dir, "certmagic"))
}
