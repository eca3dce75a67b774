package app

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"mtasts-server/certs"
	"mtasts-server/internal/review"
	"mtasts-server/mtasts"
)

// mostShown is how many hosts in trouble are told of unless more is asked for: after
// an accident there may be 100,000.
const mostShown = 100

// CertsView is what the admin listener says at /certs.
type CertsView struct {
	Hosts     []HostView `json:"hosts"`
	More      int        `json:"more,omitempty"` // hosts that are not listed
	Known     int        `json:"known"`
	Ready     int        `json:"ready"`
	Pending   int        `json:"pending"`
	Failing   int        `json:"failing"`
	Waiting   int        `json:"orders_waiting"`
	LastBegin time.Time  `json:"last_begins,omitzero"`
	Missing   []string   `json:"missing,omitempty"` // asked for, and not managed
}

// HostView is how the certificate of one host is.
type HostView struct {
	Host     string      `json:"host"`
	State    certs.State `json:"state"`
	Issuer   string      `json:"issuer,omitempty"`
	NotAfter time.Time   `json:"not_after,omitzero"`
	Next     time.Time   `json:"next_attempt,omitzero"`
	Failures int         `json:"failures,omitempty"`
	Held     bool        `json:"held,omitempty"` // by preflight, which looks again at next_attempt
	Error    string      `json:"error,omitempty"`
}

// OK reports whether all is well with the hosts that were asked for, or with all.
func (v *CertsView) OK(asked bool) bool {
	if asked {
		return len(v.Missing) == 0 && !slices.ContainsFunc(v.Hosts, func(h HostView) bool { return h.State != certs.StateOK })
	}
	return v.Ready == v.Known && v.Failing == 0
}

// certsPage answers at /certs, for the verb of that name.
func (a *admin) certsPage(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	asked := query["host"]
	s := a.certs.Summary()
	v := CertsView{Hosts: []HostView{}, Known: s.Hosts, Ready: s.Ready, Pending: s.Pending, Failing: s.Failing, Waiting: s.Waiting, LastBegin: s.ETA}
	found := map[string]bool{}
	status := a.certs.Status()
	slices.SortStableFunc(status, func(a, b certs.HostStatus) int { return cmp.Compare(trouble(a), trouble(b)) })
	for _, h := range status {
		if len(asked) > 0 && !slices.Contains(asked, h.Host) || len(asked) == 0 && !query.Has("all") && h.State == certs.StateOK {
			continue
		}
		found[h.Host] = true
		if len(v.Hosts) == mostShown && !query.Has("all") {
			v.More++
			continue
		}
		v.Hosts = append(v.Hosts, HostView{h.Host, h.State, h.Issuer, h.NotAfter, h.NextAttempt, h.Failures, h.Held, h.LastError})
	}
	for _, host := range asked {
		if !found[host] {
			v.Missing = append(v.Missing, host)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away: nothing to do
}

// trouble orders hosts: those that fail first.
func trouble(h certs.HostStatus) int {
	return slices.Index([]certs.State{certs.StateFailing, certs.StatePending, certs.StateOK}, h.State)
}

// ForReview puts hosts in the words of the review.
func (v *CertsView) ForReview() []review.Certificate {
	list := make([]review.Certificate, 0, len(v.Hosts))
	for _, h := range v.Hosts {
		list = append(list, review.Certificate{Domain: strings.TrimPrefix(h.Host, mtasts.PolicyHost("")), Host: h.Host, Whose: review.PolicyOwner, NotAfter: h.NotAfter, Trouble: h.Error})
	}
	return list
}
