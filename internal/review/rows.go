package review

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

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
