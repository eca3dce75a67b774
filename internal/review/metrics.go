package review

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// otherCode stands for codes that metrics may not name.
const otherCode = "other"

// metrics count looks, and show what is open. No label is a stranger's text.
type metrics struct {
	looks *prometheus.CounterVec
	codes map[string]bool

	mu      sync.Mutex
	open    map[Severity]int
	byCode  map[string]int
	overdue int
}

func newMetrics(codes []string) *metrics {
	m := &metrics{
		looks:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mtasts_review_looks_total", Help: "Looks at domains by this process, by outcome."}, []string{"outcome"}),
		codes:  map[string]bool{},
		open:   map[Severity]int{},
		byCode: map[string]int{},
	}
	for _, c := range append(slices.Clone(codes), otherCode) {
		m.codes[c] = true
	}
	for _, o := range outcomes() {
		m.looks.WithLabelValues(string(o))
	}
	return m
}

func (m *metrics) look(o outcome) { m.looks.WithLabelValues(string(o)).Inc() }

// set takes what was counted in the database.
func (m *metrics) set(counts []Count, overdue int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.overdue = overdue
	clear(m.open)
	clear(m.byCode)
	for _, c := range counts {
		code := c.Code
		if !m.codes[code] {
			code = otherCode
		}
		m.open[c.Severity] += c.Open
		m.byCode[code] += c.Open
	}
}

var (
	openDesc    = prometheus.NewDesc("mtasts_review_findings_open", "Findings that are open, by severity; of all domains in the database.", []string{"severity"}, nil)
	byCodeDesc  = prometheus.NewDesc("mtasts_review_findings_open_by_code", "Findings that are open, by code; of all domains in the database.", []string{"code"}, nil)
	overdueDesc = prometheus.NewDesc("mtasts_review_domains_overdue", "Domains that were to be looked at more than an hour ago.", nil, nil)
	blindDesc   = prometheus.NewDesc("mtasts_review_blind", "Whether looks see nothing at all: our own DNS or network is down.", nil, nil)
)

// Describe describes what collect collects.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.looks.Describe(ch)
	for _, d := range []*prometheus.Desc{openDesc, byCodeDesc, overdueDesc, blindDesc} {
		ch <- d
	}
}

func (m *metrics) collect(ch chan<- prometheus.Metric, blind float64) {
	m.looks.Collect(ch)
	m.mu.Lock()
	defer m.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, severity := range []Severity{Error, Warning} {
		gauge(openDesc, float64(m.open[severity]), string(severity))
	}
	for code := range m.codes {
		gauge(byCodeDesc, float64(m.byCode[code]), code)
	}
	gauge(overdueDesc, float64(m.overdue))
	gauge(blindDesc, blind)
}
