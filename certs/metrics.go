package certs

import "github.com/prometheus/client_golang/prometheus"

// descs are the metrics. Their labels come from closed sets: no host ever is a label.
type descs struct {
	hosts, ready, expiry, waiting, orders, asks, looks, storable *prometheus.Desc
}

func newDescs() descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mtasts_certificates_"+name, help, labels, nil)
	}
	return descs{
		hosts:    desc("hosts", "Hosts by the state of their certificate: ok, pending, failing.", "state"),
		ready:    desc("ready_hosts", "Hosts which hand out a certificate that has not expired."),
		expiry:   desc("earliest_expiry_timestamp_seconds", "When the first of the certificates at hand expires; 0 where there are none."),
		waiting:  desc("orders_waiting", "Orders that are due and wait for a slot or for the CA's budget."),
		orders:   desc("orders_total", "Orders of certificates by outcome: obtained, renewed, failed.", "outcome"),
		asks:     desc("renewal_info_total", "Questions to the CA when to renew, by outcome: answered, failed.", "outcome"),
		looks:    desc("preflights_total", "Looks at a host before an order, by outcome: passed, unknown, and what holds the order back: no_address, elsewhere, caa.", "outcome"),
		storable: desc("storable", "Whether certificates could be stored: it is found out twice a minute."),
	}
}

// Describe is for prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	d := newDescs()
	for _, d := range []*prometheus.Desc{d.hosts, d.ready, d.expiry, d.waiting, d.orders, d.asks, d.looks, d.storable} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	d := newDescs()
	sum := m.Summary()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(d.hosts, float64(sum.Hosts-sum.Pending-sum.Failing), string(StateOK))
	gauge(d.hosts, float64(sum.Pending), string(StatePending))
	gauge(d.hosts, float64(sum.Failing), string(StateFailing))
	gauge(d.ready, float64(sum.Ready))
	earliest := 0.0
	if !sum.EarliestExpiry.IsZero() {
		earliest = float64(sum.EarliestExpiry.Unix())
	}
	gauge(d.expiry, earliest)
	if m.sched == nil {
		return
	}
	gauge(d.waiting, float64(sum.Waiting))
	gauge(d.storable, truth(m.storable()))
	count := func(d *prometheus.Desc, v int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), label)
	}
	count(d.orders, m.sched.obtained.Load(), "obtained")
	count(d.orders, m.sched.renewed.Load(), "renewed")
	count(d.orders, m.sched.failed.Load(), "failed")
	count(d.asks, m.sched.asked.Load(), "answered")
	count(d.asks, m.sched.askFailed.Load(), "failed")
	for o := range outcomeCount {
		count(d.looks, m.sched.preflights[o].Load(), o.String())
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
