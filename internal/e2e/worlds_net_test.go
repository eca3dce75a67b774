package e2e_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/sendercheck/sendertest"
)

// Where the parts of the worlds are. Nothing listens at nobody; there are two policy
// hosts, so that a domain can have both.
const (
	nobody       = "127.44.100.9"
	firstHost    = "127.44.100.1"
	secondHost   = "127.44.100.2"
	mxPrefix     = "127.25.0."
	worldReports = `_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tlsrpt@reports.test"`
)

// world is a domain, <name>.test, and what is wrong with it.
type world struct {
	name string

	// dns has lines in place of those that a healthy domain has at these names; "- name"
	// leaves the name out. lame are names whose name servers refuse to speak of them.
	dns, lame []string
	base      []string // what a healthy domain has, where that is not the same everywhere
	noZone    bool     // the domain does not exist

	mx    []string // MX hosts, without .mx.test; nil for good
	cert  string   // of the policy host, see policyCert
	body  string   // of the policy; "" for the right one
	serve http.HandlerFunc

	slow   bool     // it takes all the time there is
	chance bool     // whether a sender gets a policy depends on which address it asks
	want   []string // findings that are more than notes; errors by their code, others with their severity before
}

func (w *world) domain() string { return w.name + ".test" }

// policy is what the world serves.
func (w *world) policy() string {
	if w.body != "" {
		return w.body
	}
	return policyText("enforce", w.mx...)
}

// policyText is a policy for MX hosts; for good without any.
func policyText(mode string, mx ...string) string {
	text := "version: STSv1\r\nmode: " + mode + "\r\nmax_age: 1209600\r\n"
	if len(mx) == 0 {
		mx = []string{"good"}
	}
	for _, host := range mx {
		text += "mx: " + host + ".mx.test\r\n"
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
	return "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n" + strings.Join(lines, "\n") + "\n"
}

// internet is where the worlds are.
type internet struct {
	*sendertest.World
	other    *sendertest.CA // whom nobody trusts
	worlds   map[string]*world
	resolver string
	roots    string // file
}

// startInternet starts all servers.
func startInternet(t *testing.T, worlds []*world) *internet {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: policies are on port 443, MX hosts on port 25")
	}
	ca, err := sendertest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	n := &internet{World: &sendertest.World{CA: ca, HTTPSPort: 443, SMTPPort: 25}, worlds: map[string]*world{}}
	if n.other, err = sendertest.NewCA(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	n.roots = t.TempDir() + "/roots.pem"
	if err := os.WriteFile(n.roots, n.RootPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	zones := map[string]string{"mx.test": n.startMX(t)}
	for _, w := range worlds {
		if n.worlds[w.domain()] != nil {
			t.Fatalf("there are two worlds %s", w.name)
		}
		n.worlds[w.domain()] = w
		if !w.noZone {
			zones[w.domain()] = w.zone()
		}
	}
	n.startPolicyHosts(t)
	n.startDNS(t, worlds, zones)
	return n
}

// startDNS starts BIND with all zones, and Unbound, which finds them there. A lame name
// is to be had from a BIND that has no zone.
func (n *internet) startDNS(t *testing.T, worlds []*world, zones map[string]string) {
	t.Helper()
	bind, lame := startNamed(t, "", "", zones), startNamed(t, "", "", nil)
	stubs := map[string]string{}
	for zone := range zones {
		stubs[zone] = bind
	}
	for _, w := range worlds {
		for _, name := range w.lame {
			stubs[strings.TrimPrefix(name+"."+w.domain(), "@.")] = lame
		}
	}
	n.resolver = startUnbound(t, stubs)
	for _, server := range []string{bind, n.resolver} {
		eventually(t, "the name servers answer", func() error {
			addr, err := lookupHost(server, "good.mx.test")
			if err == nil && addr != mxPrefix+"1" {
				err = fmt.Errorf("the address of good.mx.test is %q", addr)
			}
			return err
		})
	}
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
		cert, err := n.certificate(w.cert, "mta-sts."+domain)
		if err != nil {
			t.Fatal(err)
		}
		c := sendertest.Server(cert)
		if w.cert == "old TLS" {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		configs["mta-sts."+domain] = c
	}
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c := configs[hello.ServerName]; c != nil {
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
	for _, addr := range []string{firstHost, secondHost} {
		if err := n.PolicyHost(netip.MustParseAddr(addr), config, handler); err != nil {
			t.Fatal(err)
		}
	}
}

// atSecond reports whether the request came to the second policy host.
func atSecond(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && strings.HasPrefix(addr.String(), secondHost+":")
}
