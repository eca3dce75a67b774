package config

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"mtasts-server/mtasts"
)

// DNS says what the records that domains need are like, and who publishes them.
type DNS struct {
	Target    []string      // where policy hosts lead to: one name, or addresses; empty: not known
	Resolvers []string      // recursive name servers, "address:port"; none for those of the system
	Private   bool          // policy hosts may lead to private addresses
	TTL       time.Duration // of the records
	IDDelay   time.Duration // between seeing a policy served and announcing its id
	Adopt     bool          // take over records that somebody else made
	DryRun    bool          // say what would be published, and publish nothing

	// Each of them is nil where it is not wanted.
	Update *DNSUpdate
	Hook   *DNSHook
	Zone   *DNSZone
	Export *DNSExport
}

// Publishes reports whether anything is published.
func (d *DNS) Publishes() bool {
	return d.Update != nil || d.Hook != nil || d.Zone != nil || d.Export != nil
}

// DNSUpdate is publication by dynamic update (RFC 2136).
type DNSUpdate struct {
	Server string   // the primary name server, "address:port"
	Zones  []string // whose domains are published so; none for all
	Key    *TSIGKey // nil: the server knows us by our address
}

// TSIGKey is a key that is shared with a name server (RFC 8945).
type TSIGKey struct {
	Name, Algorithm string // "hmac-sha256"
	Secret          string // base64
	SecretFile      string // file that holds Secret
}

// DNSHook is publication by somebody's program or web hook.
type DNSHook struct {
	Command    []string // program and arguments
	URL        string   // of a web hook, instead
	Secret     string   // that a web hook knows us by
	SecretFile string   // file that holds Secret
	Timeout    time.Duration
}

// DNSZone is publication under a zone of ours, to which domains delegate by CNAME (RFC
// 8461 §8.2).
type DNSZone struct {
	Name        string
	Listen      []string // addresses, UDP and TCP
	NameServers []string // names of all that answer for the zone
	Hostmaster  string   // mail address for the SOA record
}

// DNSExport is publication by zone files.
type DNSExport struct {
	Directory string // for one file for each domain; "" for none
	File      string // for all of them; "" for none
}

var tsigAlgorithms = []string{"hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"}

const (
	defaultTTL = time.Hour
	// maxTTL bounds how long a mistake is remembered elsewhere, and how long an id is old.
	maxTTL = 24 * time.Hour

	defaultHookTimeout = 30 * time.Second
	maxHookTimeout     = 10 * time.Minute
)

func readDNS(base string, t *table) DNS {
	d := DNS{TTL: defaultTTL}
	if t == nil {
		return d
	}
	d.Target = readTarget(t)
	d.Resolvers = readServers(t, "resolvers")
	d.Private, _ = t.bool("private")
	d.Adopt, _ = t.bool("adopt")
	d.DryRun, _ = t.bool("dry_run")
	if v, ok := t.duration("ttl", "1h"); ok {
		if v < time.Second || v > maxTTL {
			t.errorf("ttl", "RFC 8461 §8.1", `write ttl = "1h"`, "ttl: %s is out of range, a second to a day", v)
		}
		d.TTL = v
	}
	if v, ok := t.duration("id_delay", "5m"); ok {
		if v < 0 || v > maxTTL {
			t.errorf("id_delay", "RFC 8461 §8.1", `write id_delay = "5m"`, "id_delay: %s is out of range, nothing to a day", v)
		}
		d.IDDelay = v
	}
	each := func(name string, read func(*table)) {
		if sub := t.sub(name); sub != nil {
			read(sub)
			sub.unknown()
			t.failed = t.failed || sub.failed
		}
	}
	each("update", func(u *table) { d.Update = readUpdate(base, u) })
	each("hook", func(h *table) { d.Hook = readHook(base, h) })
	each("zone", func(z *table) { d.Zone = readZone(z, d.Target) })
	each("export", func(e *table) { d.Export = readExport(base, e) })
	t.unknown()
	return d
}

// readTarget reads where policy hosts lead to.
func readTarget(t *table) []string {
	list, _ := t.strings("target", `"policy.example.net"`)
	names := 0
	for i, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			list[i] = addr.Unmap().String()
			continue
		}
		name, ok := readName(t, "target", s)
		if ok {
			names++
		}
		list[i] = name
	}
	if names > 0 && len(list) > 1 {
		t.errorf("target", "RFC 1034 §3.6.2", `write one name, ["policy.example.net"], or addresses, ["192.0.2.1", "2001:db8::1"]`,
			"target: a CNAME leads to one name, and has nothing beside it")
	}
	return list
}

// readName reads a host name that stands in key.
func readName(t *table, key, s string) (string, bool) {
	name, err := mtasts.ParseDomain(s)
	if last := name[strings.LastIndex(name, ".")+1:]; err != nil || strings.Trim(last, "0123456789") == "" { // a mistyped address
		t.errorf(key, "", `write a full name, as "policy.example.net"`, "%s: %q is no host name", key, s)
		return "", false
	}
	return name, true
}

// readServers reads addresses of name servers, whose port is 53 unless it is said.
func readServers(t *table, key string) []string {
	var servers []string
	list, _ := t.strings(key, `"192.0.2.53"`)
	for _, s := range list {
		servers = append(servers, readServer(t, key, s))
	}
	return servers
}

func readServer(t *table, key, s string) string {
	addr, err := netip.ParseAddrPort(s)
	if a, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
		addr, err = netip.AddrPortFrom(a, 53), nil
	}
	if err != nil {
		t.errorf(key, "", `write the address of a name server: "192.0.2.53" or "[2001:db8::53]:53"`, "%s: %q is no address", key, s)
	}
	return addr.String()
}

func readUpdate(base string, t *table) *DNSUpdate {
	u := &DNSUpdate{}
	if s, ok := t.string("server", `"192.0.2.1"`); ok {
		u.Server = readServer(t, "server", s)
	} else if !t.failed {
		t.errorf("", "RFC 2136 §4.3", `write server = "192.0.2.1", the address of the primary name server`, "update has no server")
	}
	list, _ := t.strings("zones", `"example.com"`)
	for _, s := range list {
		if name, ok := readName(t, "zones", s); ok {
			u.Zones = append(u.Zones, name)
		}
	}
	k := t.sub("key")
	if k == nil {
		return u
	}
	key := &TSIGKey{Algorithm: tsigAlgorithms[0]}
	key.Name, _ = k.string("name", `"mtasts-server"`)
	if s, ok := k.string("algorithm", `"hmac-sha256"`); ok {
		k.oneOf("algorithm", s, tsigAlgorithms)
		key.Algorithm = s
	}
	key.Secret, key.SecretFile = readSecret(base, k)
	if _, err := base64.StdEncoding.DecodeString(key.Secret); err != nil {
		k.errorf("secret", "RFC 8945 §4.1", "write it as tsig-keygen prints it", "secret is no base64")
	}
	if key.Name == "" || (key.Secret == "") == (key.SecretFile == "") {
		k.errorf("", "RFC 8945 §4.2", `write key = { name = "...", secret_file = "..." }`, "key needs name and one of secret, secret_file")
	}
	k.unknown()
	t.failed = t.failed || k.failed
	u.Key = key
	return u
}

func readSecret(base string, t *table) (secret, file string) {
	secret, _ = t.string("secret", `"..."`)
	if s, ok := t.string("secret_file", `"/etc/mtasts-server/secret"`); ok {
		file = absolute(base, s)
	}
	return secret, file
}

func readHook(base string, t *table) *DNSHook {
	h := &DNSHook{Timeout: defaultHookTimeout}
	h.Command, _ = t.strings("command", `"/usr/local/bin/publish"`)
	if len(h.Command) > 0 && strings.ContainsRune(h.Command[0], '/') {
		h.Command[0] = absolute(base, h.Command[0])
	}
	h.URL, _ = readHookURL(t, "https://hooks.example.net/dns")
	h.Secret, h.SecretFile = readSecret(base, t)
	if v, ok := t.duration("timeout", "30s"); ok {
		if v < time.Second || v > maxHookTimeout {
			t.errorf("timeout", "", `write timeout = "30s"`, "timeout: %s is out of range, a second to ten minutes", v)
		}
		h.Timeout = v
	}
	switch {
	case t.failed:
	case (len(h.Command) == 0) == (h.URL == ""):
		t.errorf("", "", `write command = ["/usr/local/bin/publish"] or url = "https://..."`, "hook needs one of command, url")
	case h.URL != "" && (h.Secret == "") == (h.SecretFile == ""):
		t.errorf("", "", `write secret_file = "/etc/mtasts-server/hook", which both sides know`, "a hook with url needs one of secret, secret_file: it is signed")
	case h.URL == "" && h.Secret+h.SecretFile != "":
		t.errorf("", "", "remove the secret", "a hook with command has no use for a secret")
	}
	return h
}

func readZone(t *table, target []string) *DNSZone {
	z := &DNSZone{Listen: []string{":53"}}
	if s, ok := t.string("name", `"mta-sts.example.net"`); ok {
		z.Name, _ = readName(t, "name", s)
	}
	if list, ok := t.strings("listen", `":53"`); ok {
		for _, a := range list {
			t.checkAddress("listen", a)
		}
		z.Listen = list
	}
	list, _ := t.strings("nameservers", `"ns1.example.net", "ns2.example.net"`)
	for _, s := range list {
		if name, ok := readName(t, "nameservers", s); ok {
			z.NameServers = append(z.NameServers, name)
		}
	}
	if s, ok := t.string("hostmaster", `"hostmaster@example.net"`); ok {
		if _, domain, found := strings.Cut(s, "@"); !found || domain == "" {
			t.errorf("hostmaster", "RFC 1035 §3.3.13", `write hostmaster = "hostmaster@example.net"`, "hostmaster: %q is no mail address", s)
		}
		z.Hostmaster = s
	}
	switch {
	case t.failed:
	case z.Name == "":
		t.errorf("", "RFC 8461 §8.2", `write name = "mta-sts.example.net", a zone that is delegated to this server`, "zone has no name")
	case len(z.NameServers) == 0:
		t.errorf("", "RFC 1034 §4.2.1", `write nameservers = ["ns1.example.net"], the names by which the zone is delegated`, "zone has no nameservers")
	case len(z.Listen) == 0:
		t.errorf("listen", "", `write listen = [":53"]`, "zone listens nowhere")
	case len(target) == 0:
		t.errorf("", "RFC 8461 §3.3", `write dns.target = ["192.0.2.1"]: where policy hosts lead to`, "zone has no answer for policy hosts")
	}
	return z
}

func readExport(base string, t *table) *DNSExport {
	e := &DNSExport{}
	if s, ok := t.string("directory", `"/var/lib/mtasts-server/zones"`); ok {
		e.Directory = absolute(base, s)
	}
	if s, ok := t.string("file", `"/var/lib/mtasts-server/mta-sts.zone"`); ok {
		e.File = absolute(base, s)
	}
	if e.Directory+e.File == "" && !t.failed {
		t.errorf("", "", `write directory = "zones", for a file for each domain`, "export needs directory or file")
	}
	return e
}
