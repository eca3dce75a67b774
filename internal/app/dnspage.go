package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DNSView is what the admin listener says at /dns.
type DNSView struct {
	Announced int           `json:"announced"` // domains of which something is in DNS
	Waiting   int           `json:"waiting"`   // domains that are being worked for
	Domains   []DNSProgress `json:"domains"`   // of these, those that fail first
	More      int           `json:"more,omitempty"`
}

// DNSProgress is how far the publication of one domain's records is.
type DNSProgress struct {
	Domain   string    `json:"domain"`
	Next     step      `json:"next"` // what is to be done
	Since    time.Time `json:"since,omitzero"`
	At       time.Time `json:"at,omitzero"` // when it is tried again
	Failures int       `json:"failures,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// progress tells of the domains that are being worked for: of those that are asked for, or
// of all.
func (a *announcer) progress(asked []string) []DNSProgress {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]DNSProgress, 0, min(len(a.tasks), mostShown))
	add := func(t *announcement) {
		p := DNSProgress{Domain: t.domain, Next: cmp.Or(t.step, stepPrepare), Since: t.since, At: t.at, Failures: t.failures}
		if t.err != nil {
			p.Error = t.err.Error()
		}
		all = append(all, p)
	}
	if len(asked) == 0 {
		for _, t := range a.tasks {
			add(t)
		}
	}
	for _, domain := range asked {
		if t := a.tasks[domain]; t != nil {
			add(t)
		}
	}
	slices.SortFunc(all, func(x, y DNSProgress) int { return cmp.Or(y.Failures-x.Failures, cmp.Compare(x.Domain, y.Domain)) })
	return all
}

// dnsPage answers at /dns, for the verb verify.
func (a *admin) dnsPage(w http.ResponseWriter, r *http.Request) {
	v := DNSView{Domains: []DNSProgress{}}
	if a.announcer != nil {
		v.Announced = a.announcer.ledger.CountAnnounced()
		v.Domains = a.announcer.progress(r.URL.Query()["domain"])
		v.Waiting = a.announcer.waiting()
		if v.More = max(0, len(v.Domains)-mostShown); v.More > 0 && !r.URL.Query().Has("all") {
			v.Domains = v.Domains[:mostShown]
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away: nothing to do
}

func (a *announcer) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tasks)
}

// troubled is how often a domain must have failed to be told of: certificates and replicas
// need their minutes.
const troubled = 5

// amiss says what does not come about, in one line each.
func (a *announcer) amiss() []string {
	if a == nil {
		return nil
	}
	var lines []string
	if a.unusable != nil {
		lines = append(lines, "nothing new is announced in DNS until this is mended and the server started anew: "+a.unusable.Error())
	}
	if a.files != nil {
		if why := a.files.amiss(); why != "" {
			lines = append(lines, why)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	var worst *announcement
	for _, t := range a.tasks {
		if t.failures < troubled {
			continue
		}
		if n++; worst == nil || t.domain < worst.domain {
			worst = t
		}
	}
	if worst != nil {
		lines = append(lines, fmt.Sprintf("%s not announced as served, as %s: %v", count(n, "domain"), worst.domain, worst.err))
	}
	return lines
}

var (
	descAnnounced = prometheus.NewDesc("mtasts_dns_announced_domains", "Domains of which this server has records in DNS.", nil, nil)
	descWaiting   = prometheus.NewDesc("mtasts_dns_waiting_domains", "Domains whose records in DNS are not what is served yet, by what is to be done next.", []string{"next"}, nil)
)

// steps are the label values of descWaiting.
var steps = map[step]string{
	stepPrepare: "prepare", stepSee: "see", stepDelay: "delay", stepAnnounce: "announce", stepWithdraw: "withdraw", stepLeave: "leave",
}

// Describe implements prometheus.Collector.
func (a *announcer) Describe(ch chan<- *prometheus.Desc) { ch <- descAnnounced; ch <- descWaiting }

// Collect implements prometheus.Collector.
func (a *announcer) Collect(ch chan<- prometheus.Metric) {
	counts := make(map[step]int, len(steps))
	a.mu.Lock()
	for _, t := range a.tasks {
		counts[cmp.Or(t.step, stepPrepare)]++
	}
	a.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descAnnounced, prometheus.GaugeValue, float64(a.ledger.CountAnnounced()))
	for s, label := range steps {
		ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(counts[s]), label)
	}
}

// String is for people.
func (p DNSProgress) String() string {
	s := string(p.Next)
	if p.Error != "" {
		s += fmt.Sprintf(", which failed %s: %s", count(p.Failures, "time"), p.Error)
	}
	if !p.At.IsZero() && p.Failures > 0 {
		s += "; tried again at " + p.At.UTC().Format(time.RFC3339)
	}
	return s
}
