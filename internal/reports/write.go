package reports

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mtasts-server/tlsrpt"
)

// rowsAtOnce is how many rows one statement brings: databases take some ten thousand
// arguments, and more rows gain little.
const rowsAtOnce = 100

// write stores what arrivals came to. It returns the parts that were not known, with the
// ids that they got.
func (s *Store) write(ctx context.Context, all []sifted) (map[*part]int64, error) {
	parts, asides := sorted(all)
	fresh := map[*part]int64{}
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		w := &writer{ctx, tx, s}
		for group := range slices.Chunk(parts, rowsAtOnce) {
			if err := w.reports(group, fresh); err != nil {
				return err
			}
		}
		parts = slices.DeleteFunc(parts, func(p *part) bool { _, isNew := fresh[p]; return !isNew })
		if err := w.texts(parts, fresh); err != nil {
			return err
		}
		if err := w.sums(parts); err != nil {
			return err
		}
		return w.asides(asides)
	})
	if err != nil {
		return nil, fmt.Errorf("reports: storing: %w", err)
	}
	return fresh, nil
}

// sorted returns all parts and asides, each once. All who write have the same order:
// without it two would wait for each other in PostgreSQL.
func sorted(all []sifted) ([]*part, []*aside) {
	var parts []*part
	var asides []*aside
	for _, x := range all {
		parts = append(parts, x.parts...)
		asides = append(asides, x.asides...)
	}
	slices.SortStableFunc(parts, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), a.report.Start.Compare(b.report.Start), bytes.Compare(a.digest[:], b.digest[:]))
	})
	parts = slices.CompactFunc(parts, func(a, b *part) bool { return a.digest == b.digest })
	slices.SortFunc(asides, func(a, b *aside) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	asides = slices.CompactFunc(asides, func(a, b *aside) bool { return a.digest == b.digest })
	return parts, asides
}

type writer struct {
	ctx context.Context
	tx  *sql.Tx
	s   *Store
}

// rows inserts rows of columns into table, and then does what is said behind.
func (w *writer) rows(table, columns, behind string, rows [][]any) error {
	for group := range slices.Chunk(rows, rowsAtOnce) {
		if _, err := w.tx.ExecContext(w.ctx, w.insert(table, columns, behind, len(group)), slices.Concat(group...)...); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

func (w *writer) insert(table, columns, behind string, rows int) string {
	row := "(?" + strings.Repeat(", ?", strings.Count(columns, ",")) + ")"
	return w.s.db.SQL("INSERT INTO " + table + " (" + columns + ") VALUES " + row + strings.Repeat(", "+row, rows-1) + " " + behind)
}

const reportColumns = "domain, window_start, window_end, digest, submitter, unauthenticated, channel, source, received, report_id, organization, contact, successful, failed, notes"

// reports inserts the parts that are not known, and notes them in fresh.
func (w *writer) reports(parts []*part, fresh map[*part]int64) error {
	var args []any
	byDigest := map[[16]byte]*part{}
	for _, p := range parts {
		notes, err := json.Marshal(p.report.Notes)
		if err != nil {
			return err
		}
		r, a := p.report, p.arrival
		args = append(args, p.domain, r.Start.Unix(), r.End.Unix(), p.digest[:], p.submitter, string(p.unauthenticated), string(a.Channel), bound(a.Source, 253),
			a.Received.Unix(), r.ReportID, r.OrganizationName, r.ContactInfo, p.successful, p.failed, string(notes))
		byDigest[p.digest] = p
	}
	rows, err := w.tx.QueryContext(w.ctx, w.insert("reports", reportColumns, "ON CONFLICT (domain, window_start, digest) DO NOTHING RETURNING id, digest", len(parts)), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var digest []byte
		if err := rows.Scan(&id, &digest); err != nil {
			return err
		}
		fresh[byDigest[[16]byte(digest)]] = id
	}
	return rows.Err()
}

// texts inserts what is kept of each report as it is.
func (w *writer) texts(parts []*part, ids map[*part]int64) error {
	var details, raw [][]any
	for _, p := range parts {
		details = append(details, []any{ids[p], p.details})
		raw = append(raw, []any{ids[p], p.raw})
	}
	if err := w.rows("report_details", "report, data", "", details); err != nil {
		return err
	}
	return w.rows("report_raw", "report, data", "", raw)
}

// plus is how a sum grows, and where it ends: a stranger's numbers must not overflow it.
func plus(table, column string) string {
	return fmt.Sprintf("%[2]s = CASE WHEN %[1]s.%[2]s > %[3]d - excluded.%[2]s THEN %[3]d ELSE %[1]s.%[2]s + excluded.%[2]s END", table, column, int64(tlsrpt.MaxSessions))
}

// sums adds what parts have to the sums of their days.
func (w *writer) sums(parts []*part) error {
	days, failures := map[dayKey]*daySum{}, map[failureKey]int64{}
	for _, p := range parts {
		addDays(days, p)
		addFailures(failures, p)
	}
	err := w.rows("report_days", "domain, day, submitter, authenticated, policy_type, policy, reports, successful, failed",
		"ON CONFLICT (domain, day, submitter, authenticated, policy_type, policy) DO UPDATE SET "+
			strings.Join([]string{plus("report_days", "reports"), plus("report_days", "successful"), plus("report_days", "failed")}, ", "), dayRows(days))
	if err != nil {
		return err
	}
	return w.rows("report_failures", "domain, day, submitter, authenticated, policy_type, result_type, mx, sessions",
		"ON CONFLICT (domain, day, submitter, authenticated, policy_type, result_type, mx) DO UPDATE SET "+plus("report_failures", "sessions"), failureRows(failures))
}

func (w *writer) asides(asides []*aside) error {
	var rows [][]any
	for _, x := range asides {
		data := x.data
		if data == nil {
			data = []byte{}
		}
		rows = append(rows, []any{
			x.digest[:], x.arrival.Received.Unix(), string(x.arrival.Channel), bound(x.arrival.Source, 253), x.arrival.Submitter,
			x.domain, string(x.reason), x.detail, int64(len(x.arrival.Data)), data,
		})
	}
	return w.rows("report_asides", "digest, received, channel, source, submitter, domain, reason, detail, size, data", "ON CONFLICT (digest) DO NOTHING", rows)
}

// setAside stores an arrival as one that cannot be used.
func (s *Store) setAside(ctx context.Context, a *Arrival, reason Reason, why error) error {
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	_, err := s.write(ctx, []sifted{{asides: []*aside{newAside(a, sha256.Sum256(a.Data), "", reason, why.Error(), a.Data)}}})
	return err
}
