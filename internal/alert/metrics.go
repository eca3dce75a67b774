package alert

import "github.com/prometheus/client_golang/prometheus"

// metrics count messages by channel, of which there are two.
type metrics struct {
	sent, failed, givenUp *prometheus.CounterVec
	queued                *prometheus.GaugeVec
}

func newMetrics(channels []*channel) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"channel"})
	}
	m := &metrics{
		sent:    counter("mtasts_alerts_sent_total", "Messages on alerts that a target took, by channel."),
		failed:  counter("mtasts_alerts_failed_total", "Tries to send a message on alerts that failed, by channel."),
		givenUp: counter("mtasts_alerts_given_up_total", "Messages on alerts that were refused, or tried for too long, by channel."),
		queued:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mtasts_alerts_queued", Help: "Messages on alerts that wait to be sent, by channel."}, []string{"channel"}),
	}
	for _, c := range channels {
		m.queued.WithLabelValues(c.name)
		for _, v := range []*prometheus.CounterVec{m.sent, m.failed, m.givenUp} {
			v.WithLabelValues(c.name)
		}
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.sent, m.failed, m.givenUp, m.queued}
}

// Describe implements prometheus.Collector.
func (s *Sender) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *Sender) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
}
