package e2e_test

import (
	"net/http"
	"slices"
	"testing"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// Each way to prove control of a host, alone and where the other one does not work. A
// port on which the CA does not find what it looks for shows that the way was not gone.
func TestACMEChallenges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                   string
		options                certs.Options
		noHTTP, noTLS          bool // the CA does not reach us there
		hosts, attemptsPerHost int
	}{
		{"certmagic/http-01", certs.Options{Source: certs.SourceCertmagic, DisableTLSALPN01: true}, false, true, 5, 1},
		{"certmagic/tls-alpn-01", certs.Options{Source: certs.SourceCertmagic, DisableHTTP01: true}, true, false, 5, 1},
		{"certmagic/both", certs.Options{Source: certs.SourceCertmagic}, false, false, 5, 1},
		{"certmagic/both, port 443 closed", certs.Options{Source: certs.SourceCertmagic}, false, true, 2, 2},
		{"certmagic/both, port 80 closed", certs.Options{Source: certs.SourceCertmagic}, true, false, 2, 2},
		{"autocert/tls-alpn-01", certs.Options{Source: certs.SourceAutocert, DisableHTTP01: true}, true, false, 5, 1},
		{"autocert/both", certs.Options{Source: certs.SourceAutocert}, false, false, 5, 1},
		{"autocert/both, port 443 closed", certs.Options{Source: certs.SourceAutocert}, false, true, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPebble(t, pebbleOptions{})
			test.options.CAs = []certs.CA{acmeAccount(p)}
			s := newACMESite(t, test.options)
			httpPort, tlsPort := s.ports()
			if test.noHTTP {
				httpPort = tlsPort
			} else if test.noTLS {
				tlsPort = httpPort
			}
			p.connect(httpPort, tlsPort)
			domains := acmeDomains(test.hosts)
			s.publish(domains...)
			s.run()
			s.waitOK(domains...)
			checkIssued(t, s, p, domains, test.attemptsPerHost)
		})
	}
}

// checkIssued checks that each domain has a certificate of its own, and that nothing but
// these was ordered, whatever strangers ask for.
func checkIssued(t *testing.T, s *acmeSite, p *pebbleCA, domains []string, attempts int) {
	t.Helper()
	strangers := []string{"mta-sts.stranger.example", domains[0], "mta-sts.mta-sts." + domains[0], ""}
	for _, name := range strangers {
		s.refuses(name)
		s.refusesChallenge(name)
		askForToken(t, s, name)
	}
	serials := map[string]bool{}
	for _, domain := range domains {
		serials[s.mustFetch(domain, p.roots()).SerialNumber.String()] = true
		// There is no challenge any more, and a certificate is no answer to one.
		s.refusesChallenge(mtasts.PolicyHost(domain))
		askForToken(t, s, mtasts.PolicyHost(domain))
	}
	if len(serials) != len(domains) {
		t.Errorf("%d certificates for %d hosts", len(serials), len(domains))
	}
	for _, order := range p.gate.ordered() {
		if len(order.hosts) != 1 || !slices.ContainsFunc(domains, func(d string) bool { return mtasts.PolicyHost(d) == order.hosts[0] }) {
			t.Errorf("ordered for %q", order.hosts)
		}
	}
	if n, most := len(p.gate.ordered()), attempts*len(domains); n < len(domains) || n > most {
		t.Errorf("%d orders for %d hosts, want at most %d", n, len(domains), most)
	}
}

// askForToken asks the HTTP listener for a challenge of host that is not there: strangers
// get nothing, and our hosts are sent to HTTPS as always.
func askForToken(t *testing.T, s *acmeSite, host string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.http.Addr().String()+"/.well-known/acme-challenge/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode == http.StatusOK {
		t.Errorf("a token was answered for %q", host)
	}
}
