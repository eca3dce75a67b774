package ledger

import (
	"fmt"
	"sync"
	"time"
)

// answerWithin is how long storage is waited for: longer than a slow disk takes for the
// journal of 100,000 domains, and no longer than an edit can wait.
const answerWithin = 5 * time.Second

// disk does one thing after the other on storage that may stop to answer, as a network
// file system does. What does not return is left alone, and whoever comes meanwhile is
// told so at once: policies must not wait for that.
type disk struct {
	free chan struct{} // holds one value while nothing is done

	mu    sync.Mutex
	began time.Time // what is being done; zero: nothing
}

func newDisk() *disk {
	d := &disk{free: make(chan struct{}, 1)}
	d.free <- struct{}{}
	return d
}

// do calls f, and returns an error when it does not return for a while. Then f goes on
// by itself, and what it does counts.
func (d *disk) do(f func() error) error {
	timer := time.NewTimer(d.left())
	defer timer.Stop()
	select {
	case <-d.free:
	default:
		select {
		case <-d.free:
		case <-timer.C:
			return d.stuck()
		}
	}
	d.set(time.Now())
	done := make(chan error, 1)
	go func() {
		err := f()
		d.set(time.Time{})
		d.free <- struct{}{}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return d.stuck()
	}
}

func (d *disk) set(began time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = began
}

func (d *disk) since() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began
}

// left is how long it is to be waited still.
func (d *disk) left() time.Duration {
	if began := d.since(); !began.IsZero() {
		return answerWithin - time.Since(began)
	}
	return answerWithin
}

func (d *disk) stuck() error {
	since := d.since()
	if since.IsZero() { // it answered this very moment
		since = time.Now().Add(-answerWithin)
	}
	return fmt.Errorf("ledger: storage does not answer since %s", since.UTC().Format(time.RFC3339))
}
