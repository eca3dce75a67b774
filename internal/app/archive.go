package app

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/database"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
)

// archive is the database, and what the rooms keep in it: evidence. Policies do without.
type archive struct {
	db      *database.DB
	reports *reports.Store
	looks   *review.Store
}

func reportsDir(s config.Settings) string { return filepath.Join(s.State, "reports") }

// wantsArchive reports whether anything is to be kept.
func wantsArchive(s config.Settings) bool {
	return s.Reports.Receives() || s.Review.On || s.Alerts.Sends()
}

// openArchive does not wait for the database.
func openArchive(s config.Settings, known func(domain string) bool, byToken func(token string) string, log *slog.Logger, now func() time.Time) (*archive, error) {
	a := &archive{}
	var err error
	if a.db, err = openDatabase(s); err != nil {
		return nil, err
	}
	k := s.Reports.Keep
	a.reports, err = reports.New(reports.Options{
		DB: a.db, Known: known, DomainOf: byToken, Now: now, Log: log,
		Keep: reports.Keep{Raw: k.Raw, Details: k.Details, Sums: k.Sums, Asides: k.Asides},
	})
	if err != nil {
		return nil, err
	}
	a.looks, err = review.NewStore(review.StoreOptions{DB: a.db, Now: now})
	return a, err
}

func (a *archive) close() {
	if a != nil {
		a.db.Close()
	}
}

// openDatabase opens where evidence is kept.
func openDatabase(s config.Settings) (*database.DB, error) {
	url, err := secretOf(s.Reports.Database, s.Reports.DatabaseFile)
	if err != nil {
		return nil, fmt.Errorf("reports.database_file: %w", err)
	}
	return database.Open(database.Options{URL: url, File: filepath.Join(reportsDir(s), "reports.db")})
}
