package review

import "time"

// Silence has findings of a domain be known and not told of again, until a day.
type Silence struct {
	Domain  string    `json:"domain"`
	Code    string    `json:"code,omitempty"`    // "" for any
	Subject string    `json:"subject,omitempty"` // "" for any
	Reason  string    `json:"reason"`
	Author  string    `json:"author"`
	Until   time.Time `json:"until"`
}

func (s *Silence) matches(f *Finding) bool {
	return s.Domain == f.Domain && (s.Code == "" || s.Code == f.Code) && (s.Subject == "" || s.Subject == f.Subject)
}

// Marked is a finding, and why it is not told of.
type Marked struct {
	Finding
	Silence *Silence `json:"silence,omitempty"` // nil: it is told of
}

// SilenceNote is a silence that does nothing, and may go.
type SilenceNote struct {
	Silence
	Expired bool `json:"expired"` // else nothing that is open fits
}

// Silencer marks findings one by one. Of those that are open it remembers which silences fit.
type Silencer struct {
	now      time.Time
	all      []Silence
	used     []bool
	byDomain map[string][]int
}

// NewSilencer returns one for silences at a time.
func NewSilencer(silences []Silence, now time.Time) *Silencer {
	s := &Silencer{now, silences, make([]bool, len(silences)), make(map[string][]int, len(silences))}
	for i := range silences {
		s.byDomain[silences[i].Domain] = append(s.byDomain[silences[i].Domain], i)
	}
	return s
}

// Of returns the silence of a finding that ends last; nil for none that holds.
func (s *Silencer) Of(f Finding) *Silence {
	var best *Silence
	for _, i := range s.byDomain[f.Domain] {
		silence := &s.all[i]
		if !silence.matches(&f) || !silence.Until.After(s.now) {
			continue
		}
		s.used[i] = s.used[i] || f.Closed.IsZero()
		if best == nil || silence.Until.After(best.Until) {
			best = silence
		}
	}
	return best
}

// Notes returns the silences that have expired, or fitted nothing that was open.
func (s *Silencer) Notes() []SilenceNote {
	var notes []SilenceNote
	for i, silence := range s.all {
		switch {
		case !silence.Until.After(s.now):
			notes = append(notes, SilenceNote{silence, true})
		case !s.used[i]:
			notes = append(notes, SilenceNote{silence, false})
		}
	}
	return notes
}

// Mark marks the findings that are silenced, in their order, and tells of the silences
// that do nothing.
func Mark(findings []Finding, silences []Silence, now time.Time) ([]Marked, []SilenceNote) {
	s := NewSilencer(silences, now)
	marked := make([]Marked, len(findings))
	for i, f := range findings {
		marked[i] = Marked{f, s.Of(f)}
	}
	return marked, s.Notes()
}
