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
	statuses = [...]int{http.StatusOK, http.StatusMovedPermanently, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest}
	verdicts = [...]verdict{admitted, tooMany, evicted, untrusted}
)

const (
	unknownState = len(states) + iota // requests for hosts that are nobody's here
	otherState                        // for Options.Hosts
	stateCount
)

func stateName(st int) string {
	switch st {
	case unknownState:
		return "unknown"
	case otherState:
		return "other"
	}
	return string(states[st])
}

type metrics struct {
	requests    [kindCount][stateCount][len(statuses)]atomic.Int64
	handed      [kindCount]atomic.Int64
	handshakes  [resultCount]atomic.Int64
	connections [len(verdicts)]atomic.Int64

	acceptErrors [kindCount]atomic.Int64
}

func (m *metrics) count(k kind, a *answer, status int) {
	state := unknownState
	if a != nil {
		state = int(a.state)
	}
	m.requests[k][state][statusIndex(status)].Add(1)
}

func statusIndex(status int) int { return slices.Index(statuses[:], status) }

func (m *metrics) handshake(r result) { m.handshakes[r].Add(1) }

func (m *metrics) connection(v verdict) { m.connections[slices.Index(verdicts[:], v)].Add(1) }

var (
	descRequests = prometheus.NewDesc("mtasts_http_requests_total",
		"Requests that are answered here, by listener, state of the domain that was asked for (current, kept, unknown; other: a host that is no policy host) and status.", []string{"listener", "state", "code"}, nil)
	descHanded = prometheus.NewDesc("mtasts_http_handed_on_total",
		"Requests for hosts that are no policy hosts, as for TLS reports, which others answer and count, by listener.", []string{"listener"}, nil)
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
	for _, d := range []*prometheus.Desc{descRequests, descHanded, descHandshakes, descConnections, descAcceptErrors, descOpen, descHosts} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	for k := range kindCount {
		for st := range stateCount {
			for i, code := range statuses {
				if !impossible(k, st, code) {
					counter(descRequests, &s.metrics.requests[k][st][i], kindNames[k], stateName(st), strconv.Itoa(code))
				}
			}
		}
		if k != kindHTTP {
			counter(descHanded, &s.metrics.handed[k], kindNames[k])
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
// of this state.
func impossible(k kind, state, code int) bool {
	if state == otherState || code == http.StatusForbidden {
		return k != kindHTTP || state != otherState || code != http.StatusForbidden && code != http.StatusMovedPermanently
	}
	ours := state < unknownState
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
