package review

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	for _, n := range group {
		if len(changes[n].Opened) == 0 {
			continue
		}
		_, err := r.tx.ExecContext(r.ctx, r.db.SQL(`DELETE FROM review_findings WHERE domain = ? AND closed > 0 AND closed <= (
			SELECT closed FROM review_findings WHERE domain = ? AND closed > 0 ORDER BY closed DESC LIMIT 1 OFFSET ?)`), all[n].Domain, all[n].Domain, maxKept-maxOpen)
		if err != nil {
			return err
		}
	}
	return nil
}

// rows inserts rows.
func (r *recorder) rows(table, columns, conflict string, rows [][]any) error {
	for group := range slices.Chunk(rows, atOnce) {
		tuple := "(" + marks(len(group[0])) + ")"
		query := "INSERT INTO " + table + " (" + columns + ") VALUES " + tuple + strings.Repeat(", "+tuple, len(group)-1) + " " + conflict
		if _, err := r.tx.ExecContext(r.ctx, r.db.SQL(query), slices.Concat(group...)...); err != nil {
			return err
		}
	}
	return nil
}

// marks is "?, ?, ?" for n arguments.
func marks(n int) string { return "?" + strings.Repeat(", ?", n-1) }

// excluded sets all columns to what was to be inserted.
func excluded(columns string) string {
	var sets []string
	for c := range strings.SplitSeq(columns, ", ") {
		sets = append(sets, c+" = excluded."+c)
	}
	return strings.Join(sets, ", ")
}

const stateColumns = "domain, due, lane, looked, ok, unknown_since, changed, tlsrpt_since, mx"

func stateRow(m *memory, d due) ([]any, error) {
	sets := make([]storedSet, len(m.MX))
	for i, set := range m.MX {
		sets[i] = storedSet{set.Since.Unix(), set.Hosts}
	}
	mx, err := json.Marshal(sets)
	ok := 0
	if m.OK {
		ok = 1
	}
	return []any{m.Domain, d.at, int(d.lane), unix(m.Looked), ok, unix(m.UnknownSince), unix(m.changed), unix(m.TLSRPTSince), string(mx)}, err
}

// storedSet is an MXSet in a column.
type storedSet struct {
	Since int64    `json:"since"`
	Hosts []string `json:"hosts"`
}

type scanner interface{ Scan(...any) error }

func scanState(row scanner) (*memory, due, error) {
	var m memory
	var d due
	var looked, unknown, changed, tlsrpt int64
	var mx string
	if err := row.Scan(&m.Domain, &d.at, &d.lane, &looked, &m.OK, &unknown, &changed, &tlsrpt, &mx); err != nil {
		return nil, due{}, err
	}
	m.Looked, m.UnknownSince, m.changed, m.TLSRPTSince = fromUnix(looked), fromUnix(unknown), fromUnix(changed), fromUnix(tlsrpt)
	var sets []storedSet
	if err := json.Unmarshal([]byte(mx), &sets); err != nil {
		return nil, due{}, fmt.Errorf("MX sets of %q: %w", m.Domain, err)
	}
	for _, set := range sets {
		m.MX = append(m.MX, MXSet{fromUnix(set.Since), set.Hosts})
	}
	return &m, d, nil
}

const findingColumns = "domain, code, subject, first_seen, last_seen, missed, closed, times, looks, severity, owner, text, evidence, fix, rule"

func findingRow(f *row) []any {
	return []any{
		f.Domain, f.Code, f.Subject, unix(f.FirstSeen), unix(f.LastSeen), unix(f.missed), unix(f.Closed), f.Times, f.Looks,
		string(f.Severity), string(f.Owner), f.Text, f.Evidence, f.Fix, f.Rule,
	}
}

func scanFinding(r scanner) (*row, error) {
	var f row
	var first, last, missed, closed int64
	err := r.Scan(&f.Domain, &f.Code, &f.Subject, &first, &last, &missed, &closed, &f.Times, &f.Looks, &f.Severity, &f.Owner, &f.Text, &f.Evidence, &f.Fix, &f.Rule)
	f.FirstSeen, f.LastSeen, f.missed, f.Closed = fromUnix(first), fromUnix(last), fromUnix(missed), fromUnix(closed)
	return &f, err
}
