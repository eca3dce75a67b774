package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// globals is what the tables of all files have in common.
type globals struct {
	defaults fields
	profiles map[string]profile
	knownMX  map[string]bool // organizational domains
}

type profile struct {
	fields
	file    string // where it is defined, as shown to people; "" if built in
	claimed bool   // defined in more than one file, so it has no meaning
}

// resolved is what the tables of one file come to.
type resolved struct {
	domains []Domain
	refused []string // domains and aliases whose table has errors
}

// resolve fills in what the tables of f leave out and validates what comes out.
// With advise it reports warnings too.
func (g *globals) resolve(f *policyFile, file string, advise bool) resolved {
	r := resolved{domains: make([]Domain, 0, len(f.domains))}
	texts, alike := make(interner), make(map[Circumstances]*Circumstances)
	for i := range f.domains {
		dt := &f.domains[i]
		t := &table{src: f.src, path: []string{"domains", dt.key}, domain: dt.name, failed: dt.failed}
		d := g.merge(f, dt, t)
		g.validate(&d, t, advise)
		if t.failed {
			if dt.name != "" {
				r.refused = append(r.refused, dt.name)
			}
			r.refused = append(r.refused, dt.aliases...)
			continue
		}
		d.File, d.key = file, dt.key
		d.render(texts)
		if alike[*d.Circumstances] == nil {
			alike[*d.Circumstances] = d.Circumstances
		}
		d.Circumstances = alike[*d.Circumstances]
		uris := d.TLSRPT
		d.TLSRPT = withTokens(uris, d.Name)
		r.domains = append(r.domains, d.Domain)
		for _, alias := range dt.aliases {
			a := d.Domain
			a.Name, a.AliasOf, a.TLSRPT = alias, d.Name, withTokens(uris, alias)
			r.domains = append(r.domains, a)
		}
	}
	return r
}

// withTokens puts the token of domain where it belongs in the URIs that its reports go to.
func withTokens(uris []string, domain string) []string {
	if !slices.ContainsFunc(uris, func(s string) bool { return strings.Contains(s, tlsrpt.TokenMark) }) {
		return uris
	}
	own := make([]string, len(uris))
	for i, s := range uris {
		own[i] = tlsrpt.ExpandURI(s, domain)
	}
	return own
}

// draft is a domain in the making.
type draft struct {
	Domain
	policy mtasts.Policy
}

// render makes the bytes that are served, and lets go of the text of the file, of
// which the strings of d are parts.
func (d *draft) render(texts interner) {
	d.Body = d.policy.Body()
	d.ID = mtasts.ID(d.Body)
	d.Profile = texts.text(d.Profile)
	d.Owners = Owners{texts.text(d.Owners.Policy), texts.text(d.Owners.DNS), texts.text(d.Owners.MX)}
	d.TLSRPT = slices.Clone(d.TLSRPT)
	for i, s := range d.TLSRPT {
		d.TLSRPT[i] = texts.text(s)
	}
}

// interner keeps one copy of each text, apart from what it was a part of.
type interner map[string]string

func (in interner) text(s string) string {
	if old, ok := in[s]; ok {
		return old
	}
	s = strings.Clone(s)
	in[s] = s
	return s
}

// merge looks for each field through the layers.
func (g *globals) merge(f *policyFile, dt *domainTable, t *table) draft {
	d := draft{Domain: Domain{Name: dt.name, Circumstances: &Circumstances{Profile: cmp.Or(dt.profile, f.defaults.profile, g.defaults.profile)}}}
	layers := [...]fields{FromDomain: dt.fields, FromProfile: {}, FromFileDefaults: f.defaults, FromMainDefaults: g.defaults}
	if d.Profile != "" {
		p, ok := g.profiles[d.Profile]
		switch {
		case !ok:
			fix := "define it as [profiles." + d.Profile + "], or use one of: " + strings.Join(sortedKeys(g.profiles), ", ")
			if near := nearest(d.Profile, sortedKeys(g.profiles)); near != "" {
				fix = fmt.Sprintf("did you mean %q?", near)
			}
			t.errorf(profileKey(dt), "", fix, "there is no profile %q", d.Profile)
		case p.claimed:
			t.errorf(profileKey(dt), "", "define the profile in one file", "profile %q is defined in more than one file", d.Profile)
		case p.failed:
			t.errorf(profileKey(dt), "", "mend [profiles."+d.Profile+"] in "+p.file, "profile %q has errors", d.Profile)
		}
		layers[FromProfile] = p.fields
	}
	if f.defaults.failed {
		t.errorf("", "", "mend [defaults] in this file", "[defaults] has errors")
	}
	d.Care = dt.care
	d.policy = mtasts.Policy{Mode: defaultMode, MaxAge: defaultMaxAge}
	d.Origin = Origin{FromBuiltin, FromBuiltin, FromBuiltin, FromBuiltin}
	for i := len(layers) - 1; i >= 0; i-- {
		d.apply(&layers[i], Layer(i))
	}
	return d
}

func profileKey(dt *domainTable) string {
	if dt.profile == "" {
		return "" // it comes from [defaults]
	}
	return "profile"
}

// apply lets the fields that are present overrule those of farther layers.
func (d *draft) apply(f *fields, from Layer) {
	if f.mode != "" {
		d.policy.Mode, d.Origin.Mode = f.mode, from
	}
	if f.maxAge != nil {
		d.policy.MaxAge, d.Origin.MaxAge = *f.maxAge, from
	}
	if f.mx != nil {
		d.policy.MX, d.Origin.MX = f.mx, from
	}
	if f.tlsrpt != nil {
		d.TLSRPT, d.Origin.TLSRPT = f.tlsrpt, from
	}
	if f.plan != nil {
		d.Plan = f.plan
	}
	d.Owners.Policy = cmp.Or(f.owners.Policy, d.Owners.Policy)
	d.Owners.DNS = cmp.Or(f.owners.DNS, d.Owners.DNS)
	d.Owners.MX = cmp.Or(f.owners.MX, d.Owners.MX)
}

// validate reports what a strict publisher finds wrong with d.
func (g *globals) validate(d *draft, t *table, advise bool) {
	failed := t.failed // then what is missing may be what could not be read
	for _, p := range d.policy.Validate(d.Name) {
		if p.Severity == mtasts.Warning && !advise {
			continue
		}
		field, element := p.Field, ""
		if failed && (d.Origin.of(field) != FromDomain || field == "mx" && len(d.policy.MX) == 0) {
			continue
		}
		if d.Origin.of(field) != FromDomain {
			field = "" // the table itself is the nearest place to point at
		} else if field == "mx" && p.Index < len(d.policy.MX) {
			element = string(d.policy.MX[p.Index])
		}
		t.report(field, element, Problem{Severity: p.Severity, Rule: p.Rule, Message: p.Text, Fix: p.Fix})
	}
	if advise && !t.failed {
		g.advise(d, t)
	}
}

func (o Origin) of(field string) Layer {
	switch field {
	case "mode":
		return o.Mode
	case "max_age":
		return o.MaxAge
	case "mx":
		return o.MX
	case "tlsrpt":
		return o.TLSRPT
	}
	return FromBuiltin
}

// advise warns of what is valid and yet not what an experienced postmaster would write.
func (g *globals) advise(d *draft, t *table) {
	if len(d.TLSRPT) == 0 && d.policy.Mode != mtasts.ModeNone {
		t.report("", "", Problem{
			Severity: mtasts.Warning, Rule: "RFC 8461 §6",
			Message: fmt.Sprintf("mode %s without tlsrpt: nobody will tell you what fails", d.policy.Mode),
			Fix:     fmt.Sprintf("write tlsrpt = [\"mailto:tlsrpt@%s\"]", d.Name),
		})
	}
	if d.Origin.MX != FromDomain {
		return // named once for many domains: that is deliberate
	}
	own := mtasts.OrganizationalDomain(d.Name)
	for i, mx := range d.policy.MX {
		if slices.Contains(d.policy.MX[:i], mx) {
			continue // told already, and so is that it stands twice
		}
		org := mtasts.OrganizationalDomain(strings.TrimPrefix(string(mx), "*."))
		if org != own && !g.knownMX[org] {
			t.report("mx", string(mx), Problem{
				Severity: mtasts.Warning, Rule: "RFC 8461 §10.4",
				Message: fmt.Sprintf("mx %q belongs to %q, neither to the domain nor to a provider known here", mx, org),
				Fix:     fmt.Sprintf("check the name; if it is right, write known_mx = [%q] in the main file, or put the mx into a profile", org),
			})
		}
	}
}
