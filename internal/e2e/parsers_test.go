package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	foxcpp "github.com/foxcpp/go-mtasts"
	moxdns "github.com/mjl-/mox/dns"
	mox "github.com/mjl-/mox/mtasts"

	"mtasts-server/mtasts"
)

// meant is what a policy of the examples is meant to say.
type meant struct {
	mode     string
	maxAge   int
	mx       []string
	wildcard []string // those of mxHosts that match by a wildcard
}

var (
	day = 24 * 60 * 60

	providerMX = []string{"mx1.provider.example", "mx2.provider.example"}

	// meantPolicies is written by hand from the examples and from what the providers
	// tell their customers, so that nothing of the program vouches for itself.
	meantPolicies = map[string]meant{
		"example.com":           {"testing", day, []string{"mx1.example.com", "mx2.example.com"}, nil},
		"example.org":           {"testing", day, []string{"mx1.example.com", "mx2.example.com"}, nil}, // alias
		"customer-1.example":    {"enforce", 28 * day, providerMX, nil},
		"customer-2.example":    {"enforce", 28 * day, providerMX, nil},
		"customer-2.test":       {"enforce", 28 * day, providerMX, nil}, // alias
		"xn--mller-kva.example": {"enforce", 28 * day, providerMX, nil}, // alias, written müller.example
		"customer-3.example":    {"testing", day, providerMX, nil},
		"leaving.example":       {"none", day, []string{"mx.leaving.example"}, nil},
		"fastmail.example":      {"testing", day, []string{"in1-smtp.messagingengine.com", "in2-smtp.messagingengine.com"}, nil},
		"google-workspace.example": {
			"testing", day,
			[]string{"smtp.google.com", "aspmx.l.google.com", "*.aspmx.l.google.com", "*.googlemail.com"},
			[]string{"alt1.aspmx.l.google.com", "aspmx2.googlemail.com"},
		},
		"icloud-mail.example":   {"testing", day, []string{"mx01.mail.icloud.com", "mx02.mail.icloud.com"}, nil},
		"mailbox-org.example":   {"testing", day, []string{"mxext1.mailbox.org", "mxext2.mailbox.org", "mxext3.mailbox.org"}, nil},
		"microsoft-365.example": {"testing", day, []string{"*.mail.protection.outlook.com"}, []string{"example-com.mail.protection.outlook.com"}},
		"migadu.example":        {"testing", day, []string{"aspmx1.migadu.com", "aspmx2.migadu.com"}, nil},
		"proton-mail.example":   {"testing", day, []string{"mail.protonmail.ch", "mailsec.protonmail.ch"}, nil},
		"zoho-mail.example":     {"testing", day, []string{"mx.zoho.com", "mx2.zoho.com", "mx3.zoho.com"}, nil},
	}
)

// mxHosts are the MX hosts that each policy is asked about: all that are named anywhere,
// some that only a wildcard matches, and some that nothing may match.
func mxHosts() []string {
	hosts := []string{
		"mx3.example.com", "mx1.example.com.evil.example", "a.mx1.example.com", "example.com",
		"mail.protection.outlook.com", "a.b.mail.protection.outlook.com", "b.alt1.aspmx.l.google.com", "googlemail.com",
	}
	for _, m := range meantPolicies {
		hosts = append(hosts, m.wildcard...)
		hosts = append(hosts, m.exact()...)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func (m meant) exact() []string {
	return slices.DeleteFunc(slices.Clone(m.mx), func(mx string) bool { return strings.HasPrefix(mx, "*.") })
}

// check compares what a parser understood with what was meant.
func (m meant) check(t *testing.T, mode string, maxAge int, mx []string) {
	t.Helper()
	if mode != m.mode || maxAge != m.maxAge || !slices.Equal(mx, m.mx) {
		t.Errorf("understood as %s, %d, %q; meant is %s, %d, %q", mode, maxAge, mx, m.mode, m.maxAge, m.mx)
	}
}

func (m meant) checkMatches(t *testing.T, match func(host string) bool) {
	t.Helper()
	for _, host := range mxHosts() {
		want := slices.Contains(m.exact(), host) || slices.Contains(m.wildcard, host)
		if match(host) != want {
			t.Errorf("the MX host %q: matches is %v, want %v", host, !want, want)
		}
	}
}

// TestParsers has the examples served by the program, and lets other people's senders
// look up, fetch, parse and apply them. It is not parallel, as it replaces
// http.DefaultTransport, which one of them cannot do without.
func TestParsers(t *testing.T) {
	s := newSite(t)
	if err := os.CopyFS(s.path("policies"), os.DirFS("../../examples/policies")); err != nil {
		t.Fatal(err)
	}
	var check struct{ Domains, Errors int }
	if err := json.Unmarshal([]byte(s.run("check", "--json")), &check); err != nil {
		t.Fatal(err)
	}
	if check.Domains != len(meantPolicies) || check.Errors != 0 {
		t.Fatalf("the examples have %d domains and %d errors; meantPolicies has %d domains", check.Domains, check.Errors, len(meantPolicies))
	}
	p := s.start()
	records := make(map[string]string)
	for domain := range meantPolicies {
		records[domain] = stsRecord(t, s, domain)
		client := p.client(false)
		eventually(t, domain+" is served", func() error {
			_, err := getPolicy(client, domain)
			return err
		})
	}
	transport := p.transport(false)
	t.Run("ours", func(t *testing.T) { parseOurs(t, transport) })
	t.Run("mox", func(t *testing.T) { parseMox(t, transport, records) })
	t.Run("go-mtasts", func(t *testing.T) { parseFoxcpp(t, transport, records) })
	t.Run("postfix-mta-sts-resolver", func(t *testing.T) { parsePostfix(t, p, records) })
	p.stop()
}

// stsRecord is the text of the TXT record that the program tells people to publish.
func stsRecord(t *testing.T, s *site, domain string) string {
	t.Helper()
	var view struct {
		ID      string
		Records []string
	}
	if err := json.Unmarshal([]byte(s.run("policy", "--json", domain)), &view); err != nil {
		t.Fatal(err)
	}
	quoted, ok := strings.CutPrefix(view.Records[0], "_mta-sts."+domain+". IN TXT ")
	text, err := strconv.Unquote(quoted)
	if !ok || err != nil || !strings.Contains(text, view.ID) {
		t.Fatalf("the record of %s is %s", domain, view.Records[0])
	}
	return text
}

// parseOurs holds our own parser to the same.
func parseOurs(t *testing.T, transport http.RoundTripper) {
	for domain, m := range meantPolicies {
		t.Run(domain, func(t *testing.T) {
			body, err := getPolicy(&http.Client{Transport: transport}, domain)
			if err != nil {
				t.Fatal(err)
			}
			policy, err := mtasts.Parse([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			var mx []string
			for _, x := range policy.MX {
				mx = append(mx, string(x))
			}
			m.check(t, string(policy.Mode), policy.MaxAge, mx)
			m.checkMatches(t, policy.MatchMX)
		})
	}
}

// parseMox has mox look up the record, fetch the policy and apply it.
func parseMox(t *testing.T, transport http.RoundTripper, records map[string]string) {
	was := mox.HTTPClient.Transport
	mox.HTTPClient.Transport = transport
	defer func() { mox.HTTPClient.Transport = was }()
	dns := moxdns.MockResolver{TXT: make(map[string][]string)}
	for domain, text := range records {
		dns.TXT["_mta-sts."+domain+"."] = []string{text}
	}
	for domain, m := range meantPolicies {
		t.Run(domain, func(t *testing.T) {
			name, err := moxdns.ParseDomain(domain)
			if err != nil {
				t.Fatal(err)
			}
			record, policy, text, err := mox.Get(t.Context(), slog.New(slog.DiscardHandler), dns, name)
			if err != nil {
				t.Fatal(err)
			}
			if want := mtasts.ID([]byte(text)); record.ID != want {
				t.Errorf("the record has the id %q, the policy's is %q", record.ID, want)
			}
			var mx []string
			for _, x := range policy.MX {
				mx = append(mx, strings.TrimSuffix(map[bool]string{true: "*."}[x.Wildcard]+x.Domain.ASCII, "."))
			}
			if len(policy.Extensions) > 0 || policy.Version != "STSv1" {
				t.Errorf("version %q, extensions %v", policy.Version, policy.Extensions)
			}
			m.check(t, string(policy.Mode), policy.MaxAgeSeconds, mx)
			m.checkMatches(t, func(host string) bool {
				name, err := moxdns.ParseDomain(host)
				if err != nil {
					t.Fatal(err)
				}
				return policy.Matches(name)
			})
		})
	}
}

// txtRecords answers as net.Resolver does.
type txtRecords map[string]string

func (r txtRecords) LookupTXT(_ context.Context, name string) ([]string, error) {
	text, ok := r[strings.TrimPrefix(name, "_mta-sts.")]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return []string{text}, nil
}

// parseFoxcpp has go-mtasts, as maddy uses it, do the same.
func parseFoxcpp(t *testing.T, transport http.RoundTripper, records map[string]string) {
	was := http.DefaultTransport
	http.DefaultTransport = transport
	defer func() { http.DefaultTransport = was }()
	cache := foxcpp.NewFSCache(t.TempDir())
	cache.Resolver = txtRecords(records)
	for domain, m := range meantPolicies {
		t.Run(domain, func(t *testing.T) {
			policy, err := cache.Get(t.Context(), domain)
			if err != nil {
				t.Fatal(err)
			}
			m.check(t, string(policy.Mode), policy.MaxAge, policy.MX)
			m.checkMatches(t, policy.Match)
		})
	}
}

// parsePostfix has the resolver of postfix-mta-sts-resolver, an unchanged Debian package,
// do it in a process of its own. It finds the server through a proxy, and trusts its CA
// as any program that uses OpenSSL.
func parsePostfix(t *testing.T, p *program, records map[string]string) {
	const python = "/usr/bin/python3" // the one that Debian's packages are for
	if out, err := exec.Command(python, "-c", "import postfix_mta_sts_resolver").CombinedOutput(); err != nil {
		t.Fatalf("the Debian package postfix-mta-sts-resolver is missing, run: make setup (%v, %s)", err, bytes.TrimSpace(out))
	}
	input, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(t, func(string) (net.Conn, error) { return net.Dial("tcp", p.https) })
	cmd := exec.Command(python, "testdata/postfix_resolver.py")
	cmd.Env = []string{"https_proxy=" + proxy.URL, "SSL_CERT_FILE=" + p.rootFile(), "PATH=/usr/bin:/bin"}
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var found map[string]struct {
		Result, ID string
		Policy     struct {
			Version, Mode string
			MaxAge        int `json:"max_age"`
			MX            []string
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for domain, m := range meantPolicies {
		t.Run(domain, func(t *testing.T) {
			f := found[domain]
			if f.Result != "VALID" || f.Policy.Version != "STSv1" || !strings.Contains(records[domain], "id="+f.ID+";") {
				t.Errorf("got %+v for the record %q\n%s", f, records[domain], stderr.Bytes())
			}
			m.check(t, f.Policy.Mode, f.Policy.MaxAge, f.Policy.MX)
		})
	}
	var want []string
	for domain := range meantPolicies {
		want = append(want, mtasts.PolicyHost(domain)+":443")
	}
	slices.Sort(want)
	if got := proxy.asked(); !slices.Equal(got, want) {
		t.Errorf("the resolver connected to %q, want %q", got, want)
	}
}

// proxy is an HTTP proxy that connects to hosts as dial does.
type proxy struct {
	*httptest.Server
	dial func(host string) (net.Conn, error)

	mu    sync.Mutex
	hosts map[string]bool
}

func newProxy(t *testing.T, dial func(host string) (net.Conn, error)) *proxy {
	x := &proxy{dial: dial, hosts: make(map[string]bool)}
	x.Server = httptest.NewServer(x)
	t.Cleanup(x.Close)
	return x
}

func (x *proxy) asked() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.hosts))
}

func (x *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	x.mu.Lock()
	x.hosts[r.Host] = true
	x.mu.Unlock()
	server, err := x.dial(r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	fmt.Fprint(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	var done sync.WaitGroup
	done.Go(func() {
		_, _ = io.Copy(server, client) // ends when either side hangs up
		server.Close()
	})
	_, _ = io.Copy(client, server)
	client.Close()
	done.Wait()
}
