package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// queued is a message that waits for one target.
type queued struct {
	id        int64
	message   *Message
	recipient string // of a mail
	made      time.Time
	tries     int // before this one
	next      int64
}

// what names it to people.
func (q *queued) what() string {
	text := fmt.Sprintf("%q of %s", q.message.subject(), stamp(q.made))
	if q.recipient != "" {
		text += " to " + q.recipient
	}
	return text
}

// due returns the first messages that are to be tried now.
func (s *Sender) due(ctx context.Context, channel string) ([]*queued, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	if err := s.prepareTables(ctx); err != nil {
		return nil, err
	}
	now := s.o.Now()
	rows, err := s.o.DB.QueryContext(ctx, s.o.DB.SQL("SELECT id, recipient, made, tries, next, body FROM alert_messages WHERE channel = ? AND state = 'waiting' AND (next <= ? OR next > ?) ORDER BY next, id LIMIT ?"),
		channel, now.Unix(), now.Add(lastWait+clockOff).Unix(), sendBatch) // nobody waits so long, but by a clock that was wrong
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*queued
	for rows.Next() {
		q := &queued{message: &Message{}}
		var made int64
		var body []byte
		if err := rows.Scan(&q.id, &q.recipient, &made, &q.tries, &q.next, &body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(body, q.message); err != nil {
			return nil, fmt.Errorf("alert: what is kept of a message: %w", err)
		}
		q.made = time.Unix(made, 0)
		list = append(list, q)
	}
	return list, rows.Err()
}

// claim reports whether it is this process that is to send q.
func (s *Sender) claim(ctx context.Context, q *queued) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	until := s.o.Now().Add(claimFor).Unix()
	result, err := s.o.DB.ExecContext(ctx, s.o.DB.SQL("UPDATE alert_messages SET next = ?, tries = tries + 1 WHERE id = ? AND state = 'waiting' AND next = ?"), until, q.id, q.next)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// settle notes what became of q, also when this process is to end.
func (s *Sender) settle(ctx context.Context, q *queued, state string, next time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	_, err := s.o.DB.ExecContext(ctx, s.o.DB.SQL("UPDATE alert_messages SET state = ?, next = ? WHERE id = ?"), state, next.Unix(), q.id)
	return err
}

// settleFor is how long the end of a process may wait for the database.
const settleFor = 5 * time.Second

// count finds out how many messages wait.
func (s *Sender) count(ctx context.Context, c *channel) error {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	var n int
	err := s.o.DB.QueryRowContext(ctx, s.o.DB.SQL("SELECT count(*) FROM alert_messages WHERE channel = ? AND state = 'waiting'"), c.name).Scan(&n)
	if err == nil {
		s.metrics.queued.WithLabelValues(c.name).Set(float64(n))
	}
	return err
}
