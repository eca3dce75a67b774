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

	// probeReserve is the part that is left for all others by orders that are let
	// through although preflight finds them in vain: they take what nobody needs.
	probeReserve = 0.5

	// maxRetryAfter bounds how long a CA may stop all orders of an account by what it
	// says once: no longer than the budget takes to fill up.
	maxRetryAfter = pacePer

	// looksPerSecond is how many hosts preflight looks at: some hundred questions to
	// DNS, which any resolver answers.
	looksPerSecond = 25
)

// limitedInARow is how many orders must meet a rate limit, with none that succeeds
// between them, to be taken for the account's. One host may have met a limit of its
// own, as for certificates of the same name, and must not stop the others.
const limitedInARow = 3

// errRateLimited is for orders that the CA did not take as there were too many. The
// CA's problem document is of type rateLimited (RFC 8555 §6.6).
var errRateLimited = errors.New("the CA's rate limit")

// retryAfter is errRateLimited where the CA says when to come back.
type retryAfter struct {
	error
	wait time.Duration
}

func (r retryAfter) Unwrap() error { return r.error }

// account is ours at a CA, or at another source of certificates.
type account struct {
	name    string // of the CA, as certificates know their issuer
	pace    pace
	limited int // orders in a row that met a rate limit
}

// pace keeps to the number of orders that the CA grants: a bucket of limit orders,
// refilled evenly in per. The zero pace knows no limit. It is no lock: the
// scheduler's guards it.
type pace struct {
	limit float64
	per   time.Duration
	left  float64
	at    time.Time // when left was right
	until time.Time // the CA takes none before
}

func newPace(limit int, per time.Duration) pace {
	return pace{limit: float64(limit), per: per, left: float64(limit)}
}

// fill adds what came since the last time.
func (p *pace) fill(now time.Time) {
	if past := now.Sub(p.at); !p.at.IsZero() && past > 0 {
		p.left = min(p.limit, p.left+p.limit*past.Seconds()/p.per.Seconds())
	}
	p.at = now
	if latest := now.Add(maxRetryAfter); p.until.After(latest) { // the clock was set back
		p.until = latest
	}
}

// wait returns how long it is until an order may begin that leaves reserve, 0 for
// now.
func (p *pace) wait(now time.Time, reserve float64) time.Duration {
	if p.limit == 0 {
		return 0
	}
	p.fill(now)
	closed := max(p.until.Sub(now), 0)
	missing := 1 + min(reserve*p.limit, p.limit-1) - p.left
	if missing <= 0 {
		return closed
	}
	return max(closed, time.Duration(missing/p.limit*float64(p.per))+time.Millisecond) // never a moment too early
}

// take counts an order.
func (p *pace) take() { p.left = max(0, p.left-1) }

// give takes back an order that was counted and not made.
func (p *pace) give() { p.left = min(p.limit, p.left+1) }

// empty notes that the CA counts differently, and takes no more now, nor for as long
// as it says.
func (p *pace) empty(now time.Time, wait time.Duration) {
	p.left, p.at, p.until = 0, now, now.Add(min(wait, maxRetryAfter))
}

// begun returns how many new orders will have begun after d.
func (p *pace) begun(now time.Time, d time.Duration) float64 {
	at := now.Add(d)
	if at.Before(p.until) {
		return 0
	}
	return max(0, p.left-min(paceReserve*p.limit, p.limit-1)+p.limit*float64(d)/float64(p.per))
}

// lastBegins is when so many new orders will have begun at the CAs of accounts, zero
// where nothing has to wait.
func lastBegins(accounts []account, now time.Time, orders int) time.Time {
	var paces []pace
	longest := time.Duration(0) // at any one of them
	for _, a := range accounts {
		p := a.pace
		if p.limit == 0 {
			return time.Time{}
		}
		p.fill(now)
		paces = append(paces, p)
		longest = max(longest, p.until.Sub(now), time.Duration((float64(orders)+p.limit)/p.limit*float64(p.per)))
	}
	begun := func(d time.Duration) (n float64) {
		for _, p := range paces {
			n += p.begun(now, d)
		}
		return n
	}
	if orders == 0 || begun(0) >= float64(orders) {
		return time.Time{}
	}
	early, late := time.Duration(0), longest
	for late-early > time.Second {
		if middle := early + (late-early)/2; begun(middle) < float64(orders) {
			early = middle
		} else {
			late = middle
		}
	}
	return now.Add(late)
}

// paceFile is what is remembered over a restart, for each account by its name.
type paceFile struct {
	Accounts map[string]savedPace `json:"accounts"`
}

type savedPace struct {
	Left  float64   `json:"left"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until,omitzero"`
}

// maxPaceFile bounds the file, some 150 bytes for each account.
const maxPaceFile = 64 << 10

// readPaces restores what is left at each of accounts. A missing file is that of a
// first start.
func readPaces(path string, accounts []account, now time.Time) error {
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
	for i := range accounts {
		saved, ok := f.Accounts[accounts[i].name]
		if !ok {
			continue
		}
		if saved.At.After(now) { // the clock was set back: nothing is known
			saved.At = now
		}
		p := &accounts[i].pace
		p.left, p.at, p.until = min(max(saved.Left, 0), p.limit), saved.At, saved.Until
	}
	return nil
}

// writePaces remembers what is left at each of accounts.
func writePaces(path string, accounts []account) error {
	f := paceFile{Accounts: map[string]savedPace{}}
	for _, a := range accounts {
		f.Accounts[a.name] = savedPace{a.pace.left, a.pace.at, a.pace.until}
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("storing how many orders are left: %w", err)
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return fmt.Errorf("storing how many orders are left: %w", err)
	}
	return nil
}
