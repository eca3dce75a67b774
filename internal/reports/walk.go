package reports

import (
	"context"
	"errors"
	"time"
)

// walkPage is how many reports are listed at a time on a walk: some hundred kilobytes.
const walkPage = 500

// Walk calls each for the reports of domain whose windows begin at since or later, the
// oldest first, with all that is left of them. It ends at the first error. What comes in
// meanwhile may be among them or not.
func (s *Store) Walk(ctx context.Context, domain string, since time.Time, each func(*Whole) error) error {
	from, after := since.Unix(), int64(0)
	for {
		page, err := s.page(ctx, domain, from, after)
		if err != nil {
			return err
		}
		for i := range page {
			w, err := s.Show(ctx, page[i].ID)
			if errors.Is(err, ErrNotFound) { // given up meanwhile
				continue
			}
			if err != nil {
				return err
			}
			if err := each(w); err != nil {
				return err
			}
		}
		if len(page) < walkPage {
			return nil
		}
		last := page[len(page)-1]
		from, after = last.Start.Unix(), last.ID.Number
	}
}

// page lists reports behind one that is named by its window and number.
func (s *Store) page(ctx context.Context, domain string, from, after int64) ([]Entry, error) {
	if err := s.Prepare(ctx); err != nil {
		return nil, err
	}
	return list(ctx, s, listEntry, "SELECT "+entryColumns+` FROM reports
		WHERE domain = ? AND window_start >= ? AND (window_start > ? OR id > ?) ORDER BY window_start, id LIMIT ?`, domain, from, from, after, walkPage)
}
