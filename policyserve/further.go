package policyserve

import (
	"fmt"
	"net/http"
	"net/netip"
)

// checkHosts refuses what would never be found, or could not answer.
func checkHosts(hosts map[string]http.Handler) error {
	for host, h := range hosts {
		if host == "" || normalHost(host) != host {
			return fmt.Errorf("policyserve: %q is not the normal form of a host", host)
		}
		if h == nil {
			return fmt.Errorf("policyserve: nothing answers for the host %q", host)
		}
	}
	return nil
}

// further returns what answers for a host in any form that has no policy; nil for a
// stranger.
func (s *Server) further(host string) http.Handler {
	if len(s.o.Hosts) == 0 {
		return nil
	}
	return s.o.Hosts[normalHost(host)]
}

// known reports whether there may be a certificate for the name in a handshake.
func (s *Server) known(name string) bool {
	return s.table.Load().find(name) != nil || s.further(name) != nil
}

// handOn has another answer for a host without a policy, if there is one.
func (h handler) handOn(w http.ResponseWriter, r *http.Request, host string) {
	next := h.s.further(host)
	if next == nil {
		h.refuse(w, nil, http.StatusNotFound, "no MTA-STS policy is served for this host\n")
		return
	}
	if s, ok := r.Context().Value(sessionKey{}).(*session); ok {
		// net/http asked for it before the PROXY header was read, which comes with the
		// first request.
		r.RemoteAddr = s.RemoteAddr().String()
	}
	h.s.metrics.handed[h.kind].Add(1)
	next.ServeHTTP(w, r)
}

// upgrade answers over plain HTTP for a further host. Only who reads is sent on: the body
// of who does not has come in the clear already, and clients drop it on the way.
func (h redirector) upgrade(w http.ResponseWriter, r *http.Request, path string) {
	status := http.StatusForbidden
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
		w.Header().Set("Location", "https://"+normalHost(r.Host)+path)
	}
	h.say(w, status, "use HTTPS\n")
	h.s.metrics.requests[h.kind][otherState][statusIndex(status)].Add(1)
}

// Client returns the address of who sent r, which a Server handed on. It is the zero Addr
// where only the address of a trusted proxy is known, or none: who counts by address must
// not count all clients of a proxy as one.
func Client(r *http.Request) netip.Addr {
	s, ok := r.Context().Value(sessionKey{}).(*session)
	if !ok || s.trusted && s.remote == nil {
		return netip.Addr{}
	}
	return remoteIP(s)
}
