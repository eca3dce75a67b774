package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"
)

// do does t's job and notes what came of it, except when and what is next. A
// panic below costs this attempt, not the certificates of everybody else.
func (s *scheduler) do(ctx context.Context, t *task) {
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("%w: %v", errPanic, r)
			s.log.Error("panic while getting a certificate", "host", t.slot.host, "err", err, "stack", string(debug.Stack()))
			s.note(t, func() { s.panicked(t, err) })
		}
	}()
	switch t.job {
	case jobLook:
		s.look(ctx, t)
	case jobCheck:
		s.check(ctx, t)
	case jobOrder:
		s.order(ctx, t)
	case jobAsk:
		s.ask(ctx, t)
	}
}

// panicked notes a job that panicked as one that failed.
func (s *scheduler) panicked(t *task, err error) {
	switch t.job {
	case jobLook:
		t.slot.looked.Store(true)
		s.lookFails(t, err)
	case jobCheck:
		s.checked(t, verdict{outcome: outcomeUnknown})
	case jobOrder:
		s.orderFailed(t, t.slot.cert.Load(), err)
	case jobAsk:
		s.askFails(t, err)
	}
}

// note calls f with the mutex held, unless the host has left.
func (s *scheduler) note(t *task, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.gone {
		f()
	}
}

// look reads what storage has for the host.
func (s *scheduler) look(ctx context.Context, t *task) {
	c, err := s.engine.stored(ctx, t.slot.host)
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnusable)
	switch {
	case errors.Is(err, errUnusable):
		s.log.Warn("a stored certificate is of no use: it will be asked for anew", "host", t.slot.host, "err", errorText(err))
	case err != nil && !missing && ctx.Err() == nil:
		s.log.Warn("a stored certificate cannot be read", "host", t.slot.host, "err", errorText(err))
	}
	if err == nil {
		t.slot.cert.CompareAndSwap(nil, c)
	}
	t.slot.looked.Store(true)
	s.note(t, func() {
		now := s.now()
		switch {
		case err == nil:
			s.known(t, c, now)
			t.resume(now)
		case missing:
			t.looked, t.lookFailed, t.retryAt = true, 0, 0
			if t.failures == 0 {
				t.lastError = ""
			}
			t.resume(now)
		default:
			s.lookFails(t, err)
		}
	})
}

// lookFails notes that storage could not be read.
func (s *scheduler) lookFails(t *task, err error) {
	t.lookFailed++
	t.retryAt = momentOf(s.now().Add(lookWait(t.lookFailed)))
	t.lastError = errorText(err)
}

// resume applies what is remembered of failures before a restart: the host waits
// in the lane of those who failed, and its CA's limits are kept.
func (t *task) resume(now time.Time) {
	if t.failures == 0 {
		return
	}
	at := t.lastAttempt.time().Add(restartGap)
	if latest := now.Add(restartGap); at.After(latest) {
		at = latest // the clock was set back meanwhile
	}
	t.retryAt = momentOf(at)
	if t.cert && t.renewAt > t.retryAt { // it got one elsewhere
		t.failures, t.lastError = 0, ""
	}
}

// known notes the certificate that is at hand now.
func (s *scheduler) known(t *task, c *certificate, now time.Time) {
	t.looked, t.cert, t.noWindow = true, true, false
	t.lookFailed, t.askFailed = 0, 0
	t.window, t.chance = period{}, rand.Float64()
	t.renewAt = momentOf(renewTime(c, window{}, t.chance))
	t.askAt = momentOf(now.Add(firstAsk(c.lifetime(), rand.Float64())))
	if t.failures == 0 {
		t.lastError = ""
	}
}

// check asks whether an order for the host could succeed, and reports whether one is
// to be made.
func (s *scheduler) check(ctx context.Context, t *task) (pass bool) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	v := s.preflight(ctx, t.slot.host)
	s.note(t, func() { pass = s.checked(t, v) })
	return pass
}

// checked notes what preflight said. What nobody knows holds no order back, but what
// was found before is believed for some more looks. Nothing holds back the renewal of
// a certificate that is about to expire.
func (s *scheduler) checked(t *task, v verdict) (pass bool) {
	now, c := s.now(), t.slot.cert.Load()
	s.preflights[v.outcome].Add(1)
	t.probe, t.checked = false, momentOf(now)
	if v.outcome != outcomeUnknown {
		t.refused, t.unsure = v.refused, 0
	} else if t.unsure++; t.held > 0 && t.unsure < believed {
		v.finding = t.finding
	}
	forbidden := len(t.refused) > 0 && !slices.Contains(t.refused, false)
	switch {
	case v.finding == "", c != nil && !c.expired(now) && !now.Before(urgentFrom(c)):
		if t.held > 0 {
			s.log.Info("an order may succeed now", "host", t.slot.host)
			s.changed = true
		}
		t.held, t.finding, t.unsure, t.probeAt = 0, "", 0, 0
		return true
	case !forbidden && t.held > 0 && !now.Before(t.probeAt.time()) && s.lanes[laneProbe].Len() < laneProbe.share(s.slots):
		t.probe = true // our view of DNS may be wrong
		return true
	}
	if t.probeAt == 0 {
		t.probeAt = momentOf(now.Add(probeWait(t.failures, rand.Float64())))
	}
	s.hold(t, now)
	if finding := errorText(errors.New(v.finding)); finding != t.finding {
		t.finding, s.changed = finding, true
		s.log.Warn("no certificate is asked for, as that would be in vain", "host", t.slot.host, "err", finding, "next", t.retryAt.time())
	}
	return false
}

// hold puts off t's order until the next look.
func (s *scheduler) hold(t *task, now time.Time) {
	t.held++
	t.checked, t.probe = 0, false
	t.retryAt = momentOf(now.Add(holdWait(t.held, rand.Float64())))
	if c := t.slot.cert.Load(); c != nil && now.Before(urgentFrom(c)) && t.retryAt.time().After(urgentFrom(c)) {
		t.retryAt = momentOf(urgentFrom(c)) // some live for minutes
	}
}

// order asks for a certificate. What is handed out changes only for a new one.
func (s *scheduler) order(ctx context.Context, t *task) {
	if s.preflight != nil && !t.passed(s.now()) && !s.check(ctx, t) { // it waited for long
		s.note(t, func() {
			if t.paid {
				s.accounts[t.from[0]].pace.give()
			}
		})
		return
	}
	cur := t.slot.cert.Load()
	c, err := s.orderFrom(ctx, t, cur)
	if c != nil {
		t.slot.cert.Store(c)
	}
	s.note(t, func() {
		t.checked, t.probe = 0, false
		switch {
		case c == nil && errors.Is(ctx.Err(), context.Canceled): // the program ends
		case c == nil:
			s.orderFailed(t, cur, err)
		default:
			s.orderDone(t, cur, c, err)
		}
	})
}

// orderFrom asks the accounts that t may use, one after the other.
func (s *scheduler) orderFrom(ctx context.Context, t *task, cur *certificate) (*certificate, error) {
	var errs []error
	for i, a := range t.from {
		if i > 0 && !s.claim(t, a) {
			continue
		}
		c, err := s.engine.order(ctx, t.slot.host, cur, a)
		if c == nil && err == nil {
			err = errors.New("the certificate source returned nothing")
		}
		s.limit(a, c != nil, err)
		if c != nil {
			return c, err
		}
		// Each CA has its share of what is kept, so that all are heard.
		errs = append(errs, clipped{err, maxErrorText / len(t.from)})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// clipped is an error that is told in limit bytes.
type clipped struct {
	error
	limit int
}

func (c clipped) Error() string { return clip(c.error.Error(), c.limit) }
func (c clipped) Unwrap() error { return c.error }

// limit notes what an order tells of an account's budget.
func (s *scheduler) limit(account int, good bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.accounts[account]
	switch {
	case good:
		a.limited = 0
	case errors.Is(err, errRateLimited):
		if a.limited++; a.limited == limitedInARow {
			a.limited = 0
			after, _ := errors.AsType[retryAfter](err)
			a.pace.empty(s.now(), after.wait)
		}
	}
}

// orderDone notes a new certificate. err is what kept it from being stored.
func (s *scheduler) orderDone(t *task, cur, c *certificate, err error) {
	now := s.now()
	t.lastAttempt = momentOf(now)
	if cur == nil {
		s.obtained.Add(1)
	} else {
		s.renewed.Add(1)
	}
	s.changed = s.changed || t.failures > 0 || t.held > 0
	t.held, t.finding, t.probeAt = 0, "", 0
	failures := t.failures
	t.failures = 0
	s.known(t, c, now)
	if err != nil {
		t.lastError = errorText(err)
		s.log.Error("a new certificate could not be stored: it is handed out from memory", "host", t.slot.host, "err", t.lastError)
	}
	if !t.renewAt.time().After(now) {
		// Renewing at once would go on for ever and eat up the CA's limits.
		s.doubt.settle(false, now)
		t.failures = failures
		s.orderFailed(t, c, fmt.Errorf("the new certificate is to be renewed already, it is valid from %s until %s: is this clock right?",
			c.notBefore().UTC().Format(time.RFC3339), c.notAfter().UTC().Format(time.RFC3339)))
		return
	}
	s.doubt.settle(true, now)
	s.log.Info("got a certificate", "host", t.slot.host, "issuer", c.issuer, "expires", c.notAfter(), "renew", t.renewAt.time())
}

// orderFailed notes a failed attempt. cur is the certificate at hand.
func (s *scheduler) orderFailed(t *task, cur *certificate, err error) {
	now := s.now()
	t.failures++
	t.lastAttempt, t.lastError = momentOf(now), errorText(err)
	var life time.Duration
	if cur != nil {
		life = cur.lifetime()
	}
	t.looked = true
	t.retryAt = momentOf(now.Add(retryWait(t.failures, life, rand.Float64())))
	if showsClock(err) {
		s.doubt.settle(false, now)
	}
	if after, ok := errors.AsType[retryAfter](err); ok {
		// It may be a limit of this host alone, which nobody else is told of.
		if at := momentOf(now.Add(min(after.wait, maxHostRetryAfter))); at > t.retryAt {
			t.retryAt = at
		}
	}
	if t.held > 0 { // it was let through all the same
		t.probeAt = momentOf(now.Add(probeWait(t.failures, rand.Float64())))
	}
	s.failed.Add(1)
	s.changed = true
	args := []any{"host", t.slot.host, "err", t.lastError, "failures", t.failures, "next", t.retryAt.time()}
	switch {
	case cur == nil:
		s.log.Warn("no certificate yet", args...)
	case cur.expired(now):
		s.log.Error("the certificate has expired and could not be renewed", args...)
	default:
		s.log.Warn("the certificate could not be renewed: the present one is handed out on", append(args, "expires", cur.notAfter())...)
	}
}

// ask asks the CA when the certificate should be renewed.
func (s *scheduler) ask(ctx context.Context, t *task) {
	cur := t.slot.cert.Load()
	w, err := s.engine.window(ctx, cur)
	s.note(t, func() {
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			t.noWindow = true
		case err != nil:
			s.askFails(t, err)
		default:
			t.askFailed = 0
			s.asked.Add(1)
			s.take(t, cur, w)
			s.askAgain(t, w)
		}
	})
}

// askFails notes that the CA did not say when to renew.
func (s *scheduler) askFails(t *task, err error) {
	t.askFailed++
	s.askFailed.Add(1)
	s.log.Debug("the CA does not say when to renew", "host", t.slot.host, "err", errorText(err))
	s.askAgain(t, window{})
}

// askAgain notes when to ask next.
func (s *scheduler) askAgain(t *task, w window) {
	now := s.now()
	t.askAt = momentOf(now.Add(nextAsk(w, t.askFailed, now, rand.Float64())))
}

// take notes the CA's window.
func (s *scheduler) take(t *task, cur *certificate, w window) {
	proposed := period{momentOf(w.start), momentOf(w.end)}
	moved := proposed != t.window
	t.window = proposed
	if !moved {
		return
	}
	before := t.renewAt.time()
	at := renewTime(cur, w, t.chance)
	t.renewAt = momentOf(at)
	if w.why != "" || at.Before(before.Add(-cur.lifetime()/6)) {
		s.log.Warn("the CA wants the certificate renewed early", "host", t.slot.host, "at", at, "why", errorText(errors.New(w.why)))
	}
}
