package dnsrecords

import (
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// outcome is what became of a question. Its name is a metric label.
type outcome int

const (
	outcomeAnswered outcome = iota
	outcomeNoData
	outcomeNoSuchName
	outcomeRefused   // not ours, or not for everybody
	outcomeMalformed // no question that can be understood
	outcomeIgnored   // no question at all
	outcomeTruncated // it does not fit, or the network asks too much
	outcomeDropped   // the network asks too much
	outcomeFault     // a mistake of ours
	outcomeCount
)

var outcomeNames = [outcomeCount]string{
	"answered", "no_data", "no_such_name", "refused", "malformed", "ignored", "truncated", "dropped", "fault",
}

// outcomeOf reads what was answered.
func outcomeOf(m *dns.Msg) outcome {
	switch {
	case m.Truncated:
		return outcomeTruncated
	case m.Rcode == dns.RcodeNameError:
		return outcomeNoSuchName
	case m.Rcode == dns.RcodeFormatError:
		return outcomeMalformed
	case m.Rcode != dns.RcodeSuccess:
		return outcomeRefused
	case len(m.Answer) == 0:
		return outcomeNoData
	}
	return outcomeAnswered
}

type zoneMetrics struct {
	outcomes            [outcomeCount]atomic.Int64
	turnedAway, evicted atomic.Int64 // connections
}

func (m *zoneMetrics) count(o outcome) { m.outcomes[o].Add(1) }

var (
	descQuestions = prometheus.NewDesc("mtasts_dns_zone_questions_total",
		"Questions to the zone by what became of them: answered, no_data, no_such_name, refused, malformed, ignored, truncated (too large, or the network asks too much), dropped (the network asks too much), fault.",
		[]string{"outcome"}, nil)
	descZoneTCP = prometheus.NewDesc("mtasts_dns_zone_connections_ended_total",
		"Connections to the zone that were ended by limits: too_many_per_address, evicted while quiet to make place.", []string{"reason"}, nil)
	descZoneOpen    = prometheus.NewDesc("mtasts_dns_zone_connections_open", "Connections to the zone that are open now.", nil, nil)
	descZoneDomains = prometheus.NewDesc("mtasts_dns_zone_domains", "Domains that the zone answers for.", nil, nil)
)

// Describe implements prometheus.Collector.
func (z *Zone) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descQuestions, descZoneTCP, descZoneOpen, descZoneDomains} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (z *Zone) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), label)
	}
	for o, name := range outcomeNames {
		counter(descQuestions, &z.metrics.outcomes[o], name)
	}
	counter(descZoneTCP, &z.metrics.turnedAway, "too_many_per_address")
	counter(descZoneTCP, &z.metrics.evicted, "evicted")
	ch <- prometheus.MustNewConstMetric(descZoneOpen, prometheus.GaugeValue, float64(z.servers.open()))
	ch <- prometheus.MustNewConstMetric(descZoneDomains, prometheus.GaugeValue, float64(z.table.n.Load()))
}
