package config

import (
	"fmt"
	"slices"

	"mtasts-server/mtasts"
)

// Here the files meet: profiles, which all of them share, and domains, of which each
// may stand in one place only.

// gather collects the profiles of all files and what else the files share.
func (l *Loader) gather(snap *Snapshot) globals {
	g := globals{defaults: l.shared.defaults, profiles: make(map[string]profile), knownMX: make(map[string]bool)}
	for name, mx := range builtinProfiles {
		p := profile{}
		for _, s := range mx {
			p.mx = append(p.mx, mtasts.MXPattern(s))
			g.knownMX[organization(s)] = true
		}
		g.profiles[name] = p
	}
	for name, p := range l.shared.profiles {
		g.profiles[name] = p
	}
	for _, path := range sortedKeys(l.files) {
		for _, name := range sortedKeys(l.files[path].profiles) {
			p := profile{fields: l.files[path].profiles[name], file: show(path)}
			if _, builtin := builtinProfiles[name]; builtin {
				snap.Problems = append(snap.Problems, Problem{
					File: p.file, Severity: mtasts.Error, Key: "profiles." + name,
					Message: fmt.Sprintf("profile %q is built in: only the main file may define it anew", name), Fix: "move it to the main file, or give it another name",
				})
				p.claimed = true // neither of the two may win unnoticed
			} else if other := g.profiles[name]; other.file != "" {
				snap.Problems = append(snap.Problems, Problem{
					File: p.file, Severity: mtasts.Error, Key: "profiles." + name,
					Message: fmt.Sprintf("profile %q is defined in %s too", name, other.file), Fix: "define it in one file; the main file is a good place",
				})
				p.claimed = true
			}
			g.profiles[name] = p
		}
	}
	for _, s := range l.settings.KnownMX {
		g.knownMX[organization(s)] = true
	}
	snap.Profiles = make(map[string]string, len(g.profiles))
	for name, p := range g.profiles {
		snap.Profiles[name] = p.file
	}
	return g
}

func organization(pattern string) string {
	mx, err := mtasts.ParseMXPattern(pattern)
	if err != nil {
		return pattern
	}
	if parent, ok := mx.Wildcard(); ok {
		return mtasts.OrganizationalDomain(parent)
	}
	return mtasts.OrganizationalDomain(string(mx))
}

// combine puts the domains of all files together. A domain that is claimed twice
// is refused: neither claim silently wins.
func (l *Loader) combine(snap *Snapshot) {
	n := 0
	for _, f := range l.files {
		n += len(f.claims)
	}
	paths := sortedKeys(l.files)
	owner := make(map[string]string, n)  // domain -> file that claimed it first
	claimed := make(map[string][]string) // domain -> files, if more than one claim
	for _, path := range paths {
		f := l.files[path]
		snap.Problems = append(snap.Problems, f.problems...)
		if f.broken != "" {
			snap.Broken[path] = f.broken
		}
		for _, c := range f.claims {
			if first, ok := owner[c.name]; ok {
				claimed[c.name] = append(claimed[c.name], first, path)
				continue
			}
			owner[c.name] = path
		}
	}
	snap.Domains = make([]*Domain, 0, n)
	for _, path := range paths {
		f := l.files[path]
		for _, name := range f.refused {
			snap.Refused[name] = firstError(f.problems, name)
		}
		for i := range f.domains {
			if d := &f.domains[i]; claimed[d.Name] == nil {
				snap.Domains = append(snap.Domains, d)
			}
		}
	}
	sources := make(map[string]*source) // read once, though they may share thousands of domains
	for _, name := range sortedKeys(claimed) {
		l.reportClaims(snap, name, claimed[name], sources)
	}
}

// reportClaims adds a problem at each place that claims the domain.
func (l *Loader) reportClaims(snap *Snapshot, name string, paths []string, sources map[string]*source) {
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for _, path := range paths {
		src := sources[path]
		if src == nil {
			src = &source{name: show(path)}
			_, src.text, _ = readContent(path, l.now()) // without it the place is not known, the problem is
			sources[path] = src
		}
		src.problems = nil
		others := slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == path })
		where := "twice in this file"
		if len(others) > 0 {
			where = "in " + show(others[0]) + " too"
		}
		for _, c := range l.files[path].claims {
			if c.name != name {
				continue
			}
			src.report(Problem{
				Severity: mtasts.Error, Domain: name, Message: fmt.Sprintf("domain %q is claimed %s, so none of the claims counts", name, where),
				Fix: "keep one of them",
			}, []string{"domains", c.key}, "")
		}
		snap.Problems = append(snap.Problems, src.problems...)
		if len(src.problems) > 0 {
			snap.Refused[name] = src.problems[0].Message
		}
	}
}

func firstError(ps []Problem, domain string) string {
	for _, p := range ps {
		if p.Severity == mtasts.Error && p.Domain == domain {
			return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
		}
	}
	return "its table has errors"
}
