// Package sendertest is a small internet on loopback addresses, for tests of what looks
// at domains from outside: a recursive name server, policy hosts and MX hosts, with
// certificates of a CA of its own, each as well or as broken as a test wants.
package sendertest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// World is the internet.
type World struct {
	*CA
	*Zone
	Resolver            string // address and port of the name server
	HTTPSPort, SMTPPort int    // of all hosts

	mu    sync.Mutex
	close []func() error
}

// host numbers the addresses that were given out in this process.
var host atomic.Uint32

// Start starts a world with nothing but a name server that knows no name.
func Start() (*World, error) {
	w := &World{Zone: newZone()}
	err := errors.Join(
		func() (err error) { w.CA, err = NewCA(); return err }(),
		func() (err error) { w.HTTPSPort, err = freePort(); return err }(),
		func() (err error) { w.SMTPPort, err = freePort(); return err }(),
		w.startDNS(),
	)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends all servers.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, f := range w.close {
		errs = append(errs, f())
	}
	w.close = nil
	return errors.Join(errs...)
}

func (w *World) atEnd(f func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.close = append(w.close, f)
}

// Address returns an address of this machine, where nothing listens yet.
func (w *World) Address() netip.Addr {
	n := host.Add(1)
	return netip.AddrFrom4([4]byte{127, 77, byte(n >> 8), byte(n)})
}

// freePort is free now on the usual address, and most likely on others.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func listen(addr netip.Addr, port int) (net.Listener, error) {
	return net.Listen("tcp", netip.AddrPortFrom(addr, uint16(port)).String())
}

// PolicyHost starts a policy host at an address.
func (w *World) PolicyHost(addr netip.Addr, config *tls.Config, handler http.Handler) error {
	l, err := listen(addr, w.HTTPSPort)
	if err != nil {
		return err
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	s := &http.Server{Handler: handler, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan error, 1)
	go func() { ended <- s.ServeTLS(l, "", "") }()
	w.atEnd(func() error {
		err := s.Close()
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return nil
}

// Text is a policy host that serves body.
func Text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

// Server is a TLS configuration with one certificate.
func Server(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// Pool is the CA as those have it who trust it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

var errUsage = errors.New("a test asks for what is not possible")
