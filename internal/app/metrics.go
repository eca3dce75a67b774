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
	p.mu.Lock()
	defer p.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	byReason := map[reason]int{}
	for _, k := range p.plan.kept {
		byReason[k.reason]++
	}
	gauge(descDomains, float64(len(p.plan.ids)-len(p.plan.kept)), "current")
	gauge(descDomains, float64(byReason[refused]), "refused")
	gauge(descDomains, float64(byReason[fileBroken]), "file_broken")
	gauge(descDomains, float64(byReason[vanished]), "vanished")
	ch <- prometheus.MustNewConstMetric(descReloads, prometheus.CounterValue, float64(p.reloads.good), "ok")
	ch <- prometheus.MustNewConstMetric(descReloads, prometheus.CounterValue, float64(p.reloads.bad), "problems")
	gauge(descLastGood, truth(p.reloads.lastGood))
	if !p.reloads.lastSuccess.IsZero() {
		gauge(descLastSuccess, float64(p.reloads.lastSuccess.UnixMilli())/1000)
	}
	problems := 0
	if p.snap != nil {
		problems = countErrors(p.snap.Problems)
	}
	gauge(descProblems, float64(problems))
	gauge(descLedger, truth(p.trouble == nil))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
