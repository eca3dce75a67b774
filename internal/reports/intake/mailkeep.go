package intake

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-smtp"

	"mtasts-server/internal/reports"
)

// failed counts why a mail was not read, and says it to the sender.
func (m *Mail) failed(err error) error {
	outcome, reply := mailCutOff, errCutOff
	switch {
	case errors.Is(err, smtp.ErrDataTooLarge):
		outcome, reply = mailTooLarge, smtp.ErrDataTooLarge
	case errors.Is(err, smtp.ErrTooLongLine):
		outcome, reply = mailLongLine, errLongLine
	case errors.Is(err, errNoPlace):
		outcome, reply = mailNoPlace, errBusy
	}
	m.metrics.count(outcome)
	return reply
}

// keep delivers, and says to the sender how that went.
func (m *Mail) keep(ctx context.Context, a *reports.Arrival) error {
	if err := m.deliver(ctx, a); err != nil {
		m.metrics.count(mailNotKept)
		m.complain(err)
		return errNotKept
	}
	m.metrics.count(mailTaken)
	return nil
}

// complainEvery bounds the log while nothing can be kept, whoever sends how much.
const complainEvery = time.Minute

func (m *Mail) complain(err error) {
	now, last := m.now().UnixNano(), m.complained.Load()
	if last != 0 && now-last < int64(complainEvery) || !m.complained.CompareAndSwap(last, now) {
		return
	}
	m.log.Warn("a report by mail was not kept: its sender was asked to try again", "err", err)
}
