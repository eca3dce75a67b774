package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	foxcpp "github.com/foxcpp/go-mtasts"
	"github.com/mjl-/adns"
	moxdns "github.com/mjl-/mox/dns"
	mox "github.com/mjl-/mox/mtasts"
)

// otherReadings are the worlds where another sender gets a policy and by our reading
// there is none (true), or the other way round (false), with the reason. There are no
// others. docs/rfc-coverage.md has them among the deliberate readings.
var otherReadings = map[string]map[string]reading{
	"mox": {
		"record-blank-semicolon": {true, blankBeforeSemicolon},
		"record-two-ids":         {false, "a field that stands twice makes the record invalid"},
	},
	"go-mtasts": { // of maddy
		"record-blank-first":     {true, "blanks are let pass everywhere between fields, also before the first"},
		"record-blank-semicolon": {true, blankBeforeSemicolon},
		"record-bad-id":          {true, idUnread},
		"record-long-id":         {true, idUnread},
		"record-neighbour":       {false, neighboursCount},
		"record-large":           {false, neighboursCount},
		"media-type-html":        {false, mediaTypeRead},
		"media-type-octets":      {false, mediaTypeRead},
		"media-type-none":        {false, mediaTypeRead},
		"too-large":              {true, noLimit},
		"much-too-large":         {true, noLimit},
		"max-age-huge":           {true, "max_age may have any number of digits"},
		"mx-dot":                 {true, mxUnread},
		"extension":              {false, "a second colon in a line makes the policy invalid"},
	},
	"postfix-mta-sts-resolver": {
		"record-blank-semicolon": {true, blankBeforeSemicolon},
		"record-bad-id":          {true, idUnread},
		"record-empty-id":        {true, idUnread},
		"record-long-id":         {true, idUnread},
		"ours-invalid-record":    {true, idUnread},
		"cert-common-name":       {true, "Python's TLS takes the common name of a certificate that has no DNS name"},
		"media-type-html":        {false, mediaTypeRead},
		"media-type-octets":      {false, mediaTypeRead},
		"media-type-none":        {false, mediaTypeRead},
		"max-age-too-large":      {false, "max_age above 31557600 makes the policy invalid"},
		"blank-line":             {true, "lines without a colon are skipped"},
		"comment":                {true, "lines without a colon are skipped"},
		"mx-dot":                 {true, mxUnread},
	},
}

// Reasons that several have in common.
const (
	blankBeforeSemicolon = `a blank before the first ";" is let pass, as the ABNF has it; the text discards such records among others (erratum 6285)`
	idUnread             = "any id does"
	neighboursCount      = "any other TXT record beside it makes the record count as none; RFC 8461 §3.1 discards the others first"
	mxUnread             = "mx are not looked at before they are compared with a host"
	noLimit              = "a policy may be as long as it likes"
	mediaTypeRead        = "any media type but text/plain is refused, as RFC 8461 §3.2 asks; we tell the owner, and go on"
)

type reading struct {
	gets bool
	why  string
}

const (
	// senderPatience is what senders wait for a policy that comes.
	senderPatience = 30 * time.Second

	// shortPatience is for worlds that take all the time there is.
	shortPatience = 5 * time.Second
)

// sender looks for the policies of domains; for each there is why it has none, or "".
type sender func(t *testing.T, resolver, roots string, patience time.Duration, domains []string) map[string]string

// compareSenders has other people's senders look at the worlds through the same
// resolver, and compares whether they get a policy.
func compareSenders(t *testing.T, resolver, roots string, worlds []*world, found map[string]*worldReport) {
	t.Helper()
	slow := domainsOf(worlds, func(w *world) bool { return w.slow })
	fast := domainsOf(worlds, func(w *world) bool { return !w.slow })
	for name, get := range map[string]sender{"mox": moxGets, "go-mtasts": foxcppGets, "postfix-mta-sts-resolver": postfixGets} {
		t.Run(name, func(t *testing.T) {
			failed := get(t, resolver, roots, senderPatience, fast)
			maps.Copy(failed, get(t, resolver, roots, shortPatience, slow))
			expected := otherReadings[name]
			var table []string
			for _, w := range worlds {
				if w.chance {
					continue
				}
				ours, theirs := found[w.domain()].delivers(), failed[w.domain()] == ""
				want, other := expected[w.name]
				switch {
				case other && (ours == theirs || theirs != want.gets):
					t.Errorf("%s: gets a policy is %v, ours %v; the table of other readings is wrong", w.name, theirs, ours)
				case !other && ours != theirs:
					t.Errorf("%s: gets a policy is %v, ours %v (%s)", w.name, theirs, ours, failed[w.domain()])
				case other:
					table = append(table, fmt.Sprintf("%-24s %v: %s", w.name, theirs, want.why))
				}
			}
			t.Logf("%d of %d worlds are read otherwise:\n%s", len(table), len(worlds), strings.Join(table, "\n"))
		})
	}
}

// dialerAt connects to hosts as a resolver knows them. Here who answers does so at once.
func dialerAt(resolver string) *net.Dialer {
	return &net.Dialer{Resolver: resolverAt(resolver), Timeout: shortPatience}
}

// getAll asks for the policies of domains at the same time.
func getAll(t *testing.T, patience time.Duration, domains []string, get func(ctx context.Context, domain string) error) map[string]string {
	failed := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, domain := range domains {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := get(ctx, domain)
			mu.Lock()
			defer mu.Unlock()
			if failed[domain] = ""; err != nil {
				failed[domain] = err.Error()
			}
		})
	}
	wg.Wait()
	return failed
}

// transportAt finds hosts as a resolver knows them, and trusts roots.
func transportAt(t *testing.T, resolver, roots string) *http.Transport {
	t.Helper()
	pem, err := os.ReadFile(roots)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Transport{DialContext: dialerAt(resolver).DialContext, TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
}

// moxGets is mox.
func moxGets(t *testing.T, resolver, roots string, patience time.Duration, domains []string) map[string]string {
	was := mox.HTTPClient.Transport
	mox.HTTPClient.Transport = transportAt(t, resolver, roots)
	defer func() { mox.HTTPClient.Transport = was }()
	log := slog.New(slog.DiscardHandler)
	dns := moxdns.StrictResolver{Log: log, Resolver: &adns.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, resolver)
	}}}
	return getAll(t, patience, domains, func(ctx context.Context, domain string) error {
		name, err := moxdns.ParseDomain(domain)
		if err == nil {
			_, _, _, err = mox.Get(ctx, log, dns, name)
		}
		return err
	})
}

// foxcppGets is go-mtasts, as maddy uses it.
func foxcppGets(t *testing.T, resolver, roots string, patience time.Duration, domains []string) map[string]string {
	was := http.DefaultTransport
	http.DefaultTransport = transportAt(t, resolver, roots)
	defer func() { http.DefaultTransport = was }()
	cache := foxcpp.NewFSCache(t.TempDir())
	cache.Resolver = resolverAt(resolver)
	return getAll(t, patience, domains, func(ctx context.Context, domain string) error {
		_, err := cache.Get(ctx, domain)
		return err
	})
}

// postfixGets is postfix-mta-sts-resolver.
func postfixGets(t *testing.T, resolver, roots string, patience time.Duration, domains []string) map[string]string {
	proxy := newProxy(t, func(host string) (net.Conn, error) { return dialerAt(resolver).Dial("tcp", host) })
	_, port, _ := net.SplitHostPort(resolver)
	cmd := exec.Command("/usr/bin/python3", "testdata/postfix_resolver.py", port, fmt.Sprint(patience.Seconds()))
	cmd.Env = []string{"https_proxy=" + proxy.URL, "SSL_CERT_FILE=" + roots, "PATH=/usr/bin:/bin"}
	input, err := json.Marshal(domains)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var found map[string]struct{ Result string }
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	failed := map[string]string{}
	for _, domain := range domains {
		if failed[domain] = found[domain].Result; failed[domain] == "VALID" {
			failed[domain] = ""
		}
	}
	return failed
}
