package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mtasts-server/certs"
)

// The exact messages that a person sees.
func TestConfigurationErrors(t *testing.T) {
	const (
		email     = "hostmaster@example.com"
		directory = "https://ca.example/directory"
	)
	dir := t.TempDir()
	acme := func(cas ...certs.CA) certs.Options {
		return certs.Options{Source: certs.SourceCertmagic, Dir: dir, CAs: cas}
	}
	with := func(o certs.Options, change func(o *certs.Options)) certs.Options {
		change(&o)
		return o
	}
	ca := certs.CA{Directory: directory, Email: email}
	good := acme(ca)
	for _, c := range []struct {
		why  string
		o    certs.Options
		want string
	}{
		{"nothing at all", certs.Options{}, `source "" is unknown: use certmagic, autocert, files or local`},
		{"a source that does not exist", certs.Options{Source: "certbot", Dir: dir}, `source "certbot" is unknown: use certmagic, autocert, files or local`},
		{"a source in upper case", certs.Options{Source: "Local", Dir: dir}, `source "Local" is unknown: use certmagic, autocert, files or local`},
		{"files from nowhere", certs.Options{Source: certs.SourceFiles, Dir: dir}, "source files: no directory of PEM files is named"},
		{"local without a directory", certs.Options{Source: certs.SourceLocal}, "source local: no directory is named to keep certificates in"},
		{"certmagic without a directory", with(good, func(o *certs.Options) { o.Dir = "" }), "source certmagic: no directory is named to keep certificates in"},
		{"autocert without a directory", certs.Options{Source: certs.SourceAutocert, CAs: good.CAs}, "source autocert: no directory is named to keep certificates in"},
		{"fewer orders than one", with(good, func(o *certs.Options) { o.Slots = -1 }), "-1 orders at once: from 1 to 256 are possible"},
		{"more than anybody means", with(good, func(o *certs.Options) { o.Slots = 257 }), "257 orders at once: from 1 to 256 are possible"},
		{"a port below zero", with(good, func(o *certs.Options) { o.HTTPPort = -80 }), "port -80: from 1 to 65535 are possible"},
		{"a port too high", with(good, func(o *certs.Options) { o.TLSPort = 65536 }), "port 65536: from 1 to 65535 are possible"},
		{"no CA", acme(), "source certmagic: no CA is named"},
		{"no CA for autocert", certs.Options{Source: certs.SourceAutocert, Dir: dir}, "source autocert: no CA is named"},
		{"two CAs for autocert", certs.Options{Source: certs.SourceAutocert, Dir: dir, CAs: []certs.CA{ca, {Email: email}}}, "source autocert knows one CA only: choose certmagic to have a second one"},
		{"autocert without its first challenge", certs.Options{Source: certs.SourceAutocert, Dir: dir, CAs: good.CAs, DisableTLSALPN01: true}, "source autocert always tries tls-alpn-01 first: choose certmagic to do without it"},
		{"no challenge", with(good, func(o *certs.Options) { o.DisableHTTP01, o.DisableTLSALPN01 = true, true }), "http-01 and tls-alpn-01 are both switched off: no way is left to prove control of a host"},
		{"a CA twice", acme(ca, ca), `ca "https://ca.example/directory" is named twice`},
		{"the default CA twice", acme(certs.CA{Email: email}, certs.CA{Directory: "https://acme-v02.api.letsencrypt.org/directory", Email: email}), `ca "https://acme-v02.api.letsencrypt.org/directory" is named twice`},
		{"a CA without a scheme", acme(certs.CA{Directory: "ca.example/directory", Email: email}), `ca "ca.example/directory": the directory is not an https URL`},
		{"a CA without a host", acme(certs.CA{Directory: "https:///directory", Email: email}), `ca "https:///directory": the directory is not an https URL`},
		{"a CA with nothing but a port", acme(certs.CA{Directory: "https://:443/directory", Email: email}), `ca "https://:443/directory": the directory is not an https URL`},
		{"a CA that is no URL", acme(certs.CA{Directory: "https://ca\n", Email: email}), `ca "https://ca\n": the directory is not an https URL`},
		{"a CA by another protocol", acme(certs.CA{Directory: "ftp://ca.example", Email: email}), `ca "ftp://ca.example": the directory is not an https URL`},
		{"a CA without TLS", acme(certs.CA{Directory: "http://ca.example", Email: email}), `ca "http://ca.example": the directory must be an https URL (RFC 8555 §6.1)`},
		{"a name that only begins like this machine's", acme(certs.CA{Directory: "http://localhost.example", Email: email}), `ca "http://localhost.example": the directory must be an https URL (RFC 8555 §6.1)`},
		{"no e-mail address", acme(certs.CA{Directory: directory}), `ca "https://ca.example/directory": the account's e-mail address "": mail: no address`},
		{"no address but a name", acme(certs.CA{Directory: directory, Email: "hostmaster"}), `ca "https://ca.example/directory": the account's e-mail address "hostmaster": mail: missing '@' or angle-addr`},
		{"the second CA", acme(ca, certs.CA{}), `ca "https://acme-v02.api.letsencrypt.org/directory": the account's e-mail address "": mail: no address`},
		{"half a binding", acme(certs.CA{Directory: directory, Email: email, EABKeyID: "kid"}), `ca "https://ca.example/directory": an external account binding has both a key id and a MAC key`},
		{"the other half", acme(certs.CA{Directory: directory, Email: email, EABMACKey: "AQID"}), `ca "https://ca.example/directory": an external account binding has both a key id and a MAC key`},
		{"base64 of the other alphabet", acme(certs.CA{Directory: directory, Email: email, EABKeyID: "kid", EABMACKey: "+/+/"}), `ca "https://ca.example/directory": the external account binding's MAC key is not base64url`},
		{"a budget of less than nothing", acme(certs.CA{Directory: directory, Email: email, Orders: -1}), `ca "https://ca.example/directory": -1 orders in three hours: from 1 to 100000 are possible`},
		{"a budget beyond anybody's", acme(ca, certs.CA{Email: email, Orders: 100_001}), `ca "https://acme-v02.api.letsencrypt.org/directory": 100001 orders in three hours: from 1 to 100000 are possible`},
		{"a name server by name", with(good, func(o *certs.Options) { o.Preflight.Resolvers = []string{"dns.example"} }), `preflight: the name server "dns.example" is no address with a port`},
		{"a profile that autocert cannot ask for", certs.Options{Source: certs.SourceAutocert, Dir: dir, CAs: []certs.CA{{Email: email, Profile: "shortlived"}}}, `ca "https://acme-v02.api.letsencrypt.org/directory": autocert cannot ask for profile "shortlived": choose certmagic`},
	} {
		m, err := certs.New(c.o)
		if m != nil || err == nil || err.Error() != "certificates: "+c.want {
			t.Errorf("%s:\n     %v\nwant certificates: %s", c.why, err, c.want)
		}
		if err := c.o.Validate(); err == nil || err.Error() != "certificates: "+c.want {
			t.Errorf("%s: Validate says %v", c.why, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a wrong configuration left %v, %v", left, err)
	}

	for _, c := range []struct {
		why string
		o   certs.Options
	}{
		{"one CA", good},
		{"the default CA", acme(certs.CA{Email: email})},
		{"a name beside the address", acme(certs.CA{Email: "Hostmaster <hostmaster@example.com>"})},
		{"two CAs", acme(ca, certs.CA{Email: email})},
		{"a binding", acme(certs.CA{Email: email, EABKeyID: "kid", EABMACKey: "-_-_"})},
		{"a binding whose key is padded", acme(certs.CA{Email: email, EABKeyID: "kid", EABMACKey: "AQ=="})},
		{"a profile", acme(certs.CA{Email: email, Profile: "shortlived"})},
		{"a test CA on this machine", acme(certs.CA{Directory: "http://127.0.0.1:14000/dir", Email: email})},
		{"the same by IPv6", acme(certs.CA{Directory: "http://[::1]:14000/dir", Email: email})},
		{"the same by name", acme(certs.CA{Directory: "http://localhost:14000/dir", Email: email})},
		{"one challenge", with(good, func(o *certs.Options) { o.DisableTLSALPN01 = true })},
		{"the other one", with(good, func(o *certs.Options) { o.DisableHTTP01 = true })},
		{"the most of all", with(good, func(o *certs.Options) { o.Slots, o.HTTPPort, o.TLSPort = 256, 65535, 65535 })},
		{"autocert", certs.Options{Source: certs.SourceAutocert, CAs: good.CAs, DisableHTTP01: true}},
		{"files", certs.Options{Source: certs.SourceFiles, FilesDir: dir}},
		{"local, which needs no CA", certs.Options{Source: certs.SourceLocal}},
	} {
		c.o.Dir = filepath.Join(t.TempDir(), "new", "directory")
		if err := c.o.Validate(); err != nil {
			t.Errorf("%s: Validate says %v", c.why, err)
		}
		if _, err := os.Stat(c.o.Dir); err == nil {
			t.Errorf("%s: Validate made the directory", c.why)
		}
		if _, err := certs.New(c.o); err != nil {
			t.Errorf("%s: %v", c.why, err)
			continue
		}
		info, err := os.Stat(c.o.Dir)
		if c.o.Source == certs.SourceFiles {
			if err == nil {
				t.Errorf("%s: a directory was made that nobody needs", c.why)
			}
			continue
		}
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s: the directory of keys has mode %v", c.why, info.Mode())
		}
	}
}

// A directory that is not there yet, as a volume that is mounted late, is no reason not
// to start.
func TestFilesDirectoryComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	m, log := openFiles(t, dir, time.Now, host)
	if served(t, m, host) != nil || len(log) == 0 {
		t.Errorf("%d lines in the log", len(log))
	}
	p := certs.NewTestCA(t).Issue(t, certs.TestLeaf{Names: []string{host}})
	write(t, dir, map[string][]byte{"a.pem": append(p.Chain, p.Key...)})
	m.Reload()
	serves(t, "there now", m, host, p, 2)
}

// What New fills in is not the caller's.
func TestOptionsAreLeftAlone(t *testing.T) {
	cas := []certs.CA{{Email: "hostmaster@example.com"}}
	_, err := certs.New(certs.Options{Source: certs.SourceCertmagic, Dir: t.TempDir(), CAs: cas})
	must(t, err)
	if cas[0].Directory != "" {
		t.Errorf("the caller's CA has become %q", cas[0].Directory)
	}
}

// Challenges are offered where they are answered.
func TestNextProtos(t *testing.T) {
	for _, c := range []struct {
		why     string
		source  certs.Source
		disable bool
		want    string
	}{
		{"certmagic", certs.SourceCertmagic, false, "acme-tls/1"},
		{"switched off", certs.SourceCertmagic, true, ""},
		{"autocert", certs.SourceAutocert, false, "acme-tls/1"},
		{"nobody checks us", certs.SourceLocal, false, ""},
	} {
		m, err := certs.New(certs.Options{Source: c.source, Dir: t.TempDir(), CAs: []certs.CA{{Email: "a@example.com"}}, DisableTLSALPN01: c.disable})
		must(t, err)
		if got := strings.Join(m.NextProtos(), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
		if got := m.LocalRoot() != ""; got != (c.source == certs.SourceLocal) {
			t.Errorf("%s: a local root is %v", c.why, got)
		}
		m.Reload() // does nothing
	}
}
