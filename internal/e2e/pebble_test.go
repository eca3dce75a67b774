package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	pebbleca "github.com/letsencrypt/pebble/v2/ca"
	pebbledb "github.com/letsencrypt/pebble/v2/db"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	pebblewfe "github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Pebble is Let's Encrypt's ACME server for tests: it checks what clients send more
// strictly than any CA in production. Here it runs in the process of the tests, one for
// each test, with a gate in front in which trouble can be made.

// pebbleOptions are what a test may want otherwise. Zero is a CA whose certificates are
// valid for 90 days, and which takes everybody.
type pebbleOptions struct {
	validity   time.Duration     // of the certificates
	shortlived time.Duration     // if set, of those with the profile "shortlived"
	eabKeys    map[string]string // MAC keys by key id; if set, only who has one of them gets an account
	blocked    []string          // domains that the CA refuses
	identities []string          // by which the CA goes in CAA records
}

// pebbleCA is a CA. Its directory can be told to others before it answers: requests wait
// until connect says on which ports it finds those whom it checks.
type pebbleCA struct {
	t     testing.TB
	o     pebbleOptions
	addr  string
	gate  *acmeGate
	log   syncBuffer
	ready chan struct{} // closed by connect

	server *httptest.Server // nil while the CA is down

	one sync.Mutex // Pebble's front end v2.10.1 has data races between requests for one account
	ca  *pebbleca.CAImpl
	db  *pebbledb.MemoryStore
	wfe http.Handler
	mgt http.Handler // Pebble's management interface
}

// newPebble opens a CA that is not connected yet.
func newPebble(t testing.TB, o pebbleOptions) *pebbleCA {
	t.Helper()
	p := &pebbleCA{t: t, o: o, ready: make(chan struct{})}
	p.gate = newACMEGate(http.HandlerFunc(p.serve))
	p.up()
	t.Cleanup(func() {
		if p.server != nil {
			p.down()
		}
		if t.Failed() {
			t.Logf("log of the CA at %s:\n%s", p.addr, p.log.String())
		}
	})
	return p
}

// setPebbleEnv tells Pebble what it can be told by the environment only. (t.Setenv is not
// for parallel tests.)
var setPebbleEnv = sync.OnceValue(func() error {
	return errors.Join(
		os.Setenv("PEBBLE_VA_NOSLEEP", "1"),
		os.Setenv("PEBBLE_AUTHZREUSE", "0"),      // each order is checked
		os.Setenv("PEBBLE_WFE_NONCEREJECT", "0"), // see TestACMEBadNonce
	)
})

// connect starts the CA, which will look for hosts at these ports of this machine.
func (p *pebbleCA) connect(httpPort, tlsPort int) {
	p.t.Helper()
	if err := setPebbleEnv(); err != nil {
		p.t.Fatal(err)
	}
	validity := p.o.validity
	if validity == 0 {
		validity = 90 * 24 * time.Hour
	}
	profiles := map[string]pebbleca.Profile{"default": {ValidityPeriod: uint64(validity.Seconds())}}
	if p.o.shortlived != 0 {
		profiles["shortlived"] = pebbleca.Profile{ValidityPeriod: uint64(p.o.shortlived.Seconds())}
	}
	logger := log.New(&p.log, "", log.Ltime|log.Lmicroseconds)
	p.db = pebbledb.NewMemoryStore()
	p.ca = pebbleca.New(logger, p.db, "", "ecdsa", 0, 1, profiles)
	for id, key := range p.o.eabKeys {
		if err := p.db.AddExternalAccountKeyByID(id, key); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, domain := range p.o.blocked {
		if err := p.db.AddBlockedDomain(domain); err != nil {
			p.t.Fatal(err)
		}
	}
	va := pebbleva.New(logger, httpPort, tlsPort, true, testDNS(p.t).addr, p.db)
	wfe := pebblewfe.New(logger, p.db, va, p.ca, p.o.identities, true, len(p.o.eabKeys) > 0, 0, 0)
	p.wfe, p.mgt = wfe.Handler(), wfe.ManagementHandler()
	close(p.ready)
}

func (p *pebbleCA) serve(w http.ResponseWriter, r *http.Request) {
	select {
	case <-p.ready:
		p.one.Lock()
		defer p.one.Unlock()
		p.wfe.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

func (p *pebbleCA) directory() string { return "https://" + p.addr + pebblewfe.DirectoryPath }

// up opens the CA's listener, after down at the address of before.
func (p *pebbleCA) up() {
	p.t.Helper()
	addr := p.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var l net.Listener
	acmePoll(p.t, "the CA's listener is open", func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	p.addr = l.Addr().String()
	p.server = httptest.NewUnstartedServer(p.gate)
	p.server.Listener.Close()
	p.server.Listener = l
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.StartTLS()
}

// down closes the CA's listener and all connections: to connect is refused.
func (p *pebbleCA) down() {
	p.server.CloseClientConnections()
	p.server.Close()
	p.server = nil
}

// httpsRoots is what the CA's own HTTPS is verified against.
func (p *pebbleCA) httpsRoots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(p.server.Certificate())
	return roots
}

// httpsRootsPEM is the same as a file would hold it.
func (p *pebbleCA) httpsRootsPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
}

// roots is what the certificates that the CA issues are verified against.
func (p *pebbleCA) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.GetRootCert(0).Cert)
	return roots
}

// setRenewalInfo has the CA answer questions when to renew leaf with answer.
func (p *pebbleCA) setRenewalInfo(leaf *x509.Certificate, answer string) {
	p.t.Helper()
	body, err := json.Marshal(map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
		"ariResponse": answer,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/set-renewal-info/", bytes.NewReader(body))
	r.Header.Set("User-Agent", "test")
	p.mgt.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		p.t.Fatalf("setting the renewal information: %d %s", w.Code, w.Body)
	}
}

// nonce returns a good nonce.
func (p *pebbleCA) nonce() string {
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodHead, "/nonce-plz", nil)
	r.Header.Set("User-Agent", "test")
	p.serve(w, r)
	return w.Header().Get("Replay-Nonce")
}

// testDNSServer is a name server which knows every name as 127.0.0.1, unless a test says
// that it fails.
type testDNSServer struct {
	*challtestsrv.ChallSrv
	addr string
}

// breakHost makes lookups of host fail; mend undoes it.
func (d testDNSServer) breakHost(host string) (mend func()) {
	d.AddDNSServFailRecord(dns.Fqdn(host))
	return func() { d.DeleteDNSServFailRecord(dns.Fqdn(host)) }
}

var startTestDNS = sync.OnceValues(newTestDNS)

// testDNS returns the name server of all tests.
func testDNS(t testing.TB) testDNSServer {
	t.Helper()
	d, err := startTestDNS()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// newTestDNS tries some ports, as challtestsrv cannot be given a listener.
func newTestDNS() (d testDNSServer, err error) {
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return d, err
		}
		addr := l.Addr().String()
		l.Close()
		srv, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{addr}, Log: log.New(io.Discard, "", 0)})
		if err != nil {
			return d, err
		}
		srv.SetDefaultDNSIPv6("")
		srv.Run()
		if answersDNS(addr) {
			return testDNSServer{srv, addr}, nil
		}
		srv.Shutdown()
	}
	return d, fmt.Errorf("no port was found for the name server")
}

// answersDNS waits until the name server at addr answers.
func answersDNS(addr string) bool {
	client := &dns.Client{Net: "tcp", Timeout: time.Second}
	question := new(dns.Msg).SetQuestion("mta-sts.example.com.", dns.TypeA)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(acmePollEvery) {
		answer, _, err := client.Exchange(question, addr)
		if err == nil && len(answer.Answer) == 1 {
			return true
		}
	}
	return false
}

// acmeSerial numbers the domains of all tests.
var acmeSerial atomic.Int64

// acmeDomains returns n domains that no other test has: certmagic answers the challenges
// of all that runs in a process from one memory.
func acmeDomains(n int) []string {
	domains := make([]string, n)
	for i := range domains {
		domains[i] = fmt.Sprintf("d%d.example", acmeSerial.Add(1))
	}
	return domains
}

// syncBuffer is a buffer for many goroutines, some of which outlive their test.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
