package certs

import (
	"strings"
	"time"
	"unicode"
)

// When things are due. Pure functions of certificate, window and chance, so that
// the rules can be read, and tested, in one place.

const (
	// renewFraction of its lifetime after which a certificate is renewed: what
	// Let's Encrypt and certmagic recommend. A third of the lifetime is left
	// for everything to go wrong in: 30 days of 90, two days of six.
	renewFraction = 2.0 / 3

	// renewSpread is how much earlier chance may make it, so that hosts which
	// came on one day are not renewed on one day.
	renewSpread = 1.0 / 24

	// latestFraction bounds how late a CA may talk us into renewing (RFC 9773
	// leaves this to the client): the sixth that is left is ours.
	latestFraction = 5.0 / 6

	// maxRetry caps the wait after failures: four attempts a day find a repaired
	// DNS record soon enough and cost the CA nothing.
	maxRetry = 6 * time.Hour

	// retrySpread makes each wait up to a fifth longer, by chance, so that those
	// who failed together do not come back together.
	retrySpread = 0.2

	// minAsk and maxAsk bound the wait that a CA asks for between two polls of
	// its renewal information ("values under one minute could be treated as if
	// they were one minute, and values over one day as if they were one day",
	// RFC 9773 §4.3.3).
	minAsk = time.Minute
	maxAsk = 24 * time.Hour

	// defaultAsk is the wait where the CA says nothing (RFC 9773 §4.3.2).
	defaultAsk = 6 * time.Hour
)

// retryWaits are the waits after the first, second, … failure of a host. An
// attempt may cost two failed validations, one for each challenge, and Let's
// Encrypt allows five per host and hour: two attempts in any hour cost four.
// The quick first retry is for the person who just corrects the DNS record.
var retryWaits = [...]time.Duration{5 * time.Minute, 70 * time.Minute, 2 * time.Hour, 4 * time.Hour, maxRetry}

const (
	// freshLook is how old a look at DNS may be when an order begins. Orders wait for
	// the CA's budget, for days if there are many.
	freshLook = 15 * time.Minute

	// maxHostRetryAfter bounds how long a CA may put off a host: a day, as limits of
	// single names count days, and the person who corrects something waits for it.
	maxHostRetryAfter = 24 * time.Hour

	// believed is how many looks in a row DNS must leave unanswered until what it said
	// before counts no more: an hour or so, when it always answers but once in a while.
	believed = 3

	// maxProbe caps the wait between two orders that are let through although
	// preflight finds them in vain, since it is our view of DNS that may be wrong.
	maxProbe = 7 * 24 * time.Hour
)

// lookWaits are the waits after the first, second, … look at a host that holds its
// order back. A look costs the CA nothing, and our own resolver a handful of
// questions: 5,000 hosts, each half an hour, make fifteen in a second. The quick ones
// are for the person who just publishes the record.
var lookWaits = [...]time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 30 * time.Minute}

// holdWait is how long to wait before the host is looked at once more, after so many
// looks in a row that held its order back.
func holdWait(looks int, chance float64) time.Duration {
	wait := lookWaits[min(max(looks, 1), len(lookWaits))-1]
	return wait + time.Duration(chance*retrySpread*float64(wait))
}

// probeWait is how long after the last order the next one is let through although
// preflight finds it in vain: a day where none has failed so far, a week in the end.
// A false alarm is over with the first.
func probeWait(failures int, chance float64) time.Duration {
	wait := min(24*time.Hour<<min(max(failures, 0), 3), maxProbe)
	return wait + time.Duration(chance*retrySpread*float64(wait))
}

// urgentFrom is from when c is so close to its end that nothing holds its renewal back.
func urgentFrom(c *certificate) time.Time {
	return c.notBefore().Add(time.Duration(float64(c.lifetime()) * latestFraction))
}

// window is when a CA would like a certificate to be renewed (RFC 9773 §4.2).
type window struct {
	start, end time.Time
	again      time.Time // when to ask again; zero: the CA did not say
	why        string    // a page that explains it; from outside
}

// renewTime is when c is to be renewed: within the CA's window where there is
// one, else after two thirds of its lifetime. chance, from 0 to 1, is drawn once
// for each certificate, so that the answer moves only when the window does.
func renewTime(c *certificate, w window, chance float64) time.Time {
	if c.foreign {
		return c.notBefore()
	}
	life := float64(c.lifetime())
	if w.end.IsZero() {
		return c.notBefore().Add(time.Duration(life * (renewFraction - chance*renewSpread)))
	}
	latest := c.notBefore().Add(time.Duration(life * latestFraction))
	if at := w.start.Add(time.Duration(chance * float64(w.end.Sub(w.start)))); at.Before(latest) {
		return at
	}
	return latest
}

// retryWait is how long to wait after so many failures. lifetime is that of the
// certificate to be renewed, 0 for none: one that lives for minutes, as only a
// test CA issues, is retried at a tenth of that.
func retryWait(failures int, lifetime time.Duration, chance float64) time.Duration {
	wait := retryWaits[min(max(failures, 1), len(retryWaits))-1]
	if lifetime > 0 {
		wait = min(wait, lifetime/10)
	}
	return wait + time.Duration(chance*retrySpread*float64(wait))
}

// lookWait is how long to wait after the local storage could not be read so many
// times: it is ours, so nobody minds being asked often.
func lookWait(failures int) time.Duration {
	return min(10*time.Second<<min(failures-1, 5), 5*time.Minute)
}

// firstAsk is how long after getting to know a certificate the CA is first asked
// about it: at any time within the usual interval, so that a start with 100,000
// hosts does not ask for all at once, but not within the first hour: a CA that
// wants even the newest certificate renewed makes us order once an hour, no more.
func firstAsk(lifetime time.Duration, chance float64) time.Duration {
	latest := min(defaultAsk, lifetime/20)
	first := min(time.Hour, latest/2)
	return first + time.Duration(chance*float64(latest-first))
}

// nextAsk is how long to wait after an answer, or after so many failures to get one.
func nextAsk(w window, failures int, now time.Time, chance float64) time.Duration {
	wait := defaultAsk
	if failures > 0 {
		wait = min(15*time.Minute<<min(failures-1, 5), defaultAsk)
	} else if !w.again.IsZero() {
		wait = min(max(w.again.Sub(now), minAsk), maxAsk)
	}
	return wait + time.Duration(chance*retrySpread*float64(wait))
}

// maxErrorText is how much of an error is kept for each host: a CA's problem
// document takes about 300 bytes, and 100,000 hosts may fail at once.
const maxErrorText = 600

// errorText makes an error, parts of which come from outside, short and safe to
// print on a line.
func errorText(err error) string {
	return clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, err.Error()), maxErrorText)
}

// clip cuts off what of s is beyond limit bytes.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
