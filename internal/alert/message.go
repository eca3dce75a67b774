package alert

import (
	"crypto/rand"
	"fmt"
	"time"
)

// Kind says what a message is for.
type Kind string

// The kinds of messages.
const (
	Opened Kind = "opened" // one trouble that loses mail
	Closed Kind = "closed" // it is no more
	More   Kind = "more"   // of those so many that they are told together
	Digest Kind = "digest" // of the day
	Test   Kind = "test"   // somebody tries whether messages arrive
)

// Item is one trouble in a message.
type Item struct {
	Alert
	ClosedAt time.Time `json:"closed,omitzero"` // zero while it is open
}

// Message is what is sent: to a web hook as this JSON, by mail as text.
type Message struct {
	ID      string    `json:"id"` // the same however often it is sent
	Kind    Kind      `json:"kind"`
	At      time.Time `json:"at"`
	Opened  []Item    `json:"opened,omitempty"` // since the last one
	Closed  []Item    `json:"closed,omitempty"`
	Still   []Item    `json:"still_open,omitempty"` // told before, and losing mail today
	Counts  Counts    `json:"counts"`
	Skipped int       `json:"owners_not_written_to,omitempty"` // as there are too many at once
}

// Counts say how many there are of each, also of those that no message has room for.
type Counts struct {
	Opened int `json:"opened"`
	Closed int `json:"closed"`
	Still  int `json:"still_open"`
}

func (c Counts) none() bool { return c == Counts{} }

func newMessage(kind Kind, at time.Time) *Message {
	return &Message{ID: rand.Text(), Kind: kind, At: at.UTC().Truncate(time.Second)}
}

// one returns a message on a single trouble.
func one(i Item, at time.Time) *Message {
	if !i.ClosedAt.IsZero() {
		m := newMessage(Closed, at)
		m.Closed, m.Counts.Closed = []Item{i}, 1
		return m
	}
	m := newMessage(Opened, at)
	m.Opened, m.Counts.Opened = []Item{i}, 1
	return m
}

// item returns what a message on one trouble is about; nil for others.
func (m *Message) item() *Item {
	switch {
	case m.Kind == Opened && len(m.Opened) == 1:
		return &m.Opened[0]
	case m.Kind == Closed && len(m.Closed) == 1:
		return &m.Closed[0]
	}
	return nil
}

// subject returns the one line that is seen first.
func (m *Message) subject() string {
	i := m.item()
	switch {
	case m.Kind == Test:
		return "a test: alerts arrive here"
	case i != nil && m.Kind == Closed:
		return i.about("mended: " + i.Title)
	case i != nil:
		return i.about(i.Title)
	case m.Kind == More:
		return fmt.Sprintf("%d more that lose mail, %d mended", m.Counts.Opened, m.Counts.Closed)
	}
	return fmt.Sprintf("digest: %d new, %d mended, %d still losing mail", m.Counts.Opened, m.Counts.Closed, m.Counts.Still)
}

func (i *Item) about(what string) string {
	if i.Domain == "" {
		return what
	}
	return i.Domain + ": " + what
}
