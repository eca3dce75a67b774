package e2e_test

import (
	"testing"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// After a restart what is on the disk is served at once, even before the first thing is
// asked of a CA, and while there is none.
func TestACMERestart(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(3)
		before, p := startACME(t, certs.Options{Source: source, ARI: true}, pebbleOptions{}, d[:2]...)
		roots := p.roots()
		first, second := before.mustFetch(d[0], roots), before.mustFetch(d[1], roots)
		before.stop()
		p.down()
		requests := p.gate.count("")

		after := newACMESite(t, before.options)
		after.publish(d...)
		if leaf := after.mustFetch(d[0], roots); !leaf.Equal(first) {
			t.Error("the first host has another certificate after the restart")
		}
		after.run()
		after.waitOK(d[:2]...)
		if leaf := after.mustFetch(d[1], roots); !leaf.Equal(second) {
			t.Error("the second host has another certificate after the restart")
		}
		after.waitFailing(d[2], "connection refused")
		after.refuses(mtasts.PolicyHost(d[2]))
		if n := p.gate.count(""); n != requests {
			t.Errorf("%d requests to a CA that is down", n-requests)
		}
	})
}

// The other way to get certificates takes over what is there, without an order.
func TestACMERestartWithOtherSource(t *testing.T) {
	t.Parallel()
	for from, to := range map[certs.Source]certs.Source{
		certs.SourceCertmagic: certs.SourceAutocert,
		certs.SourceAutocert:  certs.SourceCertmagic,
	} {
		t.Run(string(from)+" to "+string(to), func(t *testing.T) {
			t.Parallel()
			domain := acmeDomains(1)[0]
			before, p := startACME(t, certs.Options{Source: from}, pebbleOptions{}, domain)
			leaf := before.mustFetch(domain, p.roots())
			before.stop()
			o := before.options
			o.Source = to
			after := newACMESite(t, o)
			after.publish(domain)
			after.run()
			after.waitOK(domain)
			if now := after.mustFetch(domain, p.roots()); !now.Equal(leaf) || len(p.gate.ordered()) != 1 {
				t.Errorf("another certificate was ordered: %d orders", len(p.gate.ordered()))
			}
		})
	}
}
