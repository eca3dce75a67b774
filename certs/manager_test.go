package certs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// manage runs m, which is serving, until end.
func manage(t *testing.T, m *Manager) (end func()) {
	m.o.Dir = t.TempDir()
	m.start = func() (func(), error) { return func() {}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		check(t, <-ended)
	}
}

func TestRunWritesDownWhoFails(t *testing.T) {
	for _, c := range []struct {
		why string
		run time.Duration
		end bool // before one looks
	}{
		{"before a kill", saveEvery + time.Second, false},
		{"at the end", time.Second, true},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.e.onOrder = refuse
				m := serving(t, w, host)
				end := manage(t, m)
				pass(c.run)
				if c.end {
					end()
				}
				got, err := readAttempts(m.attemptsFile())
				if err != nil || got[host].Failures != 1 || got[host].Error != errRefused.Error() {
					t.Errorf("%v, %v", got, err)
				}
				if !c.end {
					end()
				}
			})
		})
	}
}

// Not at the start, when a configuration may have a mistake in it; and never what
// is ours.
func TestRunSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		m := serving(t, newWorld(t, 2, false), host)
		m.sweeps = append(m.sweeps, func(_ context.Context, ours func(string) bool, now time.Time) (int, error) {
			at = append(at, now.Sub(began))
			if !ours(host) || ours("b.example.com") {
				t.Error("it takes ours for others', or others' for ours")
			}
			return 1, errDisk
		})
		end := manage(t, m)
		pass(50 * time.Hour)
		end()
		if want := []time.Duration{time.Hour, 25 * time.Hour, 49 * time.Hour}; !slices.Equal(at, want) {
			t.Errorf("swept after %v, want %v", at, want)
		}
	})
}

func TestRunThatCannotStart(t *testing.T) {
	w := newWorld(t, 2, false)
	m := serving(t, w, host)
	m.start = func() (func(), error) { return nil, errDisk }
	if err := m.Run(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
}

// One host each: fine, failing with nothing, failing with a good certificate,
// expired, not tried yet, and held back by preflight.
func TestStatusSummaryAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const good, bad, stale, expired, waiting, held = "a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com", "f.example.com"
		w := newWorld(t, 4, true)
		watch(w).set(held, nowhere)
		w.e.onStored = func(_ context.Context, host string) (*certificate, error) {
			switch host {
			case stale:
				return aged(90*day, 80*day), nil
			case expired:
				return aged(90*day, 91*day), nil
			}
			return nil, errUnusable
		}
		w.e.onOrder = func(ctx context.Context, host string, cur *certificate) (*certificate, error) {
			switch host {
			case good:
				return issue(ctx, host, cur)
			case waiting:
				return hang(ctx, host, cur)
			}
			return refuse(ctx, host, cur)
		}
		m := serving(t, w, good, bad, stale, expired, waiting, held)
		defer manage(t, m)()
		pass(time.Minute)

		now := time.Now()
		type row struct {
			host     string
			state    State
			failures int
			err      string
			left     time.Duration // until it expires, in days
			planned  bool
		}
		var got []row
		for _, h := range m.Status() {
			r := row{h.Host, h.State, h.Failures, h.LastError, 0, !h.NextAttempt.IsZero()}
			if !h.NotAfter.IsZero() {
				r.left = h.NotAfter.Sub(now).Round(day) / day
			}
			got = append(got, r)
			if h.Source != SourceCertmagic || (h.Issuer == "fake") != !h.NotAfter.IsZero() || r.planned && h.NextAttempt.Before(now) || h.Held != (h.Host == held) {
				t.Errorf("%+v", h)
			}
		}
		if want := []row{
			{good, StateOK, 0, "", 90, true},
			{bad, StateFailing, 1, errRefused.Error(), 0, true},
			{stale, StateFailing, 1, errRefused.Error(), 10, true},
			{expired, StateFailing, 1, errRefused.Error(), -1, true},
			{waiting, StatePending, 0, "", 0, false},
			{held, StateFailing, 0, "does not exist:  publish [2J a CNAME", 0, true},
		}; !slices.Equal(got, want) {
			t.Errorf("status\n     %v\nwant %v", got, want)
		}
		earliest := (*m.hosts.Load())[expired].cert.Load().notAfter()
		if got, want := m.Summary(), (Summary{Hosts: 6, Ready: 2, Pending: 1, Failing: 4, EarliestExpiry: earliest, Expired: 1}); got != want {
			t.Errorf("%+v\nwant %+v", got, want)
		}

		if got, want := metrics(t, m), strings.Join([]string{
			fmt.Sprintf("mtasts_certificates_earliest_expiry_timestamp_seconds = %d", earliest.Unix()),
			"mtasts_certificates_hosts failing = 4",
			"mtasts_certificates_hosts ok = 1",
			"mtasts_certificates_hosts pending = 1",
			"mtasts_certificates_orders_total failed = 3",
			"mtasts_certificates_orders_total obtained = 1",
			"mtasts_certificates_orders_total renewed = 0",
			"mtasts_certificates_orders_waiting = 0",
			"mtasts_certificates_preflights_total caa = 0",
			"mtasts_certificates_preflights_total elsewhere = 0",
			"mtasts_certificates_preflights_total no_address = 1",
			"mtasts_certificates_preflights_total passed = 5",
			"mtasts_certificates_preflights_total unknown = 0",
			"mtasts_certificates_ready_hosts = 2",
			"mtasts_certificates_renewal_info_total answered = 0",
			"mtasts_certificates_renewal_info_total failed = 0",
			"mtasts_certificates_storable = 1",
		}, "\n"); got != want {
			t.Errorf("metrics\n%s\nwant\n%s", got, want)
		}
	})
}

// metrics is what m tells a Prometheus, a line each.
func metrics(t *testing.T, m *Manager) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	families, err := r.Gather()
	check(t, err)
	var lines []string
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			line := f.GetName()
			for _, l := range metric.GetLabel() {
				line += " " + l.GetValue()
			}
			lines = append(lines, fmt.Sprintf("%s = %.0f", line, metric.GetGauge().GetValue()+metric.GetCounter().GetValue()))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
