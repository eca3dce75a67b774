package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// acmeOrder is an order as it came in at a CA's gate.
type acmeOrder struct {
	hosts    []string
	replaces string // the certificate to be replaced (RFC 9773 §5)
	profile  string
}

// acmeFault is trouble that a gate makes. It reports whether it dealt with the request,
// which then does not reach the CA. order is nil for all but new orders.
type acmeFault func(w http.ResponseWriter, r *http.Request, order *acmeOrder) bool

// acmeGate stands before a CA, notes what is ordered, and makes trouble.
type acmeGate struct {
	ca http.Handler

	mu     sync.Mutex
	fault  acmeFault
	orders []acmeOrder
	paths  []string // of all requests, those included that met with trouble
}

func newACMEGate(ca http.Handler) *acmeGate { return &acmeGate{ca: ca} }

// set makes fault the trouble of all requests to come, nil none.
func (g *acmeGate) set(fault acmeFault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = fault
}

func (g *acmeGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	order := parseACMEOrder(body)
	g.mu.Lock()
	fault := g.fault
	g.paths = append(g.paths, r.URL.Path)
	if order != nil {
		g.orders = append(g.orders, *order)
	}
	g.mu.Unlock()
	if fault != nil && fault(w, r, order) {
		return
	}
	g.ca.ServeHTTP(w, r)
}

// parseACMEOrder reads the payload of a JWS, if it is a new order (RFC 8555 §7.4).
func parseACMEOrder(body []byte) *acmeOrder {
	var jws struct{ Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		return nil
	}
	var p struct {
		Identifiers       []struct{ Value string }
		Replaces, Profile string
	}
	if json.Unmarshal(payload, &p) != nil || len(p.Identifiers) == 0 {
		return nil
	}
	order := &acmeOrder{replaces: p.Replaces, profile: p.Profile}
	for _, id := range p.Identifiers {
		order.hosts = append(order.hosts, id.Value)
	}
	return order
}

// count returns how many requests there were with part in their path.
func (g *acmeGate) count(part string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, path := range g.paths {
		if strings.Contains(path, part) {
			n++
		}
	}
	return n
}

// ordered returns the orders so far.
func (g *acmeGate) ordered() []acmeOrder {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.orders)
}

// orderedFor returns the orders so far for host.
func (g *acmeGate) orderedFor(host string) []acmeOrder {
	return slices.DeleteFunc(g.ordered(), func(o acmeOrder) bool { return !slices.Contains(o.hosts, host) })
}

// faultStatus answers everything with an HTTP error and nothing that explains it.
func faultStatus(status int) acmeFault {
	return func(w http.ResponseWriter, _ *http.Request, _ *acmeOrder) bool {
		http.Error(w, http.StatusText(status), status)
		return true
	}
}

// faultRateLimit answers new orders as a CA does that had too many of them, and has
// some to give in a minute.
func faultRateLimit(w http.ResponseWriter, r *http.Request, order *acmeOrder) bool {
	return rateLimit(time.Minute)(w, r, order)
}

// rateLimit answers so, and says when to come back.
func rateLimit(wait time.Duration) acmeFault {
	return func(w http.ResponseWriter, _ *http.Request, order *acmeOrder) bool {
		return order != nil && tooMany(w, wait)
	}
}

func tooMany(w http.ResponseWriter, wait time.Duration) bool {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","status":429,`+
		`"detail":"too many new orders (300) from this account in the last 3h0m0s"}`)
	return true
}

// faultHangUp ends connections without an answer.
func faultHangUp(http.ResponseWriter, *http.Request, *acmeOrder) bool { panic(http.ErrAbortHandler) }

// acmeHang holds requests without an answer until it is released, and then lets them
// through.
type acmeHang struct {
	held     chan struct{} // receives one for each request held
	gone     chan struct{} // receives one for each of them whose client went away
	released chan struct{}
}

func newACMEHang() *acmeHang {
	return &acmeHang{held: make(chan struct{}, 1000), gone: make(chan struct{}, 1000), released: make(chan struct{})}
}

func (h *acmeHang) release() { close(h.released) }

// wait waits until one of h's channels tells that something happened.
func (h *acmeHang) wait(t testing.TB, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(acmePollFor):
		t.Fatalf("waited in vain until %s", what)
	}
}

// everything holds all requests.
func (h *acmeHang) everything(_ http.ResponseWriter, r *http.Request, _ *acmeOrder) bool {
	h.held <- struct{}{}
	select {
	case <-h.released:
		return false
	case <-r.Context().Done():
		h.gone <- struct{}{}
		return true
	}
}

// orders holds orders for host.
func (h *acmeHang) orders(host string) acmeFault {
	return func(w http.ResponseWriter, r *http.Request, order *acmeOrder) bool {
		if order == nil || !strings.EqualFold(order.hosts[0], host) {
			return false
		}
		return h.everything(w, r, order)
	}
}
