package policyserve

import (
	"net/http"

	"mtasts-server/mtasts"
)

// The headers of a policy, shared by all answers. Content-Type is as RFC 8461 §3.2
// says: some senders refuse anything else. Cache-Control keeps proxies between a
// sender and us from serving a policy for longer than a minute after it changed;
// senders go by max_age.
var (
	contentType  = []string{"text/plain; charset=utf-8"}
	cacheControl = []string{"max-age=60"}
	noSniff      = []string{"nosniff"}
	allow        = []string{"GET, HEAD"}
)

// Handler answers policy requests by their Host header. Over TLS, the host must be
// the one of the handshake.
func (s *Server) Handler() http.Handler { return handler{s, kindHTTPS} }

type handler struct {
	s    *Server
	kind kind // of the listener, for the metrics
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if name := serverName(r); name != "" {
		switch {
		case host == "" && !r.ProtoAtLeast(1, 1):
			host = name // HTTP/1.0 knows no Host header
		case host != name && normalHost(host) != normalHost(name):
			h.refuse(w, nil, http.StatusMisdirectedRequest, "this connection is for another host\n")
			return
		}
	}
	a := h.s.table.Load().find(host)
	switch {
	case a == nil:
		h.handOn(w, r, host)
	case !isPolicyPath(r):
		h.refuse(w, a, http.StatusNotFound, "the policy is at "+mtasts.WellKnownPath+"\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header()["Allow"] = allow
		h.refuse(w, a, http.StatusMethodNotAllowed, "a policy can be read only\n")
	default:
		header := w.Header()
		header["Content-Type"] = contentType
		header["Content-Length"] = contentLength(len(a.body))
		header["Cache-Control"] = cacheControl
		header["X-Content-Type-Options"] = noSniff
		h.s.metrics.count(h.kind, a, http.StatusOK)
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusOK)
			return
		}
		_, _ = w.Write(a.body) // the client went away: nothing to do
	}
}

// isPolicyPath reports whether r asks for the policy, in the one spelling that there
// is: nothing is decoded, cleaned or redirected (RFC 8461 §3.3: "HTTP 3xx redirects
// MUST NOT be followed"). A query means nothing.
func isPolicyPath(r *http.Request) bool {
	return r.URL.Path == mtasts.WellKnownPath && r.URL.RawPath == ""
}

// refuse answers with an error. What the client sent is not repeated.
func (h handler) refuse(w http.ResponseWriter, a *answer, status int, text string) {
	h.s.metrics.count(h.kind, a, status)
	h.say(w, status, text)
}

func (h handler) say(w http.ResponseWriter, status int, text string) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// redirector sends people who come over plain HTTP to the same place over HTTPS. It
// does so for our hosts only: it is no open redirect.
type redirector struct{ handler }

func (h redirector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := h.s.table.Load().find(r.Host)
	path := r.URL.EscapedPath()
	if path == "" || path[0] != '/' { // "GET *", or an absolute URI without a path
		path = "/"
	}
	switch {
	case a == nil && h.s.further(r.Host) != nil:
		h.upgrade(w, r, path)
	case a == nil:
		h.refuse(w, nil, http.StatusNotFound, "no MTA-STS policy is served for this host\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header()["Allow"] = allow
		h.refuse(w, a, http.StatusMethodNotAllowed, "use HTTPS\n")
	default:
		w.Header().Set("Location", "https://"+a.host+path)
		h.refuse(w, a, http.StatusMovedPermanently, "use HTTPS\n")
	}
}
