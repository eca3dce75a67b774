package policyserve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a Server.
type Options struct {
	// GetCertificate returns the certificate for a handshake, nil and no error
	// for none. It is required for ServeTLS. It is asked for hosts of the table,
	// and of Hosts, only.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// NextProtos are application protocols beside h2 and http/1.1 that
	// GetCertificate knows how to answer: "acme-tls/1". Nothing is said over
	// such a connection; it ends with the handshake.
	NextProtos []string

	// Hosts are answered for beside the policy hosts, over TLS and by ServePlain: by host,
	// in lower case and without a final dot. A host of the table goes before them. The
	// deadlines for a request are those of a policy fetch, Limits.HeaderTimeout and
	// WriteTimeout: a handler that wants a body, or takes its time, sets its own by
	// http.ResponseController. RemoteAddr is the client's as a proxy announced it. On
	// plain HTTP who reads is sent to HTTPS, all else is refused. The map must not be
	// changed.
	Hosts map[string]http.Handler

	Limits Limits

	// TrustedProxies are those from whom ServePlain takes connections, and whose
	// PROXY headers are believed.
	TrustedProxies []netip.Prefix

	// ProxyProtocol has trusted proxies announce their clients by the PROXY
	// protocol, version 1 or 2, on all listeners.
	ProxyProtocol bool

	// Log receives what net/http has to say, at level debug; nil discards it.
	Log *slog.Logger
}

// Server answers policy requests. Its methods may be called from any goroutine.
type Server struct {
	o       Options
	limits  Limits
	table   atomic.Pointer[Table]
	guard   *guard
	tls     *tls.Config
	refusal *tls.Config // for who asks for a host that is not ours
	metrics metrics
	refused refused // by the system

	mu      sync.Mutex
	closing bool
	servers []*http.Server
}

// New returns a server without policies.
func New(o Options) (*Server, error) {
	l := o.Limits
	for _, n := range []int{l.Connections, l.ConnectionsPerAddress, l.Handshakes, l.HeaderBytes} {
		if n < 0 {
			return nil, errors.New("policyserve: a limit is negative")
		}
	}
	if err := checkHosts(o.Hosts); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, limits: l.withDefaults()}
	s.guard = newGuard(s.limits)
	s.tls, s.refusal = s.tlsConfigs()
	s.Publish(&Table{})
	return s, nil
}

// Publish makes t what is answered from, for all requests to come.
func (s *Server) Publish(t *Table) { s.table.Store(t) }

// Table returns what is answered from.
func (s *Server) Table() *Table { return s.table.Load() }

// kind is what a listener is for. Its name is a metric label.
type kind int

const (
	kindHTTPS kind = iota
	kindPlain
	kindHTTP
	kindCount
)

var kindNames = [kindCount]string{"https", "plain", "http"}

// ServeTLS answers policy requests over TLS on l until Shutdown, and then returns nil.
// It closes l.
func (s *Server) ServeTLS(l net.Listener) error {
	if s.o.GetCertificate == nil {
		return errors.New("policyserve: there is nobody to ask for certificates")
	}
	return s.serve(l, kindHTTPS, handler{s, kindHTTPS})
}

// ServePlain answers policy requests without TLS on l, to trusted proxies only, until
// Shutdown, and then returns nil. It closes l.
func (s *Server) ServePlain(l net.Listener) error {
	return s.serve(l, kindPlain, handler{s, kindPlain})
}

// ServeRedirect sends people on l to HTTPS until Shutdown, and then returns nil. wrap,
// if not nil, may answer other things first, as a CA's challenges. It closes l.
func (s *Server) ServeRedirect(l net.Listener, wrap func(http.Handler) http.Handler) error {
	var h http.Handler = redirector{handler{s, kindHTTP}}
	if wrap != nil {
		h = wrap(h)
	}
	return s.serve(l, kindHTTP, h)
}

// serve has net/http take the connections that come in by l, once they were looked at.
func (s *Server) serve(l net.Listener, k kind, h http.Handler) error {
	defer l.Close()
	hs := s.httpServer(h)
	hs.Protocols.SetUnencryptedHTTP2(k == kindHTTPS) // a session shows what is inside of TLS
	if !s.register(hs) {
		return nil
	}
	if err := hs.Serve(&door{l, s, k}); !errors.Is(err, http.ErrServerClosed) {
		hs.Close() // the listener broke: nothing comes any more
		return err
	}
	return nil
}

// register notes what Shutdown has to end. It returns false after Shutdown.
func (s *Server) register(hs *http.Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.servers = append(s.servers, hs)
	return true
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Protocols:                    &protocols,
		Handler:                      h,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is 405 as well
		MaxHeaderBytes:               s.limits.HeaderBytes,
		ReadHeaderTimeout:            s.limits.HeaderTimeout,
		ReadTimeout:                  s.limits.HeaderTimeout, // a policy fetch has no body
		WriteTimeout:                 s.limits.WriteTimeout,
		IdleTimeout:                  s.limits.IdleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: http2Streams, MaxReadFrameSize: http2Frame,
			MaxReceiveBufferPerConnection: http2Window, MaxReceiveBufferPerStream: http2Window,
		},
		ConnContext: withSession,
		ConnState:   s.connState,
		ErrorLog:    slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
}

// connState tells the guard which connections get on.
func (s *Server) connState(nc net.Conn, state http.ConnState) {
	if state != http.StateActive && state != http.StateIdle {
		return
	}
	c := nc.(*session)
	s.guard.step(&c.conn, true)
	if state == http.StateActive && !c.http2 {
		c.yield()
	}
}

// Shutdown takes no new connections, lets requests under way end, and closes all
// connections. When ctx is done it cuts off what is left, and returns the reason.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	servers := s.servers
	s.mu.Unlock()
	defer time.AfterFunc(freshGrace, s.guard.closeFresh).Stop()
	var wg sync.WaitGroup
	errs := make([]error, len(servers))
	for i, hs := range servers {
		wg.Go(func() {
			if errs[i] = hs.Shutdown(ctx); errs[i] != nil {
				s.guard.closeAll() // first, as who does not read would hold up the next line
				hs.Close()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
