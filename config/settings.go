package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mtasts-server/mtasts"
)

// Settings is what the main file says, defaults filled in, paths made absolute.
// What a reload does to each setting is said in docs/configuration.md.
type Settings struct {
	File         string   // the main file
	Policies     []string // patterns of policy files, for filepath.Glob
	State        string   // directory for all that the program learns
	Listen       Listen
	Certificates Certificates
	Limits       Limits
	Log          Log
	DNS          DNS
	Reports      Reports
	Rollout      Rollout
	Review       Review
	Alerts       Alerts
	KnownMX      []string // domains whose MX hosts are no strangers
}

// Listen says where the program listens: addresses as for net.Listen("tcp", ...).
type Listen struct {
	HTTPS          []string       // policies
	HTTP           []string       // ACME challenges, and a way to HTTPS
	Plain          []string       // policies without TLS, for a proxy that ends TLS
	Admin          string         // health and metrics; "" for none
	ProxyProtocol  bool           // TrustedProxies send a PROXY header on HTTPS, HTTP and Plain
	TrustedProxies []netip.Prefix // who may use Plain and ProxyProtocol
}

// Certificates says where certificates come from.
type Certificates struct {
	Source     string   // "certmagic", "autocert", "files" or "local"
	Files      string   // directory of PEM files, for source files
	CAs        []CA     // the ACME CA and the one to fall back to
	ARI        bool     // renew when the CA suggests (RFC 9773)
	Challenges []string // of "http-01", "tls-alpn-01"
	Preflight  Preflight
}

// Preflight says how to find out before an order that it would be in vain.
type Preflight struct {
	Off       bool
	Addresses []netip.Prefix // where hosts lead to that lead here
	Names     []string       // the same, as names in DNS
	Resolvers []string       // name servers, "address:port"; none for those of the system
}

// CA is an ACME certificate authority and our account there.
type CA struct {
	Directory     string // URL; "" is Let's Encrypt
	Email         string
	EABKeyID      string // external account binding (RFC 8555 §7.3.4)
	EABMACKey     string // base64url
	EABMACKeyFile string // file that holds EABMACKey
	Profile       string // of the certificates asked for; "" for the CA's default
	Roots         string // PEM file of the roots that the CA's own server is checked against; "" for the system's
	Orders        int    // that the CA takes in three hours; 0 is the built-in number
}

// Limits bound what strangers can take; 0 stands for the built-in limit.
type Limits struct {
	Connections, ConnectionsPerAddress, Handshakes int
}

// Log says how to log.
type Log struct {
	Format string // "text" or "json"
	Level  string // "debug", "info", "warn" or "error"
}

// The certificate sources.
const (
	SourceCertmagic = "certmagic"
	SourceAutocert  = "autocert"
	SourceFiles     = "files"
	SourceLocal     = "local"
)

var (
	sources    = []string{SourceCertmagic, SourceAutocert, SourceFiles, SourceLocal}
	challenges = []string{"http-01", "tls-alpn-01"}
)

// readSettings reads everything of the main file but [defaults] and [profiles],
// which policy files may have too.
func readSettings(file string, t *table) Settings {
	s := Settings{File: file, Policies: []string{"policies/*.toml"}, State: defaultState}
	base := filepath.Dir(file)
	if list, ok := t.strings("policies", `"policies/*.toml"`); ok {
		s.Policies = list
	}
	for i, pattern := range s.Policies {
		if _, err := filepath.Match(pattern, ""); err != nil || pattern == "" {
			t.errorf("policies", "", `write policies = ["policies/*.toml"]`, "policies: %q is no file pattern", pattern)
		}
		s.Policies[i] = absolute(base, pattern)
	}
	if state, ok := t.string("state", `"/var/lib/mtasts-server"`); ok {
		s.State = state
	}
	s.State = absolute(base, s.State)
	if list, ok := t.strings("known_mx", `"example.net"`); ok {
		s.KnownMX = list
	}
	s.Certificates = readCertificates(base, t.sub("certificates"))
	s.Listen = readListen(t.sub("listen"), s.Certificates.Source)
	s.Limits = readLimits(t.sub("limits"))
	s.Log = readLog(t.sub("log"))
	s.DNS = readDNS(base, t.sub("dns"))
	s.Reports = readReports(base, t.sub("reports"))
	rollout := t.sub("rollout")
	s.Rollout = readRollout(rollout)
	s.Review = readReview(base, t.sub("review"))
	s.Alerts = readAlerts(base, t.sub("alerts"))
	if s.Rollout.Guard == GuardRefuse && !s.Review.On {
		rollout.errorf("guard", "", "write [review], so that the server looks at the domains", `rollout.guard = "refuse" without [review]: the evidence for enforce would never be there`)
		t.failed = true
	}
	return s
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

func readListen(t *table, source string) Listen {
	l := Listen{HTTPS: []string{":443"}, HTTP: []string{":80"}, Admin: "127.0.0.1:8461"}
	switch source {
	case SourceLocal: // for trying out: no root needed
		l.HTTPS, l.HTTP = []string{":8443"}, nil
	case SourceFiles: // nothing to prove to a CA
		l.HTTP = nil
	}
	if t == nil {
		return l
	}
	addresses := func(name, example string, to *[]string) {
		if list, ok := t.strings(name, example); ok {
			for _, a := range list {
				t.checkAddress(name, a)
			}
			*to = list
		}
	}
	addresses("https", `":443"`, &l.HTTPS)
	addresses("http", `":80"`, &l.HTTP)
	addresses("plain", `"127.0.0.1:8080"`, &l.Plain)
	if a, ok := t.string("admin", `"127.0.0.1:8461"`); ok {
		if l.Admin = a; a != "" {
			t.checkAddress("admin", a)
		}
	}
	l.ProxyProtocol, _ = t.bool("proxy_protocol")
	list, _ := t.strings("trusted_proxies", `"10.0.0.0/8"`)
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			t.errorf("trusted_proxies", "", `write addresses or networks: ["10.0.0.0/8", "::1"]`, "trusted_proxies: %q is no network", s)
		}
		l.TrustedProxies = append(l.TrustedProxies, p)
	}
	if len(l.TrustedProxies) == 0 && (l.ProxyProtocol || len(l.Plain) > 0) {
		t.errorf("", "", `write trusted_proxies = ["127.0.0.1"], the addresses that the proxy connects from`,
			"plain and proxy_protocol need trusted_proxies: nobody else is believed")
	}
	if len(l.HTTPS)+len(l.Plain) == 0 {
		t.errorf("https", "", `write https = [":443"]`, "there is no listener that serves policies")
	}
	t.unknown()
	return l
}

func (t *table) checkAddress(name, addr string) {
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.Atoi(port)
	if err == nil && portErr == nil && n >= 0 && n <= 65535 {
		if _, ipErr := netip.ParseAddr(host); host == "" || host == "localhost" || ipErr == nil {
			return
		}
	}
	t.errorf(name, "", fmt.Sprintf(`write "address:port" or ":port", as in %s = ":8443"`, name), "%s: %q is no address to listen on", name, addr)
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func readCertificates(base string, t *table) Certificates {
	c := Certificates{Source: SourceLocal, ARI: true, Challenges: challenges}
	if t == nil {
		return c
	}
	c.Source = SourceCertmagic
	if s, ok := t.string("source", `"certmagic"`); ok {
		t.oneOf("source", s, sources)
		c.Source = s
	}
	if dir, ok := t.string("files", `"/etc/mtasts-server/certificates"`); ok {
		c.Files = absolute(base, dir)
	}
	if ari, ok := t.bool("ari"); ok {
		c.ARI = ari
	}
	if list, ok := t.strings("challenges", `"http-01", "tls-alpn-01"`); ok {
		for _, s := range list {
			t.oneOf("challenges", s, challenges)
		}
		c.Challenges = list
	}
	c.Preflight = readPreflight(t)
	ca := readCA(base, t)
	var fallback *CA
	if f := t.sub("fallback"); f != nil {
		x := readCA(base, f)
		if x.Email == "" {
			x.Email = ca.Email
		}
		if x.Directory == "" {
			f.errorf("", "RFC 8555 §7.1.1", "write the URL of the CA's ACME directory", "fallback has no directory")
		}
		f.unknown()
		t.failed = t.failed || f.failed
		fallback = &x
	}
	t.unknown()
	if !slices.Contains(sources, c.Source) {
		return c
	}
	switch c.Source {
	case SourceFiles:
		if c.Files == "" {
			t.errorf("source", "", `write files = "/etc/mtasts-server/certificates"`, "source \"files\" needs files, a directory of PEM files")
		}
		return c
	case SourceLocal:
		return c
	}
	c.CAs = []CA{ca}
	if ca.Email == "" {
		t.errorf("source", "RFC 8555 §7.3", `write email = "hostmaster@example.net"`, "source %q needs email: the CA writes there about trouble", c.Source)
	}
	if len(c.Challenges) == 0 {
		t.errorf("challenges", "RFC 8555 §8", `write challenges = ["http-01", "tls-alpn-01"]`, "challenges is empty: the CA could check nothing")
	}
	if fallback != nil {
		if c.Source == SourceAutocert {
			t.errorf("fallback", "", `write source = "certmagic"`, "source \"autocert\" knows one CA only")
		}
		c.CAs = append(c.CAs, *fallback)
	}
	return c
}

func readPreflight(t *table) Preflight {
	var p Preflight
	f := t.sub("preflight")
	if f == nil {
		return p
	}
	if on, ok := f.bool("enabled"); ok {
		p.Off = !on
	}
	list, _ := f.strings("addresses", `"192.0.2.1", "2001:db8::/64"`)
	for _, s := range list {
		last := s[strings.LastIndex(s, ".")+1:]
		if prefix, err := parsePrefix(s); err == nil {
			p.Addresses = append(p.Addresses, prefix)
		} else if name, err := mtasts.ParseDomain(s); err == nil && strings.Trim(last, "0123456789") != "" { // no mistyped address
			p.Names = append(p.Names, name)
		} else {
			f.errorf("addresses", "", `write what hosts lead to that lead here: ["192.0.2.1", "2001:db8::/64", "web.example.net"]`,
				"addresses: %q is no address, no network and no name", s)
		}
	}
	p.Resolvers = readServers(f, "resolvers")
	f.unknown()
	t.failed = t.failed || f.failed
	return p
}

func readCA(base string, t *table) CA {
	var ca CA
	if s, ok := t.string("directory", `"https://acme-v02.api.letsencrypt.org/directory"`); ok {
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" {
			t.errorf("directory", "RFC 8555 §6.1", "write the https URL of the CA's ACME directory", "directory: %q is no https URL", s)
		}
		ca.Directory = s
	}
	if s, ok := t.string("email", `"hostmaster@example.net"`); ok {
		if !strings.Contains(s, "@") {
			t.errorf("email", "RFC 8555 §7.3", `write email = "hostmaster@example.net"`, "email: %q is no mail address", s)
		}
		ca.Email = s
	}
	ca.Profile, _ = t.string("profile", `"shortlived"`)
	if n, ok := t.int("orders", "300"); ok {
		if n < 1 || n > 100_000 {
			t.errorf("orders", "", "write orders = 300, or what the CA grants the account", "orders: %d in three hours is out of range", n)
		}
		ca.Orders = int(n)
	}
	if s, ok := t.string("roots", `"/etc/ssl/our-ca.pem"`); ok {
		ca.Roots = absolute(base, s)
	}
	if e := t.sub("eab"); e != nil {
		ca.EABKeyID, _ = e.string("key_id", `"kid-1"`)
		ca.EABMACKey, _ = e.string("mac_key", `"base64url"`)
		if s, ok := e.string("mac_key_file", `"/etc/mtasts-server/eab"`); ok {
			ca.EABMACKeyFile = absolute(base, s)
		}
		if ca.EABKeyID == "" || (ca.EABMACKey == "") == (ca.EABMACKeyFile == "") {
			e.errorf("", "RFC 8555 §7.3.4", `write eab = { key_id = "...", mac_key_file = "..." }`, "eab needs key_id and one of mac_key, mac_key_file")
		}
		e.unknown()
		t.failed = t.failed || e.failed
	}
	return ca
}

func (t *table) oneOf(name, s string, words []string) {
	if slices.Contains(words, s) {
		return
	}
	fix := "write one of: " + strings.Join(words, ", ")
	if near := nearest(s, words); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	}
	t.errorf(name, "", fix, "%s: unknown %q", name, s)
}

func readLimits(t *table) Limits {
	var l Limits
	if t == nil {
		return l
	}
	for _, f := range []struct {
		name string
		to   *int
	}{
		{"connections", &l.Connections},
		{"connections_per_address", &l.ConnectionsPerAddress},
		{"handshakes", &l.Handshakes},
	} {
		n, ok := t.int(f.name, "1000")
		if ok && (n < 1 || n > 1<<24) {
			t.errorf(f.name, "", fmt.Sprintf("write %s = 1000, or leave it out", f.name), "%s: %d is out of range", f.name, n)
		}
		*f.to = int(n)
	}
	t.unknown()
	return l
}

func readLog(t *table) Log {
	l := Log{Format: "text", Level: "info"}
	if t == nil {
		return l
	}
	if s, ok := t.string("format", `"text"`); ok {
		t.oneOf("format", s, []string{"text", "json"})
		l.Format = s
	}
	if s, ok := t.string("level", `"info"`); ok {
		t.oneOf("level", s, []string{"debug", "info", "warn", "error"})
		l.Level = s
	}
	t.unknown()
	return l
}
