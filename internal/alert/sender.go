package alert

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mtasts-server/internal/database"
)

//go:embed steps/*.sql
var stepFiles embed.FS

const (
	// DefaultDigest is the time of day of the digest, after midnight UTC.
	DefaultDigest = 7 * time.Hour

	// lookEvery is how often it is looked whether something is to be told or sent: several
	// processes may have one database, so that a call of Raise elsewhere wakes nobody here.
	lookEvery = 30 * time.Second

	// databaseFor is how long a database may take before it counts as broken.
	databaseFor = time.Minute
)

// Options of a Sender. DB, Now and a channel are required.
type Options struct {
	DB      *database.DB
	Webhook *Webhook      // or nil
	Mail    *Mail         // or nil
	Digest  time.Duration // time of day, after midnight UTC, of the digest; see DefaultDigest
	Now     func() time.Time
	Log     *slog.Logger // nil discards
}

// Sender tells people of alerts. What was raised survives a restart, and each message is sent
// at least once to each target: after a crash in the middle of sending it is sent again, with
// the same id. Several processes may do so on one database; a message is sent by one of them.
type Sender struct {
	o        Options
	channels []*channel
	metrics  *metrics
	wake     chan struct{} // the planner

	database health // as the planner and each channel find it
}

// New returns a Sender whose Run is to be called. It does not wait for the database.
func New(o Options) (*Sender, error) {
	switch {
	case o.DB == nil || o.Now == nil:
		return nil, errors.New("alert: an option is missing")
	case o.Webhook == nil && o.Mail == nil:
		return nil, errors.New("alert: want a web hook or mail to send by")
	case o.Digest < 0 || o.Digest >= day:
		return nil, fmt.Errorf("alert: want a time of day for the digest, have %s", o.Digest)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{o: o, wake: make(chan struct{}, 1)}
	if o.Webhook != nil {
		s.channels = append(s.channels, newChannel("webhook", o.Webhook))
	}
	if o.Mail != nil {
		s.channels = append(s.channels, newChannel("mail", o.Mail))
	}
	s.metrics = newMetrics(s.channels)
	poke(s.wake) // what was left by the last run
	return s, nil
}

// Run tells and sends, until ctx is done.
func (s *Sender) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	for _, c := range s.channels {
		wait.Go(func() { // of its own, so that a dead target holds up no other
			for again(ctx, c.wake) {
				s.say(ctx, c.name, s.deliver(ctx, c))
			}
		})
	}
	for again(ctx, s.wake) {
		s.say(ctx, "plan", s.plan(ctx))
		s.wakeChannels()
	}
	return nil
}

// again waits until there may be something to do; false when ctx is done.
func again(ctx context.Context, wake <-chan struct{}) bool {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

func (s *Sender) wakePlanner() { poke(s.wake) }

func (s *Sender) wakeChannels() {
	for _, c := range s.channels {
		poke(c.wake)
	}
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is woken already
	}
}

// write has f change the database. All who plan or raise, in whatever process, do so one after
// the other: what is told is told once.
func (s *Sender) write(ctx context.Context, f func(*sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	if err := s.prepareTables(ctx); err != nil {
		return err
	}
	return s.o.DB.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE alert_turns SET at = at WHERE name = 'digest'"); err != nil {
			return err
		}
		return f(tx)
	})
}

func (s *Sender) prepareTables(ctx context.Context) error {
	return s.o.DB.Migrate(ctx, "alert", stepFiles)
}

// say notes how the database is, and tells of it when it changes.
func (s *Sender) say(ctx context.Context, who string, err error) {
	if ctx.Err() != nil || !s.database.note(who, err, s.o.Now()) {
		return
	}
	if err != nil {
		s.o.Log.Error("alerts wait, as the database does not answer", "err", err)
		return
	}
	s.o.Log.Info("the database answers again, and alerts go on")
}

// Trouble says what is not as it should be, in one line each.
func (s *Sender) Trouble() []string {
	lines := s.database.lines("alerts wait for the database")
	for _, c := range s.channels {
		lines = append(lines, c.troubles(s.o.Now())...)
	}
	return lines
}
