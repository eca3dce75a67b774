package reports

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// batchCount and batchBytes bound what is stored at once: enough that bringing it to
	// disk is the smaller part, and little memory.
	batchCount = 1000
	batchBytes = 4 << 20

	// storeFor is how long a database may take for one batch before it counts as broken.
	storeFor = time.Minute

	firstWait = time.Second // after a failure, then twice as long each time
	lastWait  = 30 * time.Second

	tidyEvery = time.Hour
)

// DeskOptions of a Desk. All are required.
type DeskOptions struct {
	Spool *Spool
	Store *Store
	Now   func() time.Time
	Log   *slog.Logger

	// Label returns the name that a domain has in metrics: its own, or one for all where
	// there are many.
	Label func(domain string) string
}

// Desk takes what comes in: first to the spool, then to the store. A store that is slow
// or broken holds up nobody.
type Desk struct {
	o       DeskOptions
	metrics *deskMetrics

	mu      sync.Mutex
	trouble error // of the store, at the last try
	since   time.Time
	refused error // why the last arrival was not taken; nil: it was
	last    time.Time
}

// NewDesk returns a desk whose Run is to be called.
func NewDesk(o DeskOptions) (*Desk, error) {
	if o.Spool == nil || o.Store == nil || o.Now == nil || o.Log == nil || o.Label == nil {
		return nil, errors.New("reports: an option is missing")
	}
	return &Desk{o: o, metrics: newDeskMetrics()}, nil
}

// Add takes an arrival. When it returns without an error, that is kept, and its sender may
// be told so; with ErrFull or another it is to come again.
func (d *Desk) Add(ctx context.Context, a *Arrival) error {
	err := d.o.Spool.Add(ctx, a)
	if err != nil {
		d.metrics.refused(a.Channel)
	}
	if errors.Is(err, ErrFull) { // of which the spool tells
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused, d.last = err, d.o.Now()
	return err
}

// Run stores what comes in, until ctx is done.
func (d *Desk) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { d.tidy(ctx) })
	d.remember(ctx)
	for failures := 0; ; {
		b, err := d.o.Spool.Next(ctx, batchCount, batchBytes)
		if err == nil {
			if err = d.store(ctx, b, failures > 1); err == nil {
				d.o.Spool.Stored(b)
			} else {
				d.o.Spool.Again(b)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		d.say(err)
		if err == nil {
			failures = 0
			continue
		}
		failures++
		if !sleep(ctx, min(firstWait<<min(failures-1, 10), lastWait)) {
			return nil
		}
	}
}

// store stores a batch; singly, if it may be that one of them cannot be.
func (d *Desk) store(ctx context.Context, b *Batch, singly bool) error {
	if !singly {
		return d.put(ctx, b.Arrivals)
	}
	for _, a := range b.Arrivals {
		err := d.put(ctx, []*Arrival{a})
		if err == nil {
			continue
		}
		if ctx.Err() != nil || d.o.Store.setAside(ctx, a, NotStored, err) != nil {
			return err // the database takes nothing
		}
		d.o.Log.Error("the database takes other reports and not this one, so it was set aside", "channel", a.Channel, "err", err)
	}
	return nil
}

func (d *Desk) put(ctx context.Context, arrivals []*Arrival) error {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	outcomes, err := d.o.Store.Put(ctx, arrivals)
	for i, o := range outcomes {
		d.metrics.count(arrivals[i], o, d.o.Label)
	}
	return err
}

// remember finds out when the last report came, before this start.
func (d *Desk) remember(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeFor)
	defer cancel()
	list, err := d.o.Store.List(ctx, Filter{Limit: 1})
	d.say(err)
	if err == nil && len(list) > 0 {
		d.metrics.arrived(list[0].Received)
	}
}

func (d *Desk) tidy(ctx context.Context) {
	for {
		if err := d.o.Store.Tidy(ctx); err != nil && ctx.Err() == nil {
			d.o.Log.Warn("reports that are old stay for now", "err", err)
		}
		if !sleep(ctx, tidyEvery) {
			return
		}
	}
}

// say notes how the store is, and tells of it when it changes.
func (d *Desk) say(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil && d.trouble == nil:
		d.since = d.o.Now()
		d.o.Log.Error("reports wait in the spool, as they cannot be stored; policies are served all the same", "err", err)
	case err == nil && d.trouble != nil:
		d.o.Log.Info("reports are stored again")
	}
	d.trouble = err
}

// Trouble says what is not as it should be, in one line each.
func (d *Desk) Trouble() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var lines []string
	if d.trouble != nil {
		lines = append(lines, fmt.Sprintf("reports cannot be stored since %s, and wait: %v", d.since.UTC().Format(time.RFC3339), d.trouble))
	}
	if d.refused != nil {
		lines = append(lines, fmt.Sprintf("the last report that came, at %s, could not be kept, and its sender was told to come again: %v", d.last.UTC().Format(time.RFC3339), d.refused))
	}
	if have, limit := d.o.Spool.Bytes(), d.o.Spool.Limit(); have > limit/2 {
		lines = append(lines, fmt.Sprintf("the spool of reports has %d of %d MiB; when it is full, senders are told to come again, and some do not", have>>20, limit>>20))
	}
	return lines
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
