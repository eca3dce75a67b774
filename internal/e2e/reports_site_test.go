package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/app"
	"mtasts-server/internal/reports"
)

// This file is about a program that takes reports: what all tests of that need.

// reportsAt is the host of the program that takes reports.
const reportsAt = "reports.example.net"

// newReportsSite makes a site that takes reports by HTTPS, and has some domains. more goes
// on with [reports].
func newReportsSite(t testing.TB, domains int, more string) (*site, *editor) {
	t.Helper()
	s := newSite(t)
	s.append("mtasts-server.toml", fmt.Sprintf("[reports]\nhost = %q\n%s\n", reportsAt, more))
	e := newEditor(s)
	e.add(domains)
	for _, f := range e.files {
		s.replace(f.name, e.next(f))
	}
	return s, e
}

// startReports starts the server, and waits until policies are served and reports taken.
func (e *editor) startReports(t *testing.T) *program {
	t.Helper()
	p := e.s.start()
	e.newest(t, p)
	p.takesReports()
	return p
}

// takesReports waits until the server has a certificate for the host of reports.
func (p *program) takesReports() {
	p.t.Helper()
	client := p.client(false)
	eventually(p.t, "reports are taken", func() error {
		res, err := client.Get("https://" + reportsAt + "/")
		if err == nil {
			res.Body.Close()
		}
		return err
	})
}

// domain is one of an editor's first file.
func (e *editor) domain(n int) string { return e.files[0].domains[n%len(e.files[0].domains)] }

// reportDay begins the day that reports are on: yesterday.
func reportDay() time.Time { return time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1) }

// reportOn is a report of sessions that all went well, or failed.
func reportOn(domain, id string, successful, failed int) []byte {
	return reportOf(reportDay(), []string{"version: STSv1", "mode: testing"}, domain, id, successful, failed)
}

// reportOf is one on sessions of a day, under a policy.
func reportOf(day time.Time, shown []string, domain, id string, successful, failed int) []byte {
	policy := map[string]any{
		"policy":  map[string]any{"policy-type": "sts", "policy-string": shown, "policy-domain": domain},
		"summary": map[string]any{"total-successful-session-count": successful, "total-failure-session-count": failed},
	}
	if failed > 0 {
		policy["failure-details"] = []any{map[string]any{"result-type": "certificate-expired", "receiving-mx-hostname": "mx." + domain, "failed-session-count": failed}}
	}
	text, err := json.Marshal(map[string]any{
		"organization-name": "Company-X", "contact-info": "sts-reporting@sender.test", "report-id": id,
		"date-range": map[string]any{"start-datetime": day.Format(time.RFC3339), "end-datetime": day.Add(24*time.Hour - time.Second).Format(time.RFC3339)},
		"policies":   []any{policy},
	})
	if err != nil {
		panic(err) // numbers and strings
	}
	return text
}

// packed is what senders send.
func packed(data []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(data)
	if err := errors.Join(err, z.Close()); err != nil {
		panic(err) // it is in memory
	}
	return out.Bytes()
}

// post posts a report, as it is.
func post(ctx context.Context, c *http.Client, path string, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+reportsAt+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/tlsrpt+gzip")
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // one of 503 breaks off
	return res.StatusCode, nil
}

// mustPost posts reports that must be taken.
func (p *program) mustPost(c *http.Client, bodies ...[]byte) {
	p.t.Helper()
	for _, body := range bodies {
		if status, err := post(context.Background(), c, "/", packed(body)); err != nil || status != http.StatusOK {
			p.t.Fatalf("posting %.200s: %d, %v", body, status, err)
		}
	}
}

// stored opens the database beside the program, or without it, and has look look at it.
func (s *site) stored(look func(ctx context.Context, store *reports.Store)) {
	s.t.Helper()
	r, err := app.OpenReports(s.path("mtasts-server.toml"), true, func(err error) { s.t.Error(err) })
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), programPatience)
	defer cancel()
	look(ctx, r.Store)
}

// entries returns all that is stored, by report id. Each may be there once only.
func (s *site) entries() map[string]reports.Entry {
	s.t.Helper()
	byID := map[string]reports.Entry{}
	s.stored(func(ctx context.Context, store *reports.Store) {
		list, err := store.List(ctx, reports.Filter{Limit: 1 << 30})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			if _, twice := byID[e.ReportID]; twice {
				s.t.Errorf("%s is stored twice", e.ReportID)
			}
			byID[e.ReportID] = e
		}
	})
	return byID
}

// sums are what Facts has of a domain.
type sums struct{ reports, successful, failed int64 }

func (s *site) sums(domains ...string) (all sums) {
	s.t.Helper()
	s.stored(func(ctx context.Context, store *reports.Store) {
		for _, domain := range domains {
			f, err := store.Facts(ctx, domain, reportDay(), reportDay())
			if err != nil {
				s.t.Fatal(err)
			}
			for _, d := range f.Days {
				all.reports, all.successful, all.failed = all.reports+d.Reports, all.successful+d.Successful, all.failed+d.Failed
			}
		}
	})
	return all
}

// awaitStored waits until n reports are stored.
func (s *site) awaitStored(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d reports are stored", n), func() error {
		if have := len(s.entries()); have != n {
			return fmt.Errorf("there are %d", have)
		}
		return nil
	})
}

// spooled lists what waits in the spool.
func (s *site) spooled() []string {
	s.t.Helper()
	files, err := filepath.Glob(s.path("state/reports/spool/*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// awaitEmptySpool waits until the database has all that came, and nothing was damaged.
func (s *site) awaitEmptySpool() {
	s.t.Helper()
	eventually(s.t, "the spool is empty", func() error {
		if files := s.spooled(); len(files) > 0 {
			return fmt.Errorf("there is %s", strings.Join(files, ", "))
		}
		return nil
	})
}

// read returns what a file holds.
func (s *site) read(path string) string {
	s.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
