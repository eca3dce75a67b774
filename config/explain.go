package config

import "fmt"

// Explain says where a field of d comes from, in words for people: "domains table
// of policies/a.toml", "profile google-workspace (built in)".
func (s *Snapshot) Explain(d *Domain, field string) string {
	switch d.Origin.of(field) {
	case FromDomain:
		return fmt.Sprintf("[domains.%q] in %s", d.key, show(d.File))
	case FromProfile:
		if file := s.Profiles[d.Profile]; file != "" {
			return fmt.Sprintf("[profiles.%s] in %s", d.Profile, file)
		}
		return fmt.Sprintf("profile %s, built in", d.Profile)
	case FromFileDefaults:
		return "[defaults] in " + show(d.File)
	case FromMainDefaults:
		return "[defaults] in " + show(s.Settings.File)
	}
	return "built-in default"
}
