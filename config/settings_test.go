package config_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mtasts-server/config"
)

// What the main file says of certificates arrives.
func TestCertificateSettings(t *testing.T) {
	const ca = "[certificates]\nemail = \"hostmaster@example.net\"\n"
	for _, c := range []struct {
		why, text string
		cas       []config.CA
		preflight config.Preflight
	}{
		{"nothing", ca, []config.CA{{Email: "hostmaster@example.net"}}, config.Preflight{}},
		{
			"budgets", ca + "orders = 1000\n[certificates.fallback]\ndirectory = \"https://other.example/directory\"\norders = 50\n",
			[]config.CA{{Email: "hostmaster@example.net", Orders: 1000}, {Directory: "https://other.example/directory", Email: "hostmaster@example.net", Orders: 50}},
			config.Preflight{},
		},
		{
			"preflight", ca + `[certificates.preflight]
addresses = ["192.0.2.1", "2001:db8::/64", "Web.Example.net"]
resolvers = ["192.0.2.53", "2001:db8::53", "[2001:db8::53]:5353"]
`,
			[]config.CA{{Email: "hostmaster@example.net"}},
			config.Preflight{
				Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")},
				Names:     []string{"web.example.net"},
				Resolvers: []string{"192.0.2.53:53", "[2001:db8::53]:53", "[2001:db8::53]:5353"},
			},
		},
		{"no preflight", ca + "[certificates.preflight]\nenabled = false\n", []config.CA{{Email: "hostmaster@example.net"}}, config.Preflight{Off: true}},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "main.toml", c.text)
			write(t, "policies/none.toml", "")
			l, err := config.NewLoader("main.toml", config.LoaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			snap, ok := l.Load()
			if !ok || len(snap.Problems) > 0 {
				t.Fatal(snap.Problems)
			}
			got := snap.Settings.Certificates
			if diff := cmp.Diff(c.cas, got.CAs); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.preflight, got.Preflight, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
