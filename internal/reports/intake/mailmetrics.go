package intake

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// mailOutcome is what became of a mail. Its name is a metric label.
type mailOutcome int

const (
	mailTaken    mailOutcome = iota
	mailNotKept              // our fault: asked to come again
	mailUnknown              // DNS does not answer: asked to come again
	mailNoPlace              // no memory: asked to come again
	mailCutOff               // it did not come in full, or too slowly
	mailTooLarge             // refused
	mailLongLine             // refused
	mailOutcomes
)

var mailOutcomeNames = [mailOutcomes]string{"taken", "not_kept", "dns", "no_memory", "cut_off", "too_large", "line_too_long"}

type mailMetrics struct {
	outcomes                            [mailOutcomes]atomic.Int64
	refused                             atomic.Int64 // recipients
	manyFromAddress, manyCalls, evicted atomic.Int64 // connections
}

func (m *mailMetrics) count(o mailOutcome) { m.outcomes[o].Add(1) }

var (
	descMails = prometheus.NewDesc("mtasts_reportmail_messages_total",
		"Mails to the report addresses, by what became of them: taken; asked to come again as not_kept (our storage), dns (the key of the signature), no_memory; cut_off by their sender, or too slow; refused as too_large, line_too_long.",
		[]string{"outcome"}, nil)
	descRefused   = prometheus.NewDesc("mtasts_reportmail_recipients_refused_total", "Recipients that are no report address.", nil, nil)
	descMailCalls = prometheus.NewDesc("mtasts_reportmail_connections_ended_total",
		"Connections of mail that were ended by limits: too_many_per_address, too_many, evicted while quiet to make place.", []string{"reason"}, nil)
	descMailOpen = prometheus.NewDesc("mtasts_reportmail_connections_open", "Connections of mail that are open now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Mail) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descMails, descRefused, descMailCalls, descMailOpen} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Mail) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	for o, name := range mailOutcomeNames {
		counter(descMails, &m.metrics.outcomes[o], name)
	}
	counter(descRefused, &m.metrics.refused)
	counter(descMailCalls, &m.metrics.manyFromAddress, "too_many_per_address")
	counter(descMailCalls, &m.metrics.manyCalls, "too_many")
	counter(descMailCalls, &m.metrics.evicted, "evicted")
	ch <- prometheus.MustNewConstMetric(descMailOpen, prometheus.GaugeValue, float64(m.smtp.callers.count()+m.lmtp.callers.count()))
}
