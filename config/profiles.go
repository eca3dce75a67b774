package config

import (
	"maps"
	"slices"

	"mtasts-server/mtasts"
)

// builtinProfiles are the MX sets that the large mail providers tell their
// customers to use, as of the providers' own help pages. A file may define a
// profile of the same name, which then counts instead.
//
// Microsoft 365 tenants whose MX is below mx.microsoft have one label more
// ("example-com.a-v1.mx.microsoft"), which no wildcard for all tenants can match:
// they write their own name as mx.
var builtinProfiles = map[string][]string{
	"fastmail":         {"in1-smtp.messagingengine.com", "in2-smtp.messagingengine.com"},
	"google-workspace": {"smtp.google.com", "aspmx.l.google.com", "*.aspmx.l.google.com", "*.googlemail.com"},
	"icloud-mail":      {"mx01.mail.icloud.com", "mx02.mail.icloud.com"},
	"mailbox-org":      {"mxext1.mailbox.org", "mxext2.mailbox.org", "mxext3.mailbox.org"},
	"microsoft-365":    {"*.mail.protection.outlook.com"},
	"migadu":           {"aspmx1.migadu.com", "aspmx2.migadu.com"},
	"proton-mail":      {"mail.protonmail.ch", "mailsec.protonmail.ch"},
	"zoho-mail":        {"mx.zoho.com", "mx2.zoho.com", "mx3.zoho.com"},
	"zoho-mail-eu":     {"mx.zoho.eu", "mx2.zoho.eu", "mx3.zoho.eu"},
}

// BuiltinProfiles lists the names of the profiles that need no definition.
func BuiltinProfiles() []string { return slices.Sorted(maps.Keys(builtinProfiles)) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ProfileOf returns the built-in profile that allows each of the MX hosts, "" for none.
func ProfileOf(hosts []string) string {
	for _, name := range BuiltinProfiles() {
		allowed := func(host string) bool {
			return slices.ContainsFunc(builtinProfiles[name], func(mx string) bool { return mtasts.MXPattern(mx).Match(host) })
		}
		if len(hosts) > 0 && !slices.ContainsFunc(hosts, func(host string) bool { return !allowed(host) }) {
			return name
		}
	}
	return ""
}
