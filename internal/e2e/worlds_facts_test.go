package e2e_test

import (
	"context"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// worldFacts are what other people's tools see of worlds, so that each is broken as it
// says and not otherwise. The tools are dig, by "dig TYPE name" below the domain; curl,
// which fetches the policy, by "curl", an address and options; openssl, which has a session with
// an MX host, by "smtp host" and options. says are parts of the answer, in this order.
var worldFacts = []struct {
	world, look string
	says        []string
}{
	{"absent.healthy", "dig MX", []string{"status: NXDOMAIN"}},
	{"record-nxdomain", "dig TXT _mta-sts", []string{"status: NXDOMAIN"}},
	{"record-nodata", "dig TXT _mta-sts", []string{"status: NOERROR", "ANSWER: 0"}},
	{"record-servfail", "dig TXT _mta-sts", []string{"status: SERVFAIL"}},
	{"record-servfail", "dig A mta-sts", []string{"status: NOERROR", firstHost}},
	{"record-two", "dig TXT _mta-sts", []string{"status: NOERROR", "ANSWER: 2"}},
	{"record-self", "dig TXT _mta-sts", []string{"status: SERVFAIL"}},
	{"record-self", "dig CNAME _mta-sts", []string{"status: NOERROR", "CNAME", "_mta-sts.record-self.test."}},
	{"record-dangling", "dig TXT _mta-sts", []string{"status: NXDOMAIN", "CNAME", "nothing.record-dangling.test."}},
	{"healthy-split-record", "dig TXT _mta-sts", []string{"ANSWER: 1", `"v=STSv1; " "id=20261125" "T0000;"`}},
	{"record-large", "dig +ignore TXT _mta-sts", []string{"flags: qr tc"}},
	{"record-large", "dig TXT _mta-sts", []string{"ANSWER: 25"}},
	{"delegation-lame", "dig MX", []string{"status: SERVFAIL"}},
	{"delegation-half-lame", "dig MX", []string{"status: NOERROR", "good.mx.test."}},
	{"delegation-slow", "dig MX", []string{"status: NOERROR", "good.mx.test."}},
	{"dnssec-bogus", "dig MX", []string{"status: SERVFAIL"}},
	{"dnssec-bogus", "dig +cd MX", []string{"status: NOERROR", "good.mx.test."}},
	{"dnssec", "dig MX", []string{"status: NOERROR", " ad;", "good.mx.test."}},
	{"healthy", "dig MX", []string{"status: NOERROR", "flags: qr rd ra;", "good.mx.test."}},
	{"mx-null", "dig MX", []string{"status: NOERROR", "MX\t0 ."}},
	{"host-no-address", "dig AAAA mta-sts", []string{"status: NOERROR", "ANSWER: 0"}},
	{"host-nxdomain", "dig A mta-sts", []string{"status: NXDOMAIN"}},
	{"tlsrpt-two", "dig TXT _smtp._tls", []string{"ANSWER: 2"}},

	{"healthy", "curl " + firstHost, []string{"200 text/plain"}},
	{"host-v6-only", "curl " + firstHostV6, []string{"200 text/plain"}},
	{"host-refuses", "curl " + nobody, []string{"curl: (7)", "Couldn't connect"}},
	{"host-filtered", "curl " + filtered, []string{"curl: (28)", "timed out"}},
	{"cert-expired", "curl " + firstHost, []string{"curl: (60)", "certificate has expired"}},
	{"cert-early", "curl " + firstHost, []string{"curl: (60)", "certificate is not yet valid"}},
	{"cert-name", "curl " + firstHost, []string{"curl: (60)", "no alternative certificate subject name matches"}},
	{"cert-wildcard", "curl " + firstHost, []string{"curl: (60)", "no alternative certificate subject name matches"}},
	{"cert-untrusted", "curl " + firstHost, []string{"curl: (60)", "unable to get local issuer certificate"}},
	{"cert-self-signed", "curl " + firstHost, []string{"curl: (60)", "self-signed certificate"}},
	{"cert-no-chain", "curl " + firstHost, []string{"curl: (60)", "unable to get local issuer certificate"}},
	{"cert-common-name", "curl " + firstHost, []string{"200 text/plain"}}, // curl is so kind
	{"host-old-tls", "curl " + firstHost + " --tlsv1.2", []string{"curl: (35)", "alert protocol version"}},
	{"host-old-tls", "curl " + firstHost + " --tlsv1.0 --tls-max 1.0 --ciphers DEFAULT@SECLEVEL=0", []string{"200 text/plain"}},
	{"host-v6-cert-expired", "curl " + firstHost, []string{"200 text/plain"}},
	{"host-v6-cert-expired", "curl " + firstHostV6, []string{"curl: (60)", "certificate has expired"}},
	{"redirect-301", "curl " + firstHost, []string{"301 ", "https://www.redirect-301.test/mta-sts.txt"}},
	{"status-404", "curl " + firstHost, []string{"404 "}},
	{"media-type-html", "curl " + firstHost, []string{"200 text/html"}},
	{"slow-head", "curl " + firstHost, []string{"curl: (28)", "timed out"}},
	{"slow-body", "curl " + firstHost, []string{"curl: (28)", "timed out", "200 text/plain"}},

	{"healthy", "smtp good.mx.test", []string{"CONNECTION ESTABLISHED", "TLSv1.3", "Verification: OK"}},
	{"mx-six", "smtp six.mx.test", []string{"CONNECTION ESTABLISHED", "Verification: OK"}},
	{"mx-wildcard", "smtp wildcard.mx.test", []string{"Verification: OK"}},
	{"mx-widewildcard", "smtp widewildcard.mx.test", []string{"Verification error: hostname mismatch"}},
	{"mx-expired", "smtp expired.mx.test", []string{"Verification error: certificate has expired"}},
	{"mx-early", "smtp early.mx.test", []string{"Verification error: certificate is not yet valid"}},
	{"mx-othername", "smtp othername.mx.test", []string{"Verification error: hostname mismatch"}},
	{"mx-untrusted", "smtp untrusted.mx.test", []string{"Verification error: unable to get local issuer certificate"}},
	{"mx-selfsigned", "smtp selfsigned.mx.test", []string{"Verification error: self-signed certificate"}},
	{"mx-nochain", "smtp nochain.mx.test", []string{"Verification error: unable to verify the first certificate"}},
	{"mx-plain", "smtp plain.mx.test", []string{"Didn't find STARTTLS in server response"}},
	{"mx-hidden", "smtp hidden.mx.test", []string{"Didn't find STARTTLS in server response"}},
	{"mx-stripped", "smtp stripped.mx.test", []string{"Didn't find STARTTLS in server response", "CONNECTION ESTABLISHED"}}, // it is there for who knows
	{"mx-oldtls", "smtp oldtls.mx.test -tls1_2", []string{"unsupported protocol"}},
	{"mx-oldtls", "smtp oldtls.mx.test -tls1 -cipher DEFAULT@SECLEVEL=0", []string{"CONNECTION ESTABLISHED", "TLSv1"}},
	{"dane", "smtp good.secure.test -dane_tlsa_domain good.secure.test", []string{"Verified peername: good.secure.test", "DANE TLSA 3 1 1"}},
	{"dane-other-key", "smtp other.secure.test -dane_tlsa_domain other.secure.test", []string{"Verification error: no matching DANE TLSA records"}},
}

// checkFacts has the tools look at the worlds.
func (n *internet) checkFacts(t *testing.T, roots string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, fact := range worldFacts {
		wg.Go(func() {
			name, args, err := n.tool(fact.world+".test", fact.look, roots)
			if err != nil {
				t.Errorf("%s: %s: %v", fact.world, fact.look, err)
				return
			}
			out, _ := exec.CommandContext(t.Context(), name, args...).CombinedOutput() // what they say counts
			rest, found := string(out), true
			for _, part := range fact.says {
				if _, rest, found = strings.Cut(rest, part); !found {
					t.Errorf("%s: %s %s does not say %q in this order:\n%s", fact.world, name, strings.Join(args, " "), fact.says, out)
					return
				}
			}
		})
	}
	wg.Wait()
	if !t.Failed() {
		t.Logf("dig, curl and openssl see %d things as they should be", len(worldFacts))
	}
}

// tool is the command for a look at a world.
func (n *internet) tool(domain, look, roots string) (name string, args []string, err error) {
	f := strings.Fields(look)
	switch f[0] {
	case "dig":
		args = []string{"@127.0.0.1", "+noall", "+comments", "+answer", "+tries=4", "+time=10"}
		owner := ""
		for _, arg := range f[1:] {
			if strings.HasPrefix(arg, "_") || arg == "mta-sts" {
				owner = arg + "."
				continue
			}
			args = append(args, arg)
		}
		return "dig", append(args, owner+domain), nil
	case "curl":
		host := "mta-sts." + domain
		return "curl", append([]string{
			"--silent", "--show-error", "--max-time", "3", "--cacert", roots, "--connect-to", host + ":443:" + net.JoinHostPort(f[1], "443"),
			"--output", "/dev/null", "--write-out", "%{http_code} %{content_type} %{redirect_url}\n", "https://" + host + "/.well-known/mta-sts.txt",
		}, f[2:]...), nil
	}
	return n.openssl(f[1], f[2:], roots)
}

// openssl is a session with an MX host.
func (n *internet) openssl(host string, options []string, roots string) (name string, args []string, err error) {
	addrs, err := resolverAt(n.resolver).LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return "", nil, err
	}
	args = []string{
		"s_client", "-brief", "-starttls", "smtp", "-connect", net.JoinHostPort(addrs[0].String(), "25"), "-servername", host, "-verify_hostname", host,
		"-CAfile", roots, "-no-CApath", "-no-CAstore",
	}
	if slices.Contains(options, "-dane_tlsa_domain") {
		m, err := dns.Exchange(new(dns.Msg).SetQuestion("_25._tcp."+host+".", dns.TypeTLSA), n.resolver)
		if err != nil {
			return "", nil, err
		}
		for _, rr := range m.Answer {
			options = append(options, "-dane_tlsa_rrdata", strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return "openssl", append(args, options...), nil
}
