package alert

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	// urgentAnHour is how many messages on a single trouble are made in an hour. A person
	// reads so many; a provider's outage opens thousands.
	urgentAnHour = 20

	// gatherFor is how long those beyond are waited for, before they are told together.
	gatherFor = 5 * time.Minute

	// moreEvery is the least time between two messages that tell many together.
	moreEvery = time.Hour

	// listed is how many of each a message names; the others it counts.
	listed = 200

	// ownersAtOnce is to how many owners a digest, or many told together, are sent as well.
	ownersAtOnce = 100

	// clockOff is how far ahead of now a time may be that was noted before: other processes
	// have other clocks. Beyond that the clock was wrong then, and what it noted holds up nothing.
	clockOff = time.Hour
)

// plan makes messages of what is to be told.
func (s *Sender) plan(ctx context.Context) error {
	now := s.o.Now()
	idle, err := s.idle(ctx, now)
	if err == nil && !idle {
		err = s.write(ctx, func(tx *sql.Tx) error {
			p := planner{s, tx, ctx, now}
			if err := p.urgent(); err != nil {
				return err
			}
			return p.digest()
		})
	}
	if err != nil {
		return fmt.Errorf("alert: making messages: %w", err)
	}
	return nil
}

// idle reports whether there is nothing to do, as mostly: then nothing is written.
func (s *Sender) idle(ctx context.Context, now time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	if err := s.prepareTables(ctx); err != nil {
		return false, err
	}
	var urgent bool
	var last int64
	err := s.o.DB.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM alerts WHERE pending = 2), at FROM alert_turns WHERE name = 'digest'").Scan(&urgent, &last)
	return !urgent && s.digested(last, now), err
}

// digested reports whether the digest that is due was made, where the last one was due then.
func (s *Sender) digested(last int64, now time.Time) bool {
	return last >= s.turn(now) && last <= now.Add(clockOff).Unix()
}

// turn is when the last digest was due.
func (s *Sender) turn(now time.Time) int64 {
	at := now.UTC().Truncate(day).Add(s.o.Digest)
	if at.After(now) {
		at = at.Add(-day)
	}
	return at.Unix()
}

// planner is one transaction.
type planner struct {
	s   *Sender
	tx  *sql.Tx
	ctx context.Context
	now time.Time
}

func (p *planner) number(query string, args ...any) (n int64, err error) {
	err = p.tx.QueryRowContext(p.ctx, p.s.o.DB.SQL(query), args...).Scan(&n)
	return n, err
}

func (p *planner) exec(query string, args ...any) error {
	_, err := p.tx.ExecContext(p.ctx, p.s.o.DB.SQL(query), args...)
	return err
}

// ago is the Unix time of d before now.
func (p *planner) ago(d time.Duration) int64 { return p.now.Add(-d).Unix() }

// ahead is the latest Unix time that a clock that is right can have noted.
func (p *planner) ahead() int64 { return p.now.Add(clockOff).Unix() }

// urgent makes messages of what is to be told at once.
func (p *planner) urgent() error {
	made, err := p.number("SELECT count(DISTINCT message) FROM alert_messages WHERE kind IN ('opened', 'closed') AND made > ? AND made <= ?", p.ago(time.Hour), p.ahead())
	if err != nil {
		return err
	}
	rows, err := p.rows("pending = 2 ORDER BY pending_since, name", max(0, urgentAnHour-made))
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := p.send(one(r.item(), p.now), r.alert.Owner); err != nil {
			return err
		}
		if err := p.told("name = ?", r.alert.Key); err != nil {
			return err
		}
	}
	return p.more()
}

// more tells together what is too much to be told singly.
func (p *planner) more() error {
	oldest, err := p.number("SELECT coalesce(min(pending_since), 0) FROM alerts WHERE pending = 2")
	if err != nil || oldest == 0 || oldest > p.ago(gatherFor) && oldest <= p.ahead() {
		return err
	}
	last, err := p.number("SELECT coalesce(max(made), 0) FROM alert_messages WHERE kind = 'more' AND made <= ?", p.ahead())
	if err != nil || last > p.ago(moreEvery) {
		return err
	}
	if err := p.collect(More, "pending = 2"); err != nil {
		return err
	}
	return p.told("pending = 2")
}

// digest makes the digest of the day, if its time has come.
func (p *planner) digest() error {
	last, err := p.number("SELECT at FROM alert_turns WHERE name = 'digest'")
	if err != nil {
		return err
	}
	if p.s.digested(last, p.now) {
		return nil
	}
	if last != 0 { // the first start begins a day
		if err := p.collect(Digest, "pending = 1"); err != nil {
			return err
		}
		if err := p.told("pending = 1"); err != nil {
			return err
		}
	}
	if err := p.tidy(); err != nil {
		return err
	}
	return p.exec("UPDATE alert_turns SET at = ? WHERE name = 'digest'", p.s.turn(p.now))
}

// told notes that people learn of rows, by messages that are made in the same transaction.
func (p *planner) told(where string, args ...any) error {
	return p.exec("UPDATE alerts SET told = CASE WHEN pending > told THEN pending ELSE told END, pending = 0, closed = CASE WHEN event = 1 AND closed = 0 THEN ? ELSE closed END WHERE "+where,
		append([]any{p.now.Unix()}, args...)...)
}

// tidy lets go of what is over.
func (p *planner) tidy() error {
	// As long as it counts how often a trouble was told at once.
	if err := p.exec("DELETE FROM alerts WHERE closed > 0 AND closed < ? AND pending = 0", p.ago(2*day)); err != nil {
		return err
	}
	return p.exec("DELETE FROM alert_messages WHERE made < ? AND state <> 'waiting'", p.ago(keepSent))
}
