package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mtasts-server/certs"
)

// A clock that is wrong by a year, either way, costs nobody his certificate and the CA
// next to no orders. It is told of, and all is well when it is right again.
func TestACMEClockWrongByAYear(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		name string
		by   time.Duration
		says string
	}{
		{"forward", year, "every certificate has expired"},
		{"back", -year, "no certificate is valid yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachACMESource(t, func(t *testing.T, source certs.Source) {
				domains := acmeDomains(5)
				s, p := startACME(t, certs.Options{Source: source}, pebbleOptions{}, domains...)
				if why := s.manager.Summary().WrongClock(); why != "" {
					t.Errorf("the clock is right, and looks wrong: %s", why)
				}
				orders := len(p.gate.ordered())

				s.advance(c.by)
				if why := s.manager.Summary().WrongClock(); why != c.says {
					t.Errorf("it is told by %q, want %q", why, c.says)
				}
				if c.by > 0 {
					acmePoll(t, "an order finds out that the clock is wrong", func() error {
						for _, h := range s.manager.Status() {
							if strings.Contains(h.LastError, "is this clock right?") {
								return nil
							}
						}
						return fmt.Errorf("%+v", s.manager.Summary())
					})
				}
				for _, domain := range domains {
					s.mustFetch(domain, p.roots())
				}
				if n := len(p.gate.ordered()) - orders; n > 1 {
					t.Errorf("%d orders while the clock is wrong", n)
				}
				if sum := s.manager.Summary(); c.by > 0 && (sum.Failing != len(domains) || sum.Waiting != len(domains)-1) {
					t.Errorf("the others do not wait: %+v", sum)
				}

				orders = len(p.gate.ordered())
				s.advance(-c.by)
				s.waitOK(domains...)
				for _, domain := range domains {
					s.mustFetch(domain, p.roots())
				}
				if n := len(p.gate.ordered()) - orders; n != 0 {
					t.Errorf("%d orders when it is right again", n)
				}
				if sum := s.manager.Summary(); sum.WrongClock() != "" || sum.Failing != 0 {
					t.Errorf("%+v", sum)
				}
			})
		})
	}
}
