package review

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// Where nearly all of the different domains that were looked at within blindOver show
	// nothing, it is we who see nothing: blindLooks of them at least, blindShare unknown.
	// Fewer domains than that have no say: of three, all may be down. Nor have those that
	// showed nothing before: a dead provider's are looked at more often than the good ones.
	blindOver  = 10 * time.Minute
	blindLooks = 5
	blindShare = 0.9

	// Then one look comes each blindPause, and blindEnd in a row that see something end it.
	blindPause = 30 * time.Second
	blindEnd   = 3

	// sightLooks bounds what is remembered of looks; knownLately are domains that showed
	// something of late, which are best to ask whether we see again.
	sightLooks  = 200
	knownLately = 16
)

// glance is what is remembered of a look.
type glance struct {
	at     time.Time
	domain string
	known  bool
}

// sight says whether we see anything at all.
type sight struct {
	mu      sync.Mutex
	looks   []glance
	lately  []string        // known ones, the newest last
	dark    map[string]bool // domains that did not answer the last time
	since   time.Time       // blind since then; zero while we see
	probed  time.Time
	asked   time.Time // when controls were asked for
	row     int       // looks in a row that saw something, while blind
	unknown int
	of      int
}

// note takes the outcome of a look. It returns true when that changes whether we see.
func (s *sight) note(at time.Time, domain string, known bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		delete(s.dark, domain)
		s.lately = append(slices.DeleteFunc(s.lately, func(d string) bool { return d == domain }), domain)
		s.lately = s.lately[max(0, len(s.lately)-knownLately):]
	}
	if !s.since.IsZero() {
		return s.noteBlind(known)
	}
	if !known && s.dark[domain] {
		return false // it did not answer before, either: that says nothing of us
	}
	s.looks = append(s.looks, glance{at, domain, known})
	s.looks = s.looks[max(0, len(s.looks)-sightLooks):]
	if known {
		return false
	}
	return s.judge(at)
}

// judge says whether we are blind from now on.
func (s *sight) judge(at time.Time) bool {
	last := map[string]bool{}
	unknown := 0
	for i := len(s.looks) - 1; i >= 0; i-- {
		g := s.looks[i]
		if _, later := last[g.domain]; later || at.Sub(g.at) > blindOver {
			continue
		}
		last[g.domain] = g.known
		if !g.known {
			unknown++
		}
	}
	if len(last) < blindLooks || float64(unknown) < blindShare*float64(len(last)) {
		return false
	}
	s.since, s.row, s.looks, s.unknown, s.of = at, 0, nil, unknown, len(last)
	return true
}

// controls returns domains to look at soon, now that one does not answer any more and there
// was no good look of late: is it that one, or is it us?
func (s *sight) controls(at time.Time, domain string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dark[domain] {
		return nil
	}
	if s.dark == nil {
		s.dark = map[string]bool{}
	}
	s.dark[domain] = true
	if !s.since.IsZero() || at.Sub(s.asked) < blindOver || len(s.lately) < blindLooks ||
		slices.ContainsFunc(s.looks, func(g glance) bool { return g.known && at.Sub(g.at) < blindOver }) {
		return nil
	}
	s.asked = at
	return slices.Clone(s.lately[len(s.lately)-blindLooks:])
}

func (s *sight) noteBlind(known bool) bool {
	if !known {
		s.row = 0
		return false
	}
	if s.row++; s.row < blindEnd {
		return false
	}
	s.since, s.looks = time.Time{}, nil
	return true
}

// blind reports whether we see nothing.
func (s *sight) blind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.since.IsZero()
}

// probe returns whether it is time for a look while blind, and the domain to look at; "" for
// any. As long as looks see something the next one comes at once.
func (s *sight) probe(now time.Time) (domain string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.row == 0 && now.Sub(s.probed) < blindPause {
		return "", false
	}
	s.probed = now
	if len(s.lately) == 0 {
		return "", true
	}
	// Another one each time: that one may be gone itself.
	domain = s.lately[0]
	s.lately = append(s.lately[1:], domain)
	return domain, true
}

// trouble is a line for people; "" for none.
func (s *sight) trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return ""
	}
	return fmt.Sprintf("reviews see nothing since %s: %d of the last %d domains did not answer, so it is likely our own DNS or network; findings stay as they were",
		s.since.UTC().Format(time.RFC3339), s.unknown, s.of)
}
