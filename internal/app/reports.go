package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Reports is what a verb beside the server sees of reports.
type Reports struct {
	Store   *reports.Store
	Domains []string // configured or published, sorted

	settings config.Settings
	archive  *archive
}

// ErrNoReports says that none ever came, so that there is no database to look at.
var ErrNoReports = errors.New("no report has come yet: there is no database of them")

// OpenReports opens the reports of the server that is configured by file. With create an
// embedded database that is not there yet is made; else it is ErrNoReports.
func OpenReports(file string, create bool, warn func(error)) (*Reports, error) {
	v, err := OpenView(file, warn)
	if err != nil {
		return nil, err
	}
	s := v.snap.Settings
	r := &Reports{settings: s, Domains: v.Names()}
	if s.Reports.Database == "" && s.Reports.DatabaseFile == "" && !create {
		if _, err := os.Stat(filepath.Join(reportsDir(s), "reports.db")); errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoReports
		}
	}
	tokens := tokensOf(r.Domains)
	r.archive, err = openArchive(s, func(domain string) bool { _, found := slices.BinarySearch(r.Domains, domain); return found },
		func(token string) string { return tokens[token] }, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		return nil, err
	}
	r.Store = r.archive.reports
	return r, nil
}

// Close ends the use of the database.
func (r *Reports) Close() { r.archive.close() }

// importAtOnce is how many files are stored at a time, and importBytes about how large
// they are together: what is read waits in memory.
const (
	importAtOnce = 500
	importBytes  = 4 << 20
)

// Imported is what became of files so far.
type Imported struct {
	Fates   map[reports.Fate]int   `json:"fates"`
	Reasons map[reports.Reason]int `json:"reasons"` // of those that were set aside
	Failed  int                    `json:"failed"`  // that could not be read
}

// Import stores what files has. It calls told after each group with what became of all so
// far, and failed for what could not be read.
func (r *Reports) Import(ctx context.Context, files *intake.Files, told func(Imported), failed func(error)) (Imported, error) {
	sum := Imported{Fates: map[reports.Fate]int{}, Reasons: map[reports.Reason]int{}}
	authenticator, err := newAuthenticator(r.settings, time.Now)
	if err != nil {
		return sum, err
	}
	var group []*reports.Arrival
	size := 0
	store := func() error {
		outcomes, err := r.Store.Put(ctx, group)
		for _, o := range outcomes {
			sum.Fates[o.Fate]++
			if o.Reason != "" {
				sum.Reasons[o.Reason]++
			}
		}
		group, size = nil, 0
		told(sum)
		return err
	}
	for a, err := range files.Arrivals(ctx) {
		switch bad := (*intake.FileError)(nil); {
		case errors.As(err, &bad):
			sum.Failed++
			failed(err)
			continue
		case err != nil:
			return sum, err
		}
		if a.Mail {
			if err := authenticate(ctx, authenticator, a); err != nil {
				return sum, err
			}
		}
		group = append(group, a)
		if size += len(a.Data); len(group) >= importAtOnce || size >= importBytes {
			if err := store(); err != nil {
				return sum, err
			}
		}
	}
	if len(group) == 0 {
		return sum, nil
	}
	return sum, store()
}

// authenticate finds out who sent a mail that is imported. A key that nobody answers for
// now counts as none: what is old has no key in DNS any more as a rule.
func authenticate(ctx context.Context, by *intake.Authenticator, a *reports.Arrival) error {
	var err error
	a.Submitter, a.Unauthenticated, err = by.Authenticate(ctx, a.Data)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.Submitter, a.Unauthenticated = "", reports.NoKey
	}
	return nil
}

func policyDomains(hosts []string) []string {
	prefix := mtasts.PolicyHost("")
	for i, host := range hosts {
		hosts[i] = strings.TrimPrefix(host, prefix)
	}
	return hosts
}

func tokensOf(domains []string) map[string]string {
	tokens := make(map[string]string, len(domains))
	for _, domain := range domains {
		tokens[tlsrpt.Token(domain)] = domain
	}
	return tokens
}
