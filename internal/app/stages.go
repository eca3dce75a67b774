package app

import (
	"maps"
	"slices"
	"sync"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// stage is how strict a policy is: what the rollout changes of it, and all it changes.
type stage struct {
	mode   mtasts.Mode
	maxAge time.Duration
}

// firstStage is where every domain begins.
var firstStage = stage{mtasts.ModeTesting, mtasts.MinMaxAge * time.Second}

func (s stage) enforces() bool { return s.mode == mtasts.ModeEnforce }

// grant lets a domain go to a stage from the policy that the evidence is on, and no other.
type grant struct {
	from string // its id
	to   stage
}

// stager says which stage of a policy is served where its table says enforce: as the table
// says, a step on the way there (rollout.auto), or testing still, as evidence lacks
// (rollout.guard). It never serves less than what was served, unless the table says so.
type stager struct {
	guard config.Guard
	now   func() time.Time
	blank bool              // the ledger had nothing at the start, or was damaged: what it does not know may have been served all the same
	doubt map[string]string // by domain, what a damaged ledger had at the start: what came after that may be lost

	mu      sync.Mutex
	grants  map[string]grant  // what the rules allow
	found   map[string]stage  // what DNS announces of domains that a blank ledger does not know; zero for nothing of ours
	unknown map[string]bool   // domains that wait for that
	guarded map[string]string // domains that lack evidence for what their table says, and what is missing
	edits   map[string]bool   // domains that went to enforce now, unguarded
	again   map[string]bool   // domains of which a stage may have changed
}

func newStager(guard config.Guard, blank bool, doubt map[string]string, now func() time.Time) *stager {
	return &stager{
		guard: guard, now: now, blank: blank, doubt: doubt,
		grants: map[string]grant{}, found: map[string]stage{}, unknown: map[string]bool{},
		guarded: map[string]string{}, edits: map[string]bool{}, again: map[string]bool{},
	}
}

// apply puts in place of each domain what is to be served of it; nil for what must wait.
func (s *stager) apply(touched map[string]*config.Domain, book *ledger.Ledger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for domain, d := range touched {
		delete(s.guarded, domain)
		delete(s.unknown, domain)
		if d == nil {
			delete(s.grants, domain)
		} else {
			e, published := book.Lookup(domain)
			if touched[domain] = s.stage(d, e, published); touched[domain] == nil && published {
				delete(touched, domain) // what the ledger has is not to be served either
			}
		}
	}
}

// stage returns d as it is to be served. The mutex is held.
func (s *stager) stage(d *config.Domain, e ledger.Entry, published bool) *config.Domain {
	auto := d.Plan != nil && d.Plan.Auto
	if !auto && s.guard == config.GuardOff {
		return d
	}
	policy := d.Policy()
	if policy.Mode != mtasts.ModeEnforce { // what was granted once was for another table
		delete(s.grants, d.Name)
		return d
	}
	if s.overridden(d) {
		return d
	}
	have, known := s.have(d, e, published)
	switch {
	case !known:
		return nil
	case auto:
		return along(d, policy, have)
	case have.enforces():
		return d
	case s.guard == config.GuardWarn:
		s.edits[d.Name] = published
		return d
	}
	s.guarded[d.Name] = notLookedAt
	if have.mode != mtasts.ModeTesting {
		have = firstStage
	}
	return variant(d, policy, have)
}

// have is the stage that a domain has reached. It is not known of one that a blank ledger
// does not know, before DNS was asked: senders keep what they have while nothing is served.
func (s *stager) have(d *config.Domain, e ledger.Entry, published bool) (have stage, known bool) {
	found, asked := s.found[d.Name]
	careful := s.guard != config.GuardWarn || d.Plan != nil && d.Plan.Auto
	switch {
	case published && !(careful && s.doubts(d, e)):
		have = stage{e.Mode, e.MaxAge}
		delete(s.found, d.Name)
	case !s.blank || !careful:
	case !asked:
		s.unknown[d.Name] = true
		return stage{}, false
	case published:
		have = stricter(stage{e.Mode, e.MaxAge}, found)
	default:
		have = found
	}
	switch g, ok := s.grants[d.Name]; {
	case !ok:
	case g.from != e.ID || !sameMX(d.Policy(), e.Body): // it was taken, or is for what is no more
		delete(s.grants, d.Name)
	default:
		have = g.to
	}
	return have, true
}

// doubts reports whether d may have come further than a damaged ledger says.
func (s *stager) doubts(d *config.Domain, e ledger.Entry) bool {
	have := stage{e.Mode, e.MaxAge}
	return s.doubt[d.Name] == e.ID && stricter(have, stage{mtasts.ModeEnforce, time.Duration(d.Policy().MaxAge) * time.Second}) != have
}

// stricter returns the stricter one of what the ledger has and what DNS announces.
func stricter(ledger, dns stage) stage {
	if dns.enforces() && (!ledger.enforces() || dns.maxAge > ledger.maxAge) {
		return dns
	}
	return ledger
}

// doubtful are the policies that a ledger has of which a part is lost, by domain. What
// replaced one of them may have stood there.
func doubtful(book *ledger.Ledger, partial bool) map[string]string {
	if !partial {
		return nil
	}
	all := map[string]string{}
	for _, e := range book.All() {
		all[e.Domain] = e.ID
	}
	return all
}

// sameMX reports whether a policy allows the same MX hosts as one that is served.
func sameMX(p mtasts.Policy, served []byte) bool {
	was, err := mtasts.Parse(served)
	return err == nil && slices.Equal(slices.Sorted(slices.Values(p.MX)), slices.Sorted(slices.Values(was.MX)))
}

// along serves a policy on its way to what its table says.
func along(d *config.Domain, policy mtasts.Policy, have stage) *config.Domain {
	switch {
	case !have.enforces() && have.mode != mtasts.ModeTesting:
		have = firstStage
	case have.enforces() && have.maxAge >= time.Duration(policy.MaxAge)*time.Second:
		return d // it has arrived
	}
	return variant(d, policy, have)
}

// variant is d in another stage.
func variant(d *config.Domain, policy mtasts.Policy, s stage) *config.Domain {
	policy.Mode, policy.MaxAge = s.mode, int(s.maxAge/time.Second)
	v := *d
	v.Body = policy.Body()
	v.ID = mtasts.ID(v.Body)
	return &v
}

func (s *stager) overridden(d *config.Domain) bool {
	return d.Care != nil && d.Care.Override != nil && s.now().Before(d.Care.Override.Until)
}

// grant lets domain go as far as to a stage, from the policy that has the id. It says whether
// that is news.
func (s *stager) grant(domain, from string, to stage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := grant{from, to}
	if s.grants[domain] == g {
		return false
	}
	s.grants[domain], s.again[domain] = g, true
	return true
}

// lack notes what a guarded domain lacks. It says whether it was looked at for the first
// time since its edit.
func (s *stager) lack(domain, what string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, guarded := s.guarded[domain]
	if guarded {
		s.guarded[domain] = what
	}
	return guarded && was == notLookedAt
}

// notLookedAt is what a guarded domain lacks at first.
const notLookedAt = "the evidence is being looked at"

// learn notes what DNS announces of a domain that the ledger does not know.
func (s *stager) learn(domain string, announced stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[domain], s.again[domain] = announced, true
}

// questions are the domains that wait: for DNS, for their evidence, and those that went to
// enforce without anybody looking.
func (s *stager) questions() (unknown, guarded, edits []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for domain, published := range s.edits {
		if published {
			edits = append(edits, domain)
		}
	}
	clear(s.edits)
	return slices.Sorted(maps.Keys(s.unknown)), slices.Sorted(maps.Keys(s.guarded)), edits
}

// unasked are the domains that wait for DNS.
func (s *stager) unasked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.unknown))
}

// changed returns the domains of which the stage may have changed, once.
func (s *stager) changed() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.again
	s.again = map[string]bool{}
	return again
}

func (s *stager) hasChanged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.again) > 0
}

// lacking returns a copy of what guarded domains lack.
func (s *stager) lacking() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.guarded)
}

// waits reports whether domain waits for DNS to say what was served of it.
func (s *stager) waits(domain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknown[domain]
}

// waiting returns how many domains wait for DNS to say what was served of them.
func (s *stager) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unknown)
}
