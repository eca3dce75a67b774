package reports

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mtasts-server/internal/database"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// ID names a stored report. It has the policy domain in it: nobody reads another's by a
// number that is off by one.
type ID struct {
	Domain string
	Number int64
}

// String prints "example.com/17".
func (id ID) String() string { return id.Domain + "/" + strconv.FormatInt(id.Number, 10) }

// MarshalText prints an ID in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseID reads what String prints.
func ParseID(s string) (ID, error) {
	domain, number, found := strings.Cut(s, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil || n < 1 {
		return ID{}, fmt.Errorf("%q is no report: write it as `reports list` prints it, as example.com/17", s)
	}
	if domain, err = mtasts.ParseDomain(domain); err != nil {
		return ID{}, fmt.Errorf("%q is no report: %w", s, err)
	}
	return ID{domain, n}, nil
}

// Entry is what is known of a report without looking into it.
type Entry struct {
	ID              ID              `json:"id"`
	Start           time.Time       `json:"start"`
	End             time.Time       `json:"end"`
	Received        time.Time       `json:"received"`
	Submitter       string          `json:"submitter"`                 // as authenticated, or as it says
	Unauthenticated Unauthenticated `json:"unauthenticated,omitempty"` // why nobody knows who sent it
	Channel         Channel         `json:"channel"`
	Source          string          `json:"source"`
	ReportID        string          `json:"report_id"`
	Organization    string          `json:"organization"`
	Contact         string          `json:"contact,omitempty"`
	Successful      int64           `json:"successful"` // sessions
	Failed          int64           `json:"failed"`     // sessions
	Notes           []tlsrpt.Note   `json:"notes,omitempty"`
}

const entryColumns = "id, domain, window_start, window_end, received, submitter, unauthenticated, channel, source, report_id, organization, contact, successful, failed, notes"

// Filter says which reports.
type Filter struct {
	Domain  string    // "" for everybody's: for who runs the server
	Since   time.Time // windows that begin then, or later
	Failing bool      // only those that tell of failures
	Limit   int       // at most; newest first
}

// List returns reports, the newest windows first; of everybody's the newest arrivals.
func (s *Store) List(ctx context.Context, f Filter) ([]Entry, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	query, args := "SELECT "+entryColumns+" FROM reports WHERE window_start >= ?", []any{f.Since.Unix()}
	order := " ORDER BY id DESC LIMIT ?"
	if f.Domain == "" && !f.Since.IsZero() { // without an index by time: what came before the windows begin is not looked at
		before, err := s.before(ctx, "reports", f.Since.Add(-ahead))
		if err != nil {
			return nil, err
		}
		query += " AND id > ?"
		args = append(args, before)
	}
	if f.Domain != "" {
		query += " AND domain = ?"
		args = append(args, f.Domain)
		order = " ORDER BY window_start DESC, id DESC LIMIT ?"
	}
	if f.Failing {
		query += " AND failed > 0"
	}
	return list(ctx, s, listEntry, query+order, append(args, f.Limit)...)
}

func listEntry(rows *sql.Rows) (Entry, error) {
	e, err := scanEntry(rows)
	if err != nil {
		return Entry{}, err
	}
	return *e, nil
}

// list is database.List, in the words of this room.
func list[T any](ctx context.Context, s *Store, scan func(*sql.Rows) (T, error), statement string, args ...any) ([]T, error) {
	all, err := database.List(ctx, s.db, s.db, scan, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return all, nil
}

func scanEntry(row interface{ Scan(...any) error }) (*Entry, error) {
	var e Entry
	var start, end, received int64
	var notes string
	err := row.Scan(&e.ID.Number, &e.ID.Domain, &start, &end, &received, &e.Submitter, &e.Unauthenticated, &e.Channel, &e.Source,
		&e.ReportID, &e.Organization, &e.Contact, &e.Successful, &e.Failed, &notes)
	if err != nil {
		return nil, err
	}
	e.Start, e.End, e.Received = time.Unix(start, 0).UTC(), time.Unix(end, 0).UTC(), time.Unix(received, 0).UTC()
	if err := json.Unmarshal([]byte(notes), &e.Notes); err != nil {
		return nil, fmt.Errorf("the notes on %s: %w", e.ID, err)
	}
	return &e, nil
}

// Whole is a report with all that is left of it.
type Whole struct {
	Entry
	Report *tlsrpt.Report `json:"report"` // nil: given up, as it is old
	Raw    []byte         `json:"-"`      // as it came, unpacked; nil: given up
}

// ErrNotFound says that there is no such report, or no more.
var ErrNotFound = errors.New("there is no such report, or no more")

// Show returns one report.
func (s *Store) Show(ctx context.Context, id ID) (*Whole, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	e, err := scanEntry(s.db.QueryRowContext(ctx, s.db.SQL("SELECT "+entryColumns+" FROM reports WHERE domain = ? AND id = ?"), id.Domain, id.Number))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	w := &Whole{Entry: *e}
	details, err := s.text(ctx, "report_details", id)
	if err != nil {
		return nil, err
	}
	if w.Raw, err = s.text(ctx, "report_raw", id); err != nil || details == nil {
		return w, err
	}
	if w.Report, err = tlsrpt.ParseReport(details); err != nil {
		return nil, fmt.Errorf("reports: details of %s: %w", id, err)
	}
	w.Report.Notes = w.Notes
	return w, nil
}

// text returns what table has of a report; nil for nothing.
func (s *Store) text(ctx context.Context, table string, id ID) ([]byte, error) {
	var data []byte
	err := s.db.QueryRowContext(ctx, s.db.SQL("SELECT data FROM "+table+" WHERE report = ?"), id.Number).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	return unpack(data), nil
}

// AsideEntry is something that was set aside.
type AsideEntry struct {
	Number    int64     `json:"number"`
	Received  time.Time `json:"received"`
	Channel   Channel   `json:"channel"`
	Source    string    `json:"source"`
	Submitter string    `json:"submitter,omitempty"` // authenticated
	Domain    string    `json:"domain,omitempty"`    // as it says
	Reason    Reason    `json:"reason"`
	Detail    string    `json:"detail,omitempty"`
	Size      int64     `json:"size"` // bytes, as it came
	Data      []byte    `json:"-"`    // the first of them; of Asides nil
}

const asideColumns = "id, received, channel, source, submitter, domain, reason, detail, size"

func scanAside(row interface{ Scan(...any) error }, more ...any) (*AsideEntry, error) {
	var e AsideEntry
	var received int64
	if err := row.Scan(append([]any{&e.Number, &received, &e.Channel, &e.Source, &e.Submitter, &e.Domain, &e.Reason, &e.Detail, &e.Size}, more...)...); err != nil {
		return nil, err
	}
	e.Received = time.Unix(received, 0).UTC()
	return &e, nil
}

func listAside(rows *sql.Rows) (AsideEntry, error) {
	e, err := scanAside(rows)
	if err != nil {
		return AsideEntry{}, err
	}
	return *e, nil
}

// Asides returns what was set aside, the newest first. It is for who runs the server.
func (s *Store) Asides(ctx context.Context, limit int) ([]AsideEntry, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	return list(ctx, s, listAside, "SELECT "+asideColumns+" FROM report_asides ORDER BY id DESC LIMIT ?", limit)
}

// ShowAside returns one thing that was set aside, with what is kept of it.
func (s *Store) ShowAside(ctx context.Context, number int64) (*AsideEntry, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	var data []byte
	e, err := scanAside(s.db.QueryRowContext(ctx, s.db.SQL("SELECT "+asideColumns+", data FROM report_asides WHERE id = ?"), number), &data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("aside/%d: %w", number, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reports: %w", err)
	}
	e.Data = data
	return e, nil
}
