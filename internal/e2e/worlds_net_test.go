package e2e_test

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/sendercheck/sendertest"
)

// Where the parts of the worlds are. Nothing listens at nobody; there are two policy
// hosts, so that a domain can have both, the first with an address of IPv6 too.
const (
	nobody       = "127.44.100.9"
	nobodyV6     = "fd00:44::9"
	away         = "2001:db8::1" // there is no way to
	firstHost    = "127.44.100.1"
	firstHostV6  = "fd00:44::1"
	secondHost   = "127.44.100.2"
	filtered     = "127.44.100.8" // packets to it are dropped
	mxPrefix     = "127.25.0."
	mxPrefixV6   = "fd00:25::"
	worldReports = `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tlsrpt@reports.test"`
)

// world is a domain, <name>.test, and what is wrong with it.
type world struct {
	name string

	// dns has lines in place of those that a healthy domain has at these names; "- name"
	// leaves the name out.
	dns     []string
	base    []string // what a healthy domain has, where that is not the same everywhere
	servers []string // name servers that the domain is delegated to, by their names in ns.test; nil for one that is well
	noZone  bool     // the domain does not exist
	signed  bool     // by DNSSEC
	bogus   bool     // signed, and not by the key that resolvers know

	mx     []string // MX hosts, without .mx.test; nil for good
	cert   string   // of the policy host, see certificate
	certV6 string   // likewise, where it is asked at its address of IPv6
	body   string   // of the policy; "" for the right one
	serve  http.HandlerFunc

	slow   bool     // it takes all the time there is
	chance bool     // whether a sender gets a policy depends on which address it asks
	want   []string // findings that are more than notes; errors by their code, others with their severity before
	notes  []string // those that are notes
}

func (w *world) domain() string { return w.name + ".test" }

// policy is what the world serves.
func (w *world) policy() string {
	if w.body != "" {
		return w.body
	}
	return policyText("enforce", w.mx...)
}

// policyText is a policy for MX hosts in mx.test; for good without any.
func policyText(mode string, mx ...string) string {
	if len(mx) == 0 {
		mx = []string{"good"}
	}
	hosts := make([]string, len(mx))
	for i, host := range mx {
		hosts[i] = host + ".mx.test"
	}
	return policyFor(mode, hosts...)
}

// policyFor is a policy for MX hosts anywhere.
func policyFor(mode string, mx ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\nmax_age: 1209600\r\n"
	for _, host := range mx {
		text += "mx: " + host + "\r\n"
	}
	return text
}

// zone is the zone of the world.
func (w *world) zone() string {
	lines := []string{`_mta-sts TXT "v=STSv1; id=1;"`, "mta-sts A " + firstHost, worldReports}
	if w.base != nil {
		lines = slices.Clone(w.base)
	}
	mx := w.mx
	if mx == nil {
		mx = []string{"good"}
	}
	for i, host := range mx {
		lines = append(lines, fmt.Sprintf("@ MX %d %s.mx.test.", 10*(i+1), host))
	}
	name := func(line string) string { return strings.Fields(strings.TrimPrefix(line, "- "))[0] }
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(w.dns, func(other string) bool { return name(other) == name(line) })
	})
	lines = append(lines, slices.DeleteFunc(slices.Clone(w.dns), func(line string) bool { return line[0] == '-' })...)
	return soa + "@ NS worlds.ns.test.\n" + strings.Join(lines, "\n") + "\n"
}

// internet is where the worlds are.
type internet struct {
	*sendertest.World
	other    *sendertest.CA // whom nobody trusts
	worlds   map[string]*world
	resolver string
}

// startInternet starts all servers.
func startInternet(t *testing.T, worlds []*world) *internet {
	t.Helper()
	ca, err := sendertest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	n := &internet{World: &sendertest.World{CA: ca, HTTPSPort: 443, SMTPPort: 25}, worlds: map[string]*world{}, resolver: resolverAddr}
	if n.other, err = sendertest.NewCA(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	zones := n.startMX(t)
	signed := []string{"secure.test"}
	for _, w := range worlds {
		if n.worlds[w.domain()] != nil {
			t.Fatalf("there are two worlds %s", w.name)
		}
		n.worlds[w.domain()] = w
		if !w.noZone {
			zones[w.domain()] = w.zone()
		}
		if w.signed || w.bogus {
			signed = append(signed, w.domain())
		}
	}
	n.startPolicyHosts(t)
	n.startDNS(t, worlds, zones, signed)
	startFilter(t, filtered+":443")
	startFilter(t, filtered+":25")
	return n
}

// certificate issues a certificate as kind says, "" for a good one.
func (n *internet) certificate(kind, host string) (tls.Certificate, error) {
	l, ca, now := sendertest.Leaf{Names: []string{host}}, n.CA, time.Now()
	switch kind {
	case "expired":
		l.NotBefore, l.NotAfter = now.AddDate(0, -3, 0), now.Add(-time.Hour)
	case "early":
		l.NotBefore = now.Add(time.Hour)
	case "soon":
		l.NotBefore, l.NotAfter = now.AddDate(0, -3, 0), now.AddDate(0, 0, 3)
	case "name":
		l.Names = []string{"other.test"}
	case "common name":
		l.Names, l.CommonName = nil, host
	case "wildcard": // one label too high
		_, parent, _ := strings.Cut(host, ".")
		_, parent, _ = strings.Cut(parent, ".")
		l.Names = []string{"*." + parent}
	case "parent":
		_, parent, _ := strings.Cut(host, ".")
		l.Names = []string{"*." + parent}
	case "untrusted":
		ca = n.other
	case "self-signed":
		l.SelfSigned = true
	case "no chain":
		l.ChainAbsent = true
	case "", "old TLS":
	default:
		return tls.Certificate{}, fmt.Errorf("no certificate is %s", kind)
	}
	return ca.Issue(l)
}

// startPolicyHosts starts two servers for the policies of all worlds.
func (n *internet) startPolicyHosts(t *testing.T) {
	t.Helper()
	configs := map[string]*tls.Config{}
	for domain, w := range n.worlds {
		if w.cert == "none" {
			continue
		}
		host := "mta-sts." + domain
		for key, kind := range map[string]string{host: w.cert, firstHostV6 + " " + host: cmp.Or(w.certV6, w.cert)} {
			cert, err := n.certificate(kind, host)
			if err != nil {
				t.Fatal(err)
			}
			configs[key] = sendertest.Server(cert)
			if kind == "old TLS" {
				configs[key].MinVersion, configs[key].MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			}
		}
	}
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		addr, _, _ := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if c := cmp.Or(configs[addr+" "+hello.ServerName], configs[hello.ServerName]); c != nil {
			return c, nil
		}
		return nil, fmt.Errorf("nobody is %q here", hello.ServerName)
	}}
	handler := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w := n.worlds[strings.TrimPrefix(r.Host, "mta-sts.")]
		switch {
		case w == nil:
			http.NotFound(out, r)
		case w.serve != nil:
			w.serve(out, r)
		default:
			sendertest.Text(w.policy())(out, r)
		}
	})
	for _, addr := range []string{firstHost, firstHostV6, secondHost} {
		if err := n.PolicyHost(netip.MustParseAddr(addr), config, handler); err != nil {
			t.Fatal(err)
		}
	}
}

// asked is the address that a request came to.
func asked(r *http.Request) string {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	host, _, _ := net.SplitHostPort(addr.String())
	return host
}
