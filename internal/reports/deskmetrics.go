package reports

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/tlsrpt"
)

// deskMetrics count what came in. No label is a stranger's text: channels, fates, reasons
// and result types are few, and domains are configured ones.
type deskMetrics struct {
	reports, refusals, asides, noted *prometheus.CounterVec
	sessions, failures               *prometheus.CounterVec

	mu     sync.Mutex
	newest time.Time // arrival
}

func newDeskMetrics() *deskMetrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &deskMetrics{
		reports:  vec("mtasts_reports_total", "TLS reports that came in, by channel and what became of them.", "channel", "fate"),
		refusals: vec("mtasts_reports_refused_total", "TLS reports that could not be spooled: their senders were told to come again.", "channel"),
		asides:   vec("mtasts_reports_aside_total", "TLS reports that were set aside, by reason.", "reason"),
		noted:    vec("mtasts_reports_noted_total", "TLS reports taken that deviate from RFC 8460.", "channel"),
		sessions: vec("mtasts_report_sessions_total", "Sessions that senders reported on, by domain.", "domain", "outcome"),
		failures: vec("mtasts_report_failures_total", "Failed sessions that senders reported, by domain and result type.", "domain", "result_type"),
	}
	for _, c := range Channels() {
		m.refusals.WithLabelValues(string(c))
		for _, f := range Fates() {
			m.reports.WithLabelValues(string(c), string(f))
		}
	}
	return m
}

func (m *deskMetrics) refused(c Channel) { m.refusals.WithLabelValues(string(c)).Inc() }

func (m *deskMetrics) arrived(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.newest) {
		m.newest = at
	}
}

func (m *deskMetrics) count(a *Arrival, o Outcome, label func(string) string) {
	m.reports.WithLabelValues(string(a.Channel), string(o.Fate)).Inc()
	if o.Reason != "" {
		m.asides.WithLabelValues(string(o.Reason)).Inc()
	}
	if o.Noted && o.Fate == Taken {
		m.noted.WithLabelValues(string(a.Channel)).Inc()
	}
	if o.Fate != Aside {
		m.arrived(a.Received)
	}
	for _, p := range o.Parts {
		domain := label(p.ID.Domain)
		m.sessions.WithLabelValues(domain, "successful").Add(float64(p.Successful))
		m.sessions.WithLabelValues(domain, "failed").Add(float64(p.Failed))
		for result, n := range p.Failures {
			if !tlsrpt.ResultType(result).Known() {
				result = "other"
			}
			m.failures.WithLabelValues(domain, result).Add(float64(n))
		}
	}
}

var (
	spoolBytesDesc = prometheus.NewDesc("mtasts_reports_spool_bytes", "Bytes of TLS reports that wait to be stored.", nil, nil)
	spoolLimitDesc = prometheus.NewDesc("mtasts_reports_spool_limit_bytes", "Bytes that may wait; beyond that senders are told to come again.", nil, nil)
	newestDesc     = prometheus.NewDesc("mtasts_reports_newest_timestamp_seconds", "When the newest TLS report came; 0 where none ever did.", nil, nil)
	storedDesc     = prometheus.NewDesc("mtasts_reports_stored", "Whether reports can be stored; 0 while they wait for the database.", nil, nil)
)

// Describe implements prometheus.Collector.
func (d *Desk) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range d.metrics.vectors() {
		v.Describe(ch)
	}
	for _, desc := range []*prometheus.Desc{spoolBytesDesc, spoolLimitDesc, newestDesc, storedDesc} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (d *Desk) Collect(ch chan<- prometheus.Metric) {
	for _, v := range d.metrics.vectors() {
		v.Collect(ch)
	}
	d.mu.Lock()
	stored := 1.0
	if d.trouble != nil {
		stored = 0
	}
	d.mu.Unlock()
	d.metrics.mu.Lock()
	newest := 0.0
	if !d.metrics.newest.IsZero() {
		newest = float64(d.metrics.newest.Unix())
	}
	d.metrics.mu.Unlock()
	for desc, value := range map[*prometheus.Desc]float64{
		spoolBytesDesc: float64(d.o.Spool.Bytes()), spoolLimitDesc: float64(d.o.Spool.Limit()), newestDesc: newest, storedDesc: stored,
	} {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
}

func (m *deskMetrics) vectors() []*prometheus.CounterVec {
	return []*prometheus.CounterVec{m.reports, m.refusals, m.asides, m.noted, m.sessions, m.failures}
}
