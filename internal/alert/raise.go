package alert

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mtasts-server/internal/database"
)

const (
	// raiseBatch is how many alerts are stored at once: others write to the database too.
	raiseBatch = 500

	// atOnceADay is how often in a day one trouble is told at once: one that comes and goes
	// is told in the digest after that.
	atOnceADay = 3

	day = 24 * time.Hour
)

// How a trouble is told, or was.
const (
	notAtAll = iota
	inDigest
	atOnce
)

// row is what is kept of a trouble. told is how people learned that it is open; pending is
// how they are to learn of its opening or, if it is closed, of its closing.
type row struct {
	alert         Alert
	closed        int64 // Unix time; 0 while it is open
	told, pending int
	since         int64 // pending
	times         int   // that it was to be told at once, in the day from first on
	first         int64
}

// Raise takes alerts: those that opened, those that are open still and those that closed. When
// it returns without an error they are kept, and are told; after an error they are to be
// raised again. It waits for the database, and for no target.
func (s *Sender) Raise(ctx context.Context, alerts ...Alert) error {
	now := s.o.Now()
	checked := make([]Alert, 0, len(alerts))
	for _, a := range alerts {
		a, err := a.check(now)
		if err != nil {
			return err
		}
		checked = append(checked, a)
	}
	for batch := range slices.Chunk(checked, raiseBatch) {
		if err := s.raise(ctx, batch, now); err != nil {
			return fmt.Errorf("alert: raising %d: %w", len(alerts), err)
		}
	}
	return nil
}

// Open lists the keys that begin so of the troubles that are open, sorted: who raises them
// learns after a restart which ones it still has to close.
func (s *Sender) Open(ctx context.Context, beginning string) (keys []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	if err := s.prepareTables(ctx); err != nil {
		return nil, err
	}
	keys, err = database.List(ctx, s.o.DB, s.o.DB, func(rows *sql.Rows) (key string, err error) {
		err = rows.Scan(&key)
		return key, err
	}, "SELECT name FROM alerts WHERE closed = 0 AND substr(name, 1, ?) = ?", len(beginning), beginning)
	if err != nil {
		return nil, fmt.Errorf("alert: listing open ones: %w", err)
	}
	slices.Sort(keys)
	return keys, nil
}

func (s *Sender) raise(ctx context.Context, alerts []Alert, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	if err := s.prepareTables(ctx); err != nil {
		return err
	}
	var news []Alert // most are known, and nobody has to wait for a lock
	for _, a := range alerts {
		if next, err := s.change(ctx, s.o.DB, a, now); err != nil {
			return err
		} else if next != nil {
			news = append(news, a)
		}
	}
	if len(news) == 0 {
		return nil
	}
	defer s.wakePlanner()
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, a := range news {
			next, err := s.change(ctx, tx, a, now)
			if err == nil && next != nil {
				err = s.put(ctx, tx, next)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// change returns the row that is to be stored when a is raised; nil where nothing changes.
func (s *Sender) change(ctx context.Context, from querier, a Alert, now time.Time) (*row, error) {
	old, err := s.row(ctx, from, a.Key)
	if err != nil {
		return nil, err
	}
	next := old.next(a, now.Unix())
	if next == nil || old != nil && *next == *old {
		return nil, nil
	}
	return next, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// next returns what becomes of a row, which may be nil, when a is raised.
func (r *row) next(a Alert, now int64) *row {
	switch {
	case a.Closed && (r == nil || r.closed != 0):
		return r
	case a.Closed && a.Quiet:
		n := *r
		n.closed, n.told, n.pending = now, notAtAll, notAtAll // raised again later it is told again
		return &n
	case a.Closed:
		return r.close(max(a.At.Unix(), r.alert.At.Unix()), now)
	case r == nil:
		return (&row{alert: a}).tell(now)
	case r.closed == 0:
		return r.again(a, now)
	case r.told != notAtAll && r.pending != notAtAll: // nobody has heard that it was closed
		n := *r
		n.closed, n.pending = 0, notAtAll
		return n.again(a, now)
	}
	n := &row{alert: a, times: r.times, first: r.first}
	return n.tell(now)
}

// tell has the opening of a row told.
func (r *row) tell(now int64) *row {
	r.pending, r.since = inDigest, now
	if !r.alert.Urgent {
		return r
	}
	if now-r.first >= int64(day.Seconds()) || r.first > now+int64(clockOff.Seconds()) {
		r.first, r.times = now, 0
	}
	if r.times < atOnceADay {
		r.times++
		r.pending = atOnce
	}
	return r
}

// again returns the row with what is known today. It is told again only if it became urgent.
func (r *row) again(a Alert, now int64) *row {
	n := *r
	was := n.alert.Urgent
	a.At = n.alert.At
	n.alert = a
	switch {
	case a.Urgent && !was && n.told != atOnce && n.pending != atOnce:
		return n.tell(now)
	case !a.Urgent && n.pending == atOnce:
		n.pending = inDigest
	}
	return &n
}

func (r *row) close(at, now int64) *row {
	n := *r
	n.closed, n.pending, n.since = at, inDigest, now
	if n.told == atOnce {
		n.pending = atOnce
	}
	return &n
}

const rowColumns = "closed, told, pending, pending_since, at_once, at_once_since, body"

func (s *Sender) row(ctx context.Context, from querier, key string) (*row, error) {
	r, err := scan(from.QueryRowContext(ctx, s.o.DB.SQL("SELECT "+rowColumns+" FROM alerts WHERE name = ?"), key))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return r, err
}

func scan(from interface{ Scan(...any) error }) (*row, error) {
	var r row
	var body []byte
	if err := from.Scan(&r.closed, &r.told, &r.pending, &r.since, &r.times, &r.first, &body); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &r.alert); err != nil {
		return nil, fmt.Errorf("alert: what is kept of one: %w", err)
	}
	return &r, nil
}

func (s *Sender) put(ctx context.Context, tx *sql.Tx, r *row) error {
	body, err := json.Marshal(r.alert)
	if err != nil {
		return err
	}
	a := r.alert
	_, err = tx.ExecContext(ctx, s.o.DB.SQL(`INSERT INTO alerts (name, domain, owner, severity, urgent, event, opened, `+rowColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET domain = excluded.domain, owner = excluded.owner, severity = excluded.severity, urgent = excluded.urgent, event = excluded.event, opened = excluded.opened,
		closed = excluded.closed, told = excluded.told, pending = excluded.pending, pending_since = excluded.pending_since,
		at_once = excluded.at_once, at_once_since = excluded.at_once_since, body = excluded.body`),
		a.Key, a.Domain, a.Owner, a.Severity, truth(a.Urgent), truth(a.Event), a.At.Unix(), r.closed, r.told, r.pending, r.since, r.times, r.first, string(body))
	return err
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
