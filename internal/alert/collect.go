package alert

import (
	"encoding/json"
	"strings"
	"time"
)

func (r *row) item() Item {
	i := Item{Alert: r.alert}
	if r.closed != 0 {
		i.ClosedAt = time.Unix(r.closed, 0).UTC()
	}
	return i
}

// worstFirst is the order within a message: "error" stands before "warning".
const worstFirst = " ORDER BY urgent DESC, severity, domain, name"

func (p *planner) rows(where string, most int64, args ...any) ([]*row, error) {
	found, err := p.tx.QueryContext(p.ctx, p.s.o.DB.SQL("SELECT "+rowColumns+" FROM alerts WHERE "+where+" LIMIT ?"), append(args, most)...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var rows []*row
	for found.Next() {
		r, err := scan(found)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, found.Err()
}

// collect sends one message on all rows of which where is true, and to owners one on theirs.
func (p *planner) collect(kind Kind, where string) error {
	m, err := p.gather(kind, where)
	if err != nil || m.Counts.none() {
		return err
	}
	owners, skipped, err := p.owners(kind, where)
	if err != nil {
		return err
	}
	m.Skipped = skipped
	if err := p.send(m, ""); err != nil {
		return err
	}
	for _, owner := range owners {
		theirs, err := p.gather(kind, where, owner)
		if err == nil {
			err = p.sendOwner(theirs, owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gather returns a message on all rows of which where is true, or on those of one owner.
func (p *planner) gather(kind Kind, where string, owner ...string) (*Message, error) {
	m := newMessage(kind, p.now)
	args := make([]any, 0, 1)
	mine := ""
	if len(owner) > 0 {
		mine, args = " AND owner = ?", []any{owner[0]}
	}
	for _, part := range []struct {
		items *[]Item
		count *int
		where string
	}{
		{&m.Opened, &m.Counts.Opened, where + " AND closed = 0"},
		{&m.Closed, &m.Counts.Closed, where + " AND closed > 0"},
		{&m.Still, &m.Counts.Still, stillOpen},
	} {
		if part.count == &m.Counts.Still && kind != Digest {
			continue
		}
		n, err := p.number("SELECT count(*) FROM alerts WHERE "+part.where+mine, args...)
		if err != nil {
			return nil, err
		}
		rows, err := p.rows(part.where+mine+worstFirst, listed, args...)
		if err != nil {
			return nil, err
		}
		*part.count = int(n)
		for _, r := range rows {
			*part.items = append(*part.items, r.item())
		}
	}
	return m, nil
}

// stillOpen are those that each digest names.
const stillOpen = "urgent = 1 AND closed = 0 AND pending = 0"

// owners returns the addresses that are to have a message of their own.
func (p *planner) owners(kind Kind, where string) (owners []string, skipped int, err error) {
	if p.s.o.Mail == nil || !p.s.o.Mail.o.ToOwners {
		return nil, 0, nil
	}
	if kind == Digest {
		where = "(" + where + " OR " + stillOpen + ")"
	}
	found, err := p.tx.QueryContext(p.ctx, "SELECT DISTINCT owner FROM alerts WHERE "+where+" AND owner LIKE '%@%' ORDER BY owner")
	if err != nil {
		return nil, 0, err
	}
	defer found.Close()
	for found.Next() {
		var owner string
		if err := found.Scan(&owner); err != nil {
			return nil, 0, err
		}
		switch {
		case !p.s.o.Mail.writesTo(owner):
		case len(owners) < ownersAtOnce:
			owners = append(owners, owner)
		default:
			skipped++
		}
	}
	return owners, skipped, found.Err()
}

// send queues m for all targets, and for its owner if that is an address to write to.
func (p *planner) send(m *Message, owner string) error {
	if p.s.o.Webhook != nil {
		if err := p.queue(m, "webhook", ""); err != nil {
			return err
		}
	}
	if p.s.o.Mail == nil {
		return nil
	}
	for _, to := range p.s.o.Mail.o.To {
		if err := p.queue(m, "mail", to); err != nil {
			return err
		}
	}
	if p.s.o.Mail.o.ToOwners && p.s.o.Mail.writesTo(owner) {
		return p.sendOwner(m, owner)
	}
	return nil
}

func (p *planner) sendOwner(m *Message, owner string) error {
	return p.queue(m, "mail", strings.TrimSpace(owner))
}

func (p *planner) queue(m *Message, channel, recipient string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return p.exec("INSERT INTO alert_messages (message, kind, channel, recipient, made, state, tries, next, body) VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, ?)",
		m.ID, string(m.Kind), channel, recipient, p.now.Unix(), p.now.Unix(), string(body))
}
