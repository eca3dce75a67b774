package e2e_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"mtasts-server/certs"
)

// The whole program, as it is installed: a CA that wants an account of its own customers,
// a policy file that is added while it runs, a stop and a start.
func TestACMEProgram(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		ca := newPebble(t, pebbleOptions{eabKeys: map[string]string{"kid-1": eabKey}})
		d := acmeDomains(2)
		s := newSite(t)
		s.write("roots.pem", string(ca.httpsRootsPEM()))
		s.write("eab", eabKey+"\n")
		s.write("mtasts-server.toml", acmeProgramConfig(t, source, ca))
		s.write("policies/first.toml", acmeProgramPolicy(d[0]))
		p := s.start()
		ca.connect(p.acmePorts())
		first := p.eventuallyFetch(d[0], ca.roots())

		s.replace("policies/second.toml", acmeProgramPolicy(d[1]))
		second := p.eventuallyFetch(d[1], ca.roots())
		eventually(t, "/readyz tells of both hosts", func() error {
			text, err := p.readyz()
			if err == nil && text != "ready\ncertificates: 2 of 2 hosts have one, 0 pending, 0 failing\n" {
				err = fmt.Errorf("%q", text)
			}
			return err
		})
		p.checkMetrics(
			`mtasts_domains{state="current"} 2`,
			`mtasts_certificates_hosts{state="ok"} 2`,
			`mtasts_certificates_hosts{state="failing"} 0`,
			`mtasts_certificates_ready_hosts 2`,
			`mtasts_certificates_orders_total{outcome="obtained"} 2`,
			`mtasts_certificates_orders_total{outcome="failed"} 0`,
			`mtasts_certificates_preflights_total{outcome="passed"} 2`,
		)
		p.stop()

		ca.down()
		p = s.start()
		for i, old := range []*x509.Certificate{first, second} {
			leaf, err := fetchPolicy(p.https, d[i], ca.roots(), acmePolicy(d[i]))
			if err != nil || !leaf.Equal(old) {
				t.Errorf("%s after a restart without the CA: %v", d[i], err)
			}
		}
		p.stop()
	})
}

func acmeProgramConfig(t *testing.T, source certs.Source, ca *pebbleCA) string {
	return fmt.Sprintf(`
policies = ["policies/*.toml"]
state = "state"
[listen]
https = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[certificates]
source = %q
directory = %q
email = "hostmaster@example.net"
roots = "roots.pem"
eab = { key_id = "kid-1", mac_key_file = "eab" }
[certificates.preflight]
addresses = ["127.0.0.0/8"]
resolvers = [%q]
[log]
format = "json"
`, source, ca.directory(), testDNS(t).addr)
}

// acmeProgramPolicy is a policy file from which acmePolicy is made.
func acmeProgramPolicy(domain string) string {
	return fmt.Sprintf("[domains.%q]\nmode = \"enforce\"\nmax_age = \"1w\"\nmx = [\"mx.%s\"]\n", domain, domain)
}

// acmePorts are those on which the CA finds the program, as its log tells.
func (p *program) acmePorts() (httpPort, tlsPort int) {
	p.t.Helper()
	eventually(p.t, "the ports are in the log", func() error {
		for _, text := range p.lines() {
			var line struct {
				Msg         string
				HTTP, HTTPS []string
			}
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "serving" {
				httpPort, tlsPort = portOf(line.HTTP[0]), portOf(line.HTTPS[0])
				return nil
			}
		}
		return fmt.Errorf("%d lines without them", len(p.lines()))
	})
	return httpPort, tlsPort
}

// portOf returns the port of an address, 0 if there is none.
func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

// eventuallyFetch waits until the policy of domain is served as it is in its file.
func (p *program) eventuallyFetch(domain string, roots *x509.CertPool) (leaf *x509.Certificate) {
	p.t.Helper()
	eventually(p.t, "the policy of "+domain+" is served", func() (err error) {
		leaf, err = fetchPolicy(p.https, domain, roots, acmePolicy(domain))
		return err
	})
	return leaf
}

// checkMetrics checks that each of lines is among the metrics.
func (p *program) checkMetrics(lines ...string) {
	p.t.Helper()
	res, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, line := range lines {
		if !strings.Contains("\n"+string(text), "\n"+line+"\n") {
			p.t.Errorf("not among the metrics: %s", line)
		}
	}
}
