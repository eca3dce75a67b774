package app

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The publisher's own metrics. The label values are closed sets.
var (
	descDomains = prometheus.NewDesc("mtasts_domains",
		"Policy domains by state: current, or kept as last published because the configuration was refused, its file is broken, or it vanished.", []string{"state"}, nil)
	descReloads = prometheus.NewDesc("mtasts_config_reloads_total",
		"Reloads of changed configuration by result: ok, or problems where a part of it was refused.", []string{"result"}, nil)
	descLastGood = prometheus.NewDesc("mtasts_config_last_reload_successful",
		"Whether the configuration as last read had no errors.", nil, nil)
	descLastSuccess = prometheus.NewDesc("mtasts_config_last_reload_success_timestamp_seconds",
		"When a configuration without errors was last taken in.", nil, nil)
	descProblems = prometheus.NewDesc("mtasts_config_problems",
		"Errors in the configuration as last read.", nil, nil)
	descLedger = prometheus.NewDesc("mtasts_ledger_writable",
		"Whether what is published could be recorded on disk.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p *publisher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descDomains, descReloads, descLastGood, descLastSuccess, descProblems, descLedger} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (p *publisher) Collect(ch chan<- prometheus.Metric) {
	r := p.report()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descDomains, float64(r.current), "current")
	gauge(descDomains, float64(r.kept[refused]), "refused")
	gauge(descDomains, float64(r.kept[fileBroken]), "file_broken")
	gauge(descDomains, float64(r.kept[vanished]), "vanished")
	ch <- prometheus.MustNewConstMetric(descReloads, prometheus.CounterValue, float64(r.reloads.good), "ok")
	ch <- prometheus.MustNewConstMetric(descReloads, prometheus.CounterValue, float64(r.reloads.bad), "problems")
	gauge(descLastGood, truth(r.reloads.lastGood))
	if !r.reloads.lastSuccess.IsZero() {
		gauge(descLastSuccess, float64(r.reloads.lastSuccess.UnixMilli())/1000)
	}
	gauge(descProblems, float64(r.problems))
	gauge(descLedger, truth(r.writable))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
