package alert

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// channel is one way to send, and how it is.
type channel struct {
	name   string // "webhook" or "mail"
	to     target
	wake   chan struct{}
	health health // by recipient

	mu     sync.Mutex
	lost   error // the last message that was given up
	lostAt time.Time
}

// lostFor is how long it is told that a message was given up.
const lostFor = day

func newChannel(name string, to target) *channel {
	return &channel{name: name, to: to, wake: make(chan struct{}, 1)}
}

func (c *channel) worked(recipient string, now time.Time, log *slog.Logger) {
	if c.health.note(recipient, nil, now) {
		log.Info("alerts are taken again", "channel", c.name, "recipient", recipient)
	}
}

func (c *channel) failed(recipient string, err error, now time.Time, log *slog.Logger) {
	if c.health.note(recipient, err, now) {
		log.Error("an alert was not taken, and is tried again", "channel", c.name, "err", err)
	}
}

func (c *channel) gaveUp(recipient string, err error, now time.Time, log *slog.Logger) {
	log.Error("an alert was given up", "channel", c.name, "err", err)
	c.health.note(recipient, nil, now) // nothing waits
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost, c.lostAt = err, now
}

func (c *channel) troubles(now time.Time) []string {
	lines := c.health.lines("alerts by " + c.name + " wait")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil && now.Sub(c.lostAt) < lostFor {
		lines = append(lines, fmt.Sprintf("an alert by %s was given up at %s: %v", c.name, c.lostAt.UTC().Format(time.RFC3339), c.lost))
	}
	return lines
}
