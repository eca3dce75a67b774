package config

import (
	"fmt"
	"strings"
	"time"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// policyFile is the content of one policy file, each table checked for itself.
type policyFile struct {
	src      *source
	defaults fields
	profiles map[string]fields
	domains  []domainTable
	failed   bool // the top level has errors: what they were meant to say is not known
}

// domainTable is one [domains."..."] table.
type domainTable struct {
	key     string // as written
	name    string // A-label; "" if the key is no domain
	aliases []string
	care    *Care
	fields
}

// readPolicyFile reads the text of src. A false ok says that it is not TOML.
func readPolicyFile(src *source) (f *policyFile, ok bool) {
	root, ok := src.parse()
	if !ok {
		return nil, false
	}
	f = &policyFile{src: src}
	f.defaults, f.profiles = readShared(root)
	if d := root.sub("domains"); d != nil {
		f.domains = make([]domainTable, 0, len(d.values))
		for _, key := range sortedKeys(d.values) {
			if t := d.sub(key); t != nil {
				f.domains = append(f.domains, readDomain(key, t))
			}
		}
	}
	root.unknown()
	f.failed = root.failed
	return f, true
}

// readShared reads [defaults] and [profiles], which main and policy files may have.
func readShared(root *table) (defaults fields, profiles map[string]fields) {
	if t := root.sub("defaults"); t != nil {
		defaults = readFields(t)
		t.unknown()
		defaults.failed = t.failed
	}
	ps := root.sub("profiles")
	if ps == nil {
		return defaults, nil
	}
	profiles = make(map[string]fields, len(ps.values))
	for _, name := range sortedKeys(ps.values) {
		t := ps.sub(name)
		if t == nil {
			profiles[name] = fields{failed: true}
			continue
		}
		p := readFields(t)
		if p.profile != "" {
			t.errorf("profile", "", "write the fields of the other profile here", "a profile cannot use another profile")
		}
		t.unknown()
		p.failed = t.failed
		profiles[name] = p
	}
	return defaults, profiles
}

func readDomain(key string, t *table) domainTable {
	var d domainTable
	name, err := mtasts.ParseDomain(key)
	if err != nil {
		t.errorf("", "RFC 8461 §3.2", "write the domain that stands behind the @ of mail addresses", "%v", err)
	}
	d.name, t.domain = strings.Clone(name), name // not a part of the whole text
	if d.key = d.name; key != name {
		d.key = strings.Clone(key)
	}
	d.fields = readFields(t)
	list, _ := t.strings("aliases", `"example.org"`)
	for _, s := range list {
		alias, err := mtasts.ParseDomain(s)
		if err != nil {
			t.report("aliases", s, Problem{
				Severity: mtasts.Error, Rule: "RFC 8461 §3.2", Message: "aliases: " + err.Error(), Fix: "write a domain that has mail addresses, or remove it",
			})
			continue
		}
		d.aliases = append(d.aliases, strings.Clone(alias))
	}
	d.care = readCare(t)
	t.unknown()
	d.failed = t.failed
	return d
}

// readFields reads the fields that domains, profiles and defaults have in common.
func readFields(t *table) fields {
	var f fields
	f.profile, _ = t.string("profile", `"google-workspace"`)
	if s, ok := t.string("mode", `"testing"`); ok {
		mode, err := mtasts.ParseMode(s)
		if err != nil {
			fix := `write mode = "testing" to begin with`
			if near := nearest(s, []string{"testing", "enforce", "none"}); near != "" {
				fix = fmt.Sprintf("did you mean %q?", near)
			}
			t.errorf("mode", "RFC 8461 §3.2", fix, "%v", err)
		}
		f.mode = mode
	}
	if d, ok := t.duration("max_age", "1d"); ok {
		age := int(d / time.Second)
		f.maxAge = &age
	}
	f.mx = readMX(t)
	f.tlsrpt = readTLSRPT(t)
	f.plan = readPlan(t)
	if o := t.sub("owners"); o != nil {
		f.owners.Policy, _ = o.string("policy", `"mail team"`)
		f.owners.DNS, _ = o.string("dns", `"dns team"`)
		f.owners.MX, _ = o.string("mx", `"mail team"`)
		o.unknown()
		t.failed = t.failed || o.failed
	}
	return f
}

func readMX(t *table) []mtasts.MXPattern {
	list, ok := t.strings("mx", `"mx1.example.com"`)
	if !ok {
		return nil
	}
	mx := make([]mtasts.MXPattern, 0, len(list))
	for _, s := range list {
		p, err := mtasts.ParseMXPattern(s)
		if err != nil {
			t.report("mx", s, Problem{
				Severity: mtasts.Error, Rule: "RFC 8461 §3.2", Message: err.Error(),
				Fix: `write a name from the domain's MX records, or "*." and the name above it`,
			})
			continue
		}
		mx = append(mx, p)
	}
	return mx
}

func readTLSRPT(t *table) []string {
	list, ok := t.strings("tlsrpt", `"mailto:tlsrpt@example.com"`)
	if !ok {
		return nil
	}
	for _, s := range list {
		if _, err := tlsrpt.ParseURI(s); err != nil {
			t.report("tlsrpt", s, Problem{
				Severity: mtasts.Error, Rule: "RFC 8460 §3", Message: err.Error(),
				Fix: `write URIs: tlsrpt = ["mailto:tlsrpt@example.com"]`,
			})
		}
	}
	return list
}
