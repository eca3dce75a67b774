package review

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"mtasts-server/internal/database"
)

const (
	// atOnce is how many rows one statement brings: databases take some ten thousand
	// arguments, and more rows gain little.
	atOnce = 200

	// never is when a domain is due that nobody schedules: the year 9999 and some.
	never = 1 << 38

	// maxKept bounds findings of a domain, with those that are closed: what is named in DNS
	// can be named otherwise each day. The oldest closed ones go.
	maxKept = 1000
)

// recorder stores looks within one transaction.
type recorder struct {
	ctx context.Context
	tx  *sql.Tx
	db  *database.DB
	now time.Time
}

// due is when a domain is looked at next, and in which lane.
type due struct {
	at   int64
	lane lane
}

func (r *recorder) record(all []Seen) ([]Changes, error) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	// All who write have the same order: without it two would wait for each other.
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(all[a].Domain, all[b].Domain) })
	changes := make([]Changes, len(all))
	for group := range slices.Chunk(order, atOnce) {
		if err := r.group(all, group, changes); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

func (r *recorder) group(all []Seen, group []int, changes []Changes) error {
	domains := make([]any, len(group))
	for i, n := range group {
		if domains[i] = all[n].Domain; !storable(all[n].Domain) || i > 0 && domains[i] == domains[i-1] {
			return fmt.Errorf("a look at %q cannot be stored: no name, or twice at a time", bounded(all[n].Domain, maxName))
		}
	}
	memories, dues, err := r.load(domains)
	if err != nil {
		return err
	}
	var states, findings [][]any
	for _, n := range group {
		l := all[n].Look
		l.At = l.At.UTC().Truncate(time.Second)
		m, d := memories[all[n].Domain], dues[all[n].Domain]
		m.setRight(r.now.UTC().Truncate(time.Second))
		m.see(l)
		// Who is due already was touched while it was looked at, and has to be looked at again.
		if all[n].next != nil && d.at > r.now.Unix() {
			d = due{all[n].next(m).Unix(), all[n].lane(m)}
		}
		row, err := stateRow(m, d)
		if err != nil {
			return err
		}
		states = append(states, row)
		for _, f := range m.dirty {
			findings = append(findings, findingRow(f))
		}
		changes[n] = m.changes
	}
	return errors.Join(r.write(states, findings), r.prune(all, group, changes))
}

// storable reports whether s can be a domain: configured ones are.
func storable(s string) bool { return s != "" && bounded(s, maxName) == s }

// load returns what is stored of domains, and keeps others from changing it meanwhile.
func (r *recorder) load(domains []any) (map[string]*memory, map[string]due, error) {
	memories, dues := make(map[string]*memory, len(domains)), make(map[string]due, len(domains))
	if err := r.loadStates(domains, memories, dues); err != nil {
		return nil, nil, err
	}
	if len(memories) < len(domains) { // looked at for the first time
		var fresh [][]any
		for _, d := range domains {
			if memories[d.(string)] == nil {
				fresh = append(fresh, []any{d, int64(never), 0, 0, 0, 0, 0, 0, "[]"})
			}
		}
		if err := r.rows("review_domains", stateColumns, "ON CONFLICT (domain) DO NOTHING", fresh); err != nil {
			return nil, nil, err
		}
		if err := r.loadStates(domains, memories, dues); err != nil {
			return nil, nil, err
		}
	}
	return memories, dues, r.loadFindings(domains, memories)
}

func (r *recorder) loadStates(domains []any, memories map[string]*memory, dues map[string]due) error {
	query := "SELECT " + stateColumns + " FROM review_domains WHERE domain IN (" + marks(len(domains)) + ") ORDER BY domain"
	if r.db.Postgres() {
		query += " FOR UPDATE" // SQLite has one writer at a time
	}
	rows, err := r.tx.QueryContext(r.ctx, r.db.SQL(query), domains...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		m, d, err := scanState(rows)
		if err != nil {
			return err
		}
		memories[m.Domain], dues[m.Domain] = m, d
	}
	return rows.Err()
}

func (r *recorder) loadFindings(domains []any, memories map[string]*memory) error {
	rows, err := r.tx.QueryContext(r.ctx, r.db.SQL("SELECT "+findingColumns+" FROM review_findings WHERE domain IN ("+marks(len(domains))+
		") AND (closed = 0 OR closed >= ?) ORDER BY domain, code, subject, first_seen"), append(slices.Clone(domains), r.now.Add(-2*reopenWithin).Unix())...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		f, err := scanFinding(rows)
		if err != nil {
			return err
		}
		memories[f.Domain].rows = append(memories[f.Domain].rows, f)
	}
	return rows.Err()
}

func (r *recorder) write(states, findings [][]any) error {
	return errors.Join(
		r.rows("review_domains", stateColumns, "ON CONFLICT (domain) DO UPDATE SET "+excluded(stateColumns), states),
		r.rows("review_findings", findingColumns, "ON CONFLICT (domain, code, subject, first_seen) DO UPDATE SET "+excluded(findingColumns), findings),
	)
}

// prune gives up the oldest closed findings of domains that have many and got a new one.
func (r *recorder) prune(all []Seen, group []int, changes []Changes) error {
	var opened []any
	for _, n := range group {
		if len(changes[n].Opened) > 0 {
			opened = append(opened, all[n].Domain)
		}
	}
	if len(opened) == 0 {
		return nil
	}
	full, err := r.full(opened)
	if err != nil {
		return err
	}
	for _, domain := range full {
		_, err := r.tx.ExecContext(r.ctx, r.db.SQL(`DELETE FROM review_findings WHERE domain = ? AND closed > 0 AND closed <= (
			SELECT closed FROM review_findings WHERE domain = ? AND closed > 0 ORDER BY closed DESC LIMIT 1 OFFSET ?)`), domain, domain, maxKept-maxOpen-maxOpen)
		if err != nil {
			return err
		}
	}
	return nil
}

// full returns which of domains have too many findings.
func (r *recorder) full(domains []any) ([]string, error) {
	return database.List(r.ctx, r.db, r.tx, scanName,
		"SELECT domain FROM review_findings WHERE domain IN ("+marks(len(domains))+") GROUP BY domain HAVING count(*) > ?", append(domains, maxKept-maxOpen)...)
}
