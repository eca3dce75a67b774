package dnsrecords

import (
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// perSecond is how many answers by UDP a network gets in a second, and how many at
	// once. Whoever forges senders makes no more of us than that; a large sender's
	// resolvers ask for some domains a second, and come by TCP beyond.
	perSecond = 200

	// maxNetworks bounds how many are told apart, 3 MiB of them; the others share one
	// allowance while there are more.
	maxNetworks = 1 << 16
)

// passage is what becomes of an answer.
type passage int

const (
	pass passage = iota
	slip         // answered by "come by TCP"
	drop
)

// limiter bounds answers for each network, an IPv4 /24 or an IPv6 /56, as response rate
// limiting does, since the sender of a datagram may be forged.
type limiter struct {
	mu       sync.Mutex
	networks map[netip.Prefix]*allowance
	others   allowance
	swept    time.Time
}

type allowance struct {
	second int64
	used   int
}

func newLimiter() *limiter { return &limiter{networks: map[netip.Prefix]*allowance{}} }

func (l *limiter) take(addr netip.Addr, now time.Time) passage {
	bits := 56
	if addr.Is4() {
		bits = 24
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return drop // it has no address to answer to
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.networks[network]
	if a == nil {
		if len(l.networks) >= maxNetworks {
			l.sweep(now)
		}
		if a = &l.others; len(l.networks) < maxNetworks {
			a = &allowance{}
			l.networks[network] = a
		}
	}
	if second := now.Unix(); a.second != second {
		a.second, a.used = second, 0
	}
	if a.used++; a.used <= perSecond {
		return pass
	}
	if a.used%2 == 0 {
		return slip
	}
	return drop
}

// sweep forgets networks that did not ask in the last seconds. Once a second, as it walks
// through all.
func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept).Abs() < time.Second {
		return
	}
	l.swept = now
	for network, a := range l.networks {
		if a.second != now.Unix() {
			delete(l.networks, network)
		}
	}
}

// outcomes are the label values of the metric of answers.
var outcomes = map[int]string{
	dns.RcodeSuccess: "answered", dns.RcodeNameError: "no_such_name", dns.RcodeRefused: "refused",
	dns.RcodeNotImplemented: "refused", dns.RcodeFormatError: "refused", dns.RcodeBadVers: "refused",
}

// zoneMetrics count what became of questions.
type zoneMetrics struct{ answers *prometheus.CounterVec }

func (m *zoneMetrics) init() {
	m.answers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtasts_dns_zone_questions_total",
		Help: "Questions to the zone by outcome: answered, no_such_name, refused, truncated or dropped where a network asks too much.",
	}, []string{"outcome"})
	for _, outcome := range []string{"answered", "no_such_name", "refused", "truncated", "dropped"} {
		m.answers.WithLabelValues(outcome)
	}
}

func (m *zoneMetrics) count(outcome string) { m.answers.WithLabelValues(outcome).Inc() }

// Describe implements prometheus.Collector.
func (z *Zone) Describe(ch chan<- *prometheus.Desc) { z.metrics.answers.Describe(ch) }

// Collect implements prometheus.Collector.
func (z *Zone) Collect(ch chan<- prometheus.Metric) { z.metrics.answers.Collect(ch) }
