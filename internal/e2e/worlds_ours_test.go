package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"mtasts-server/mtasts"
)

// oursHost is where the program serves.
const oursHost = "127.44.100.3"

// oursWorlds are domains that the program serves, so that it knows what is meant. Where
// one leads to another policy host, it serves body.
func oursWorlds() []*world {
	right := string(mtasts.Policy{Mode: mtasts.ModeTesting, MaxAge: 86400, MX: []mtasts.MXPattern{"good.mx.test"}}.Body())
	worlds := []*world{
		{name: "ours-healthy"},
		{name: "ours-wrong-id", dns: []string{`_mta-sts TXT "v=STSv1; id=1;"`}, want: []string{"id-differs"}},
		{name: "ours-no-record", dns: []string{"- _mta-sts"}, want: []string{"record-missing"}},
		{name: "ours-invalid-record", dns: []string{`_mta-sts TXT "v=STSv1; id=;"`}, want: []string{"record-invalid"}},
		{name: "ours-nothing", dns: []string{"- _mta-sts", "- mta-sts"}, want: []string{"not-published", "policy-host-missing"}},
		{name: "ours-no-tlsrpt", dns: []string{"- _smtp._tls"}, want: []string{"rua-differs"}},
		{name: "ours-other-tlsrpt", dns: []string{`_smtp._tls TXT "v=TLSRPTv1; rua=mailto:old@reports.test"`}, want: []string{"rua-differs"}},
		{name: "ours-elsewhere", dns: []string{"mta-sts A " + firstHost}, body: strings.ReplaceAll(right, "\r", ""), want: []string{"host-elsewhere", "served-differs", "id-early"}},
		{name: "ours-elsewhere-same", dns: []string{"mta-sts A " + firstHost}, body: right, want: []string{"host-elsewhere"}},
		{name: "ours-one-stale", dns: []string{"mta-sts A " + oursHost, "mta-sts A " + firstHost}, body: strings.Replace(right, "86400", "86401", 1), want: []string{"warning policy-differs", "host-elsewhere", "served-differs", "id-early"}},
		{name: "ours-mx-not-in-policy", dns: []string{"@ MX 10 good2.mx.test."}, want: []string{"mx-not-in-policy"}, notes: []string{"mx-pattern-unused"}},
	}
	for _, w := range worlds {
		if w.name != "ours-nothing" { // where no policy is to be had
			w.notes = append(w.notes, "mode-testing")
		}
	}
	return worlds
}

// configureOurs writes the policies, and gives each world what the program says must be
// in DNS.
func configureOurs(t *testing.T, worlds []*world) *site {
	t.Helper()
	s := newSite(t)
	s.write("mtasts-server.toml", strings.Replace(siteConfig, `"127.0.0.1:0"`, `"`+oursHost+`:443"`, 1))
	policies := ""
	for _, w := range worlds {
		policies += fmt.Sprintf("[domains.%q]\nmode = \"testing\"\nmax_age = \"1d\"\nmx = [\"good.mx.test\"]\ntlsrpt = [\"mailto:tlsrpt@reports.test\"]\n", w.domain())
	}
	s.write("policies/a.toml", policies)
	for _, w := range worlds {
		w.base = []string{fmt.Sprintf("_mta-sts TXT %q", stsRecord(t, s, w.domain())), "mta-sts A " + oursHost, worldReports}
	}
	return s
}

// serveOurs starts the program, and returns it and a file of whom to trust then.
func serveOurs(t *testing.T, s *site, n *internet, worlds []*world) (p *program, roots string) {
	t.Helper()
	s.append("mtasts-server.toml", fmt.Sprintf("[dns]\ntarget = [%q]\nresolvers = [%q]\nprivate = true\n", oursHost, n.resolver))
	p = s.start()
	client := p.client(false)
	for _, w := range worlds {
		eventually(t, w.domain()+" is served", func() error {
			_, err := getPolicy(client, w.domain())
			return err
		})
	}
	ours, err := os.ReadFile(s.rootFile())
	if err != nil {
		t.Fatal(err)
	}
	s.write("roots.pem", string(n.RootPEM)+string(ours))
	return p, s.path("roots.pem")
}
