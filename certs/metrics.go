package certs

import "github.com/prometheus/client_golang/prometheus"

// The metrics. Their labels come from closed sets: no host ever is a label.
func (m *Manager) descs() (hosts, ready, expiry, waiting, orders, asks, storable *prometheus.Desc) {
	name := func(s string) string { return "mtasts_certificates_" + s }
	return prometheus.NewDesc(name("hosts"), "Hosts by the state of their certificate: ok, pending, failing.", []string{"state"}, nil),
		prometheus.NewDesc(name("ready_hosts"), "Hosts which hand out a certificate that has not expired.", nil, nil),
		prometheus.NewDesc(name("earliest_expiry_timestamp_seconds"), "When the first of the certificates at hand expires; 0 where there are none.", nil, nil),
		prometheus.NewDesc(name("orders_waiting"), "Orders that are due and wait for a slot or for the CA's budget.", nil, nil),
		prometheus.NewDesc(name("orders_total"), "Orders of certificates by outcome: obtained, renewed, failed.", []string{"outcome"}, nil),
		prometheus.NewDesc(name("renewal_info_total"), "Questions to the CA when to renew, by outcome: answered, failed.", []string{"outcome"}, nil),
		prometheus.NewDesc(name("storable"), "Whether certificates could be stored: it is found out twice a minute.", nil, nil)
}

// Describe is for prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	hosts, ready, expiry, waiting, orders, asks, storable := m.descs()
	for _, d := range []*prometheus.Desc{hosts, ready, expiry, waiting, orders, asks, storable} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	hosts, ready, expiry, waiting, orders, asks, storable := m.descs()
	sum := m.Summary()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(hosts, float64(sum.Hosts-sum.Pending-sum.Failing), string(StateOK))
	gauge(hosts, float64(sum.Pending), string(StatePending))
	gauge(hosts, float64(sum.Failing), string(StateFailing))
	gauge(ready, float64(sum.Ready))
	earliest := 0.0
	if !sum.EarliestExpiry.IsZero() {
		earliest = float64(sum.EarliestExpiry.Unix())
	}
	gauge(expiry, earliest)
	if m.sched == nil {
		return
	}
	gauge(waiting, float64(sum.Waiting))
	gauge(storable, truth(m.storable()))
	count := func(d *prometheus.Desc, v int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	count(orders, m.sched.obtained.Load(), "obtained")
	count(orders, m.sched.renewed.Load(), "renewed")
	count(orders, m.sched.failed.Load(), "failed")
	count(asks, m.sched.asked.Load(), "answered")
	count(asks, m.sched.askFailed.Load(), "failed")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
