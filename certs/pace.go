package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	// pacePer is the time in which a CA grants an account its orders, as Let's
	// Encrypt counts them: 300 new orders in three hours, given back one by one.
	pacePer = 3 * time.Hour

	// defaultOrders is what Let's Encrypt grants.
	defaultOrders = 300

	// maxOrders bounds what a typing error can do: 100,000 in three hours are
	// nine in a second.
	maxOrders = 100_000

	// paceReserve is the part of the budget that is left for renewals: a CA that
	// knows no renewal information counts them too, and they must not wait for
	// those who are new.
	paceReserve = 0.1
)

// limitedInARow is how many orders must meet a rate limit, with none that succeeds
// between them, to be taken for the account's. One host may have met a limit of its
// own, as for certificates of the same name, and must not stop the others.
const limitedInARow = 3

// errRateLimited is for orders that the CA did not take as there were too many. The
// CA's problem document is of type rateLimited (RFC 8555 §6.6).
var errRateLimited = errors.New("the CA's rate limit")

// pace keeps to the number of orders that the CA grants: a bucket of limit orders,
// refilled evenly in pacePer. The zero pace knows no limit. It is no lock: the
// scheduler's guards it.
type pace struct {
	limit float64
	left  float64
	at    time.Time // when left was right
}

func newPace(limit int) pace { return pace{limit: float64(limit), left: float64(limit)} }

// fill adds what came since the last time.
func (p *pace) fill(now time.Time) {
	if past := now.Sub(p.at); !p.at.IsZero() && past > 0 {
		p.left = min(p.limit, p.left+p.limit*past.Seconds()/pacePer.Seconds())
	}
	p.at = now
}

// wait returns how long it is until an order may begin that leaves reserve, 0 for
// now.
func (p *pace) wait(now time.Time, reserve float64) time.Duration {
	if p.limit == 0 {
		return 0
	}
	p.fill(now)
	missing := 1 + min(reserve*p.limit, p.limit-1) - p.left
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing/p.limit*float64(pacePer)) + time.Millisecond // never a moment too early
}

// take counts an order.
func (p *pace) take() { p.left = max(0, p.left-1) }

// empty notes that the CA counts differently, and takes no more now.
func (p *pace) empty(now time.Time) { p.left, p.at = 0, now }

// eta is when so many orders will have begun, zero where nothing has to wait.
func (p *pace) eta(now time.Time, orders int) time.Time {
	if p.limit == 0 || orders == 0 {
		return time.Time{}
	}
	missing := float64(orders) + paceReserve*p.limit - p.left
	if missing <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(missing / p.limit * float64(pacePer)))
}

// paceFile is a pace as it is remembered over a restart.
type paceFile struct {
	Left float64   `json:"left"`
	At   time.Time `json:"at"`
}

// maxPaceFile bounds the file, some 60 bytes.
const maxPaceFile = 4 << 10

// readPace restores p. A missing file is that of a first start.
func readPace(path string, p *pace, now time.Time) error {
	data, err := readFile(path, maxPaceFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading how many orders are left: %w", err)
	}
	var f paceFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("reading how many orders are left in %q: %w", path, err)
	}
	if f.At.After(now) { // the clock was set back: nothing is known
		f.At = now
	}
	p.left, p.at = min(max(f.Left, 0), p.limit), f.At
	return nil
}

// writePace remembers p.
func writePace(path string, p pace) error {
	data, err := json.Marshal(paceFile{p.left, p.at})
	if err != nil {
		return fmt.Errorf("storing how many orders are left: %w", err)
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return fmt.Errorf("storing how many orders are left: %w", err)
	}
	return nil
}
