package intake

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// postOutcome is what became of a request. Its name is a metric label.
type postOutcome int

const (
	postStored postOutcome = iota
	postGreeted
	postEmpty
	postBroken
	postNotFound
	postOtherMethod
	postSlow
	postTooBig
	postBusy
	postFull
	postOutcomeCount
)

// postOutcomes says what is answered. Nothing in it comes from the client.
var postOutcomes = [postOutcomeCount]struct {
	name   string
	status int
	text   string
	end    bool   // the connection ends: what is left of the body is not waited for
	retry  string // seconds; and the answer breaks off
}{
	postStored:      {"stored", http.StatusOK, "The report was received. Thank you.\n", false, ""},
	postGreeted:     {"greeted", http.StatusOK, postGreeting, false, ""},
	postEmpty:       {"empty", http.StatusBadRequest, "there is no report in the request\n", false, ""},
	postBroken:      {"broken", http.StatusBadRequest, "the request broke off\n", true, ""},
	postNotFound:    {"not_found", http.StatusNotFound, "there is nothing to read here\n", false, ""},
	postOtherMethod: {"method", http.StatusMethodNotAllowed, "reports are sent by POST\n", false, ""},
	postSlow:        {"slow", http.StatusRequestTimeout, "the report took too long\n", true, ""},
	postTooBig:      {"too_big", http.StatusRequestEntityTooLarge, "a report has at most 10 MiB, packed by gzip (RFC 8460 section 5.2)\n", true, ""},
	postBusy:        {"busy", http.StatusServiceUnavailable, "too many reports at once, come again\n", false, postRetryBusy},
	postFull:        {"full", http.StatusServiceUnavailable, "the report could not be kept, come again\n", false, postRetryFull},
}

// postGreeting is for people who follow the address in a DNS record.
const postGreeting = `This is where mail servers send their TLS reports by POST (RFC 8460).
They are named in a TXT record _smtp._tls of each domain whose reports come here.
There is nothing to see here for people.
`

// answer says how it went.
func (o postOutcome) answer(w http.ResponseWriter) {
	is := postOutcomes[o]
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if is.end {
		h.Set("Connection", "close")
	}
	if is.retry != "" {
		// The most used sender runs curl without --fail: a status means nothing to it, but
		// it does come again, five times, where an answer breaks off.
		h.Set("Retry-After", is.retry)
		h.Set("Content-Length", strconv.Itoa(len(is.text)+1))
	}
	if o == postOtherMethod {
		h.Set("Allow", "GET, HEAD, POST")
	}
	w.WriteHeader(is.status)
	_, _ = w.Write([]byte(is.text)) // the client went away: nothing to do
}

type postMetrics struct {
	requests [postOutcomeCount]atomic.Int64
}

func (m *postMetrics) count(o postOutcome) { m.requests[o].Add(1) }

var (
	descPosts = prometheus.NewDesc("mtasts_reportpost_requests_total",
		"Requests to the host that TLS reports are posted to, by status and by what became of them. What is busy or full is lost, if the sender does not come again.", []string{"code", "outcome"}, nil)
	descPostBytes = prometheus.NewDesc("mtasts_reportpost_held_bytes",
		"Memory that TLS reports take which are coming in now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p *Post) Describe(ch chan<- *prometheus.Desc) {
	ch <- descPosts
	ch <- descPostBytes
}

// Collect implements prometheus.Collector.
func (p *Post) Collect(ch chan<- prometheus.Metric) {
	for o, is := range postOutcomes {
		ch <- prometheus.MustNewConstMetric(descPosts, prometheus.CounterValue,
			float64(p.metrics.requests[o].Load()), strconv.Itoa(is.status), is.name)
	}
	ch <- prometheus.MustNewConstMetric(descPostBytes, prometheus.GaugeValue, float64(p.room.taken.Load()))
}
