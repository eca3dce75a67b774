package alert

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// sendFor bounds one try with one target.
	sendFor = 2 * time.Minute

	// claimFor is how long a message is left to the process that tries to send it; after
	// that, it has crashed and another one tries.
	claimFor = 2 * sendFor

	firstWait = time.Minute // after a failure, then twice as long each time
	lastWait  = time.Hour

	// giveUpAfter is when a message is not tried any more: a weekend.
	giveUpAfter = 3 * day

	// keepSent is how long messages are kept that were sent.
	keepSent = 7 * day

	// sendBatch bounds what is read of the queue at once.
	sendBatch = 20

	// failuresInARow is after how many failures the rest is left for later: the target is
	// dead, and each try may take sendFor.
	failuresInARow = 3
)

// target is where messages go: a *Webhook or a *Mail. Its send returns a *refusal where
// another try is of no use.
type target interface {
	send(ctx context.Context, m *Message, recipient string) error
}

// refusal is an error that stays.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// deliver sends what is due by one channel. It returns errors of the database only.
func (s *Sender) deliver(ctx context.Context, c *channel) error {
	for more := true; more; {
		var err error
		if more, err = s.deliverBatch(ctx, c); err != nil {
			return fmt.Errorf("alert: sending by %s: %w", c.name, err)
		}
	}
	return s.count(ctx, c)
}

// deliverBatch reports whether there may be more to send.
func (s *Sender) deliverBatch(ctx context.Context, c *channel) (more bool, err error) {
	batch, err := s.due(ctx, c.name)
	if err == nil {
		err = s.count(ctx, c)
	}
	if err != nil {
		return false, err
	}
	failures := 0
	for _, q := range batch {
		if failures == failuresInARow || ctx.Err() != nil {
			return false, nil
		}
		ours, err := s.claim(ctx, q)
		if err != nil {
			return false, err
		}
		if !ours {
			continue
		}
		sendErr := c.try(ctx, q)
		if failures++; sendErr == nil {
			failures = 0
		}
		if err := s.after(ctx, c, q, sendErr); err != nil {
			return false, err
		}
	}
	return len(batch) == sendBatch, nil
}

func (c *channel) try(ctx context.Context, q *queued) error {
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	return c.to.send(ctx, q.message, q.recipient)
}

// after notes what became of a try.
func (s *Sender) after(ctx context.Context, c *channel, q *queued, sendErr error) error {
	now := s.o.Now()
	_, final := errors.AsType[*refusal](sendErr)
	late := now.Sub(q.made) > giveUpAfter
	switch {
	case sendErr == nil:
		s.metrics.sent.WithLabelValues(c.name).Inc()
		c.worked(q.recipient, now, s.o.Log)
		return s.settle(ctx, q, "sent", now)
	case ctx.Err() != nil: // it was we who ended it
		return s.settle(ctx, q, "waiting", now)
	case final || late:
		s.metrics.failed.WithLabelValues(c.name).Inc()
		s.metrics.givenUp.WithLabelValues(c.name).Inc()
		c.gaveUp(q.recipient, fmt.Errorf("%s: %w", q.what(), sendErr), now, s.o.Log)
		return s.settle(ctx, q, "given up", now)
	}
	s.metrics.failed.WithLabelValues(c.name).Inc()
	c.failed(q.recipient, sendErr, now, s.o.Log)
	return s.settle(ctx, q, "waiting", now.Add(min(firstWait<<min(q.tries, 10), lastWait)))
}
