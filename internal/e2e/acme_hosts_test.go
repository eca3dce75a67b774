package e2e_test

import (
	"testing"

	"mtasts-server/certs"
	"mtasts-server/mtasts"
)

// startACME runs a site with domains, certified by a CA of its own.
func startACME(t *testing.T, o certs.Options, po pebbleOptions, domains ...string) (*acmeSite, *pebbleCA) {
	t.Helper()
	p := newPebble(t, po)
	o.CAs = []certs.CA{acmeAccount(p)}
	s := newACMESite(t, o)
	p.connect(s.ports())
	s.publish(domains...)
	s.run()
	s.waitOK(domains...)
	return s, p
}

func TestACMEHostsComeAndGo(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(3)
		stays, goes, comes := d[0], d[1], d[2]
		s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, stays, goes)
		before, gone := s.mustFetch(stays, p.roots()), s.mustFetch(goes, p.roots())

		s.publish(stays, comes)
		s.refuses(mtasts.PolicyHost(goes))
		s.waitOK(comes)
		s.mustFetch(comes, p.roots())
		if h := s.status(goes); h.Host != "" {
			t.Errorf("there still is a status: %+v", h)
		}

		// Who comes back has his certificate still.
		s.publish(stays, goes, comes)
		s.waitOK(goes)
		if leaf := s.mustFetch(goes, p.roots()); !leaf.Equal(gone) {
			t.Error("the host that came back has another certificate")
		}
		if leaf := s.mustFetch(stays, p.roots()); !leaf.Equal(before) {
			t.Error("the host that stayed has another certificate")
		}
		if n := len(p.gate.ordered()); n != 3 {
			t.Errorf("%d orders, want one for each host", n)
		}
	})
}

func TestACMEOrderUnderWayIsCancelled(t *testing.T) {
	t.Parallel()
	eachACMESource(t, func(t *testing.T, source certs.Source) {
		d := acmeDomains(2)
		stays, goes := d[0], d[1]
		s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, stays)
		hang := newACMEHang()
		p.gate.set(hang.orders(mtasts.PolicyHost(goes)))

		s.publish(stays, goes)
		hang.wait(t, hang.held, "the order is under way")
		s.publish(stays)
		hang.wait(t, hang.gone, "the order is cancelled")
		hang.release()
		s.refuses(mtasts.PolicyHost(goes))
		s.mustFetch(stays, p.roots())
		if n := len(p.gate.orderedFor(mtasts.PolicyHost(goes))); n != 1 {
			t.Errorf("%d orders for the host that left, want the one", n)
		}

		s.publish(stays, goes)
		s.waitOK(goes)
		s.mustFetch(goes, p.roots())
	})
}
