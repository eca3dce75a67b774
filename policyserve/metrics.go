package policyserve

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The label values of the metrics are closed sets: nothing that a client sends makes
// a series.
var (
	statuses = [...]int{http.StatusOK, http.StatusMovedPermanently, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest}
	verdicts = [...]verdict{admitted, tooMany, evicted, untrusted}
)

// unknownState counts requests for hosts that are not in the table.
const unknownState = len(states)

type metrics struct {
	requests    [kindCount][len(states) + 1][len(statuses)]atomic.Int64
	handshakes  [resultCount]atomic.Int64
	connections [len(verdicts)]atomic.Int64

	acceptErrors [kindCount]atomic.Int64
}

func (m *metrics) count(k kind, a *answer, status int) {
	state := unknownState
	if a != nil {
		state = int(a.state)
	}
	m.requests[k][state][slices.Index(statuses[:], status)].Add(1)
}

func (m *metrics) handshake(r result) { m.handshakes[r].Add(1) }

func (m *metrics) connection(v verdict) { m.connections[slices.Index(verdicts[:], v)].Add(1) }

var (
	descRequests = prometheus.NewDesc("mtasts_http_requests_total",
		"Requests by listener, state of the domain that was asked for (current, kept, unknown) and status.", []string{"listener", "state", "code"}, nil)
	descHandshakes = prometheus.NewDesc("mtasts_tls_handshakes_total",
		"TLS handshakes by how they ended.", []string{"result"}, nil)
	descConnections = prometheus.NewDesc("mtasts_connections_total",
		"Connections by what became of them: admitted, refused for a limit, or evicted while quiet to make place.", []string{"verdict"}, nil)
	descAcceptErrors = prometheus.NewDesc("mtasts_accept_errors_total",
		"Connections that the system refused us for the moment, as no file descriptors are left, by listener.", []string{"listener"}, nil)
	descOpen  = prometheus.NewDesc("mtasts_connections_open", "Connections that are open now.", nil, nil)
	descHosts = prometheus.NewDesc("mtasts_policy_hosts", "Policy hosts that are answered for.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descHandshakes, descConnections, descAcceptErrors, descOpen, descHosts} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	for k := range kindCount {
		for st := range len(states) + 1 {
			name := "unknown"
			if st < len(states) {
				name = string(states[st])
			}
			for i, code := range statuses {
				if impossible(k, st < len(states), code) {
					continue
				}
				counter(descRequests, &s.metrics.requests[k][st][i], kindNames[k], name, strconv.Itoa(code))
			}
		}
	}
	for k := range kindCount {
		counter(descAcceptErrors, &s.metrics.acceptErrors[k], kindNames[k])
	}
	for r := range resultCount {
		counter(descHandshakes, &s.metrics.handshakes[r], resultNames[r])
	}
	for i, v := range verdicts {
		counter(descConnections, &s.metrics.connections[i], string(v))
	}
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(s.guard.count()))
	ch <- prometheus.MustNewConstMetric(descHosts, prometheus.GaugeValue, float64(s.Table().Len()))
}

// impossible reports whether a listener of kind k never answers with code for hosts
// that are ours, or not.
func impossible(k kind, ours bool, code int) bool {
	switch code {
	case http.StatusOK:
		return k == kindHTTP || !ours
	case http.StatusMovedPermanently:
		return k != kindHTTP || !ours
	case http.StatusMethodNotAllowed:
		return !ours
	case http.StatusMisdirectedRequest:
		return k != kindHTTPS || ours
	}
	return k == kindHTTP && ours // 404: over HTTP every path of ours is sent on
}
