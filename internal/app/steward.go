package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

const (
	// attendEvery is how often domains that wait for their evidence are looked at again.
	attendEvery = 10 * time.Minute

	// attendAgain is when what failed is tried again, as the database was gone: what is amiss
	// is not to be told of for long after it is over.
	attendAgain = 30 * time.Second

	// paceEvery is how often the server looks which domains may take a step by itself.
	paceEvery = time.Hour

	// lookBack is how far evidence is looked at: the longest a rung takes, with room.
	lookBack = 120 * 24 * time.Hour

	// streamFrom is from how many domains on the sums of all are read in one go.
	streamFrom = 200
)

// judge brings the evidence on domains before the rules.
type judge struct {
	ledger  *ledger.Ledger
	reports *reports.Store // nil: there are none
	looks   *review.Store  // nil: nobody looks
	ttl     time.Duration  // of records
	now     func() time.Time
	before  bool // the policy that is served: as it stood before the last edit
}

// judged is a domain with its verdict.
type judged struct {
	domain  *config.Domain
	facts   rollout.Facts
	gates   rollout.Gates
	verdict rollout.Verdict
	id      string    // of the policy that is served
	broken  time.Time // since when the first error is open that senders would meet; zero: none is
}

// each judges domains, in no order.
func (j *judge) each(ctx context.Context, domains []*config.Domain, f func(*judged) error) error {
	now := j.now()
	states, open, err := j.looked(ctx, domains)
	if err != nil {
		return err
	}
	since, err := j.reportsSince(ctx, now)
	if err != nil {
		return err
	}
	one := func(d *config.Domain, facts *reports.Facts) error {
		e := &evidence{versions: j.versions(d.Name), facts: facts, open: open[d.Name], care: d.Care, recordTTL: j.ttl}
		if entry, ok := j.ledger.Lookup(d.Name); ok {
			e.heldUntil = entry.HeldUntil
		}
		e.reportsSince = since
		if s, ok := states[d.Name]; ok {
			e.state = &s
		}
		x := &judged{domain: d, facts: e.rolloutFacts(), id: currentID(e.versions), broken: e.broken()}
		if x.gates, err = gatesOf(d.Plan); err != nil {
			return fmt.Errorf("rollout of %s: %w", d.Name, err)
		}
		x.verdict = x.gates.Judge(x.facts, now)
		return f(x)
	}
	first := now.Add(-lookBack)
	switch {
	case j.reports == nil:
		for _, d := range domains {
			if err := one(d, nil); err != nil {
				return err
			}
		}
		return nil
	case len(domains) >= streamFrom:
		return j.stream(ctx, domains, first, now, one)
	}
	for _, d := range domains {
		facts, err := j.reports.Facts(ctx, d.Name, first, now)
		if err != nil {
			return err
		}
		if err := one(d, facts); err != nil {
			return err
		}
	}
	return nil
}

// versions are the policies that were served of domain.
func (j *judge) versions(domain string) []ledger.Version {
	all := j.ledger.Versions(domain)
	if n := len(all); j.before && n > 1 {
		all = all[:n-1]
		all[n-2].Until = time.Time{}
	}
	return all
}

// reportsSince is since when reports are kept; now where there are none yet.
func (j *judge) reportsSince(ctx context.Context, now time.Time) (time.Time, error) {
	if j.reports == nil {
		return now, nil
	}
	since, err := j.reports.Since(ctx)
	if since.IsZero() {
		since = now
	}
	return since, err
}

// stream reads the sums of all domains, one after the other.
func (j *judge) stream(ctx context.Context, domains []*config.Domain, first, last time.Time, one func(*config.Domain, *reports.Facts) error) error {
	left := make(map[string]*config.Domain, len(domains))
	for _, d := range domains {
		left[d.Name] = d
	}
	err := j.reports.EachFacts(ctx, first, last, func(domain string, facts *reports.Facts) error {
		d := left[domain]
		if d == nil {
			return nil
		}
		delete(left, domain)
		return one(d, facts)
	})
	if err != nil {
		return err
	}
	for _, domain := range slices.Sorted(maps.Keys(left)) {
		if err := one(left[domain], nil); err != nil {
			return err
		}
	}
	return nil
}

// looked returns what the review knows of domains: their states, and open errors.
func (j *judge) looked(ctx context.Context, domains []*config.Domain) (map[string]review.State, map[string][]review.Finding, error) {
	if j.looks == nil {
		return nil, nil, nil
	}
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = d.Name
	}
	states, err := j.looks.States(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	f := review.Filter{Severity: review.Error}
	if len(domains) == 1 {
		f.Domain = names[0]
	}
	list, err := j.looks.Open(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	open := map[string][]review.Finding{}
	for _, x := range list {
		open[x.Domain] = append(open[x.Domain], x)
	}
	return states, open, nil
}

// lacking says what of the gates is open, in a line.
func lacking(v rollout.Verdict) string {
	var parts []string
	for _, g := range v.Gates {
		if g.Passed {
			continue
		}
		s := fmt.Sprintf("%s: have %s, want %s", g.Name, g.Have, g.Want)
		if !g.EarliestAt.IsZero() {
			s += ", not before " + g.EarliestAt.UTC().Format(time.DateOnly)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// steward tends to domains whose table says enforce: it finds out whether the evidence is
// there, and has those take the next step that may. It can only let go further; nothing
// that it learns makes a policy milder.
type steward struct {
	judge    *judge
	stager   *stager
	settings config.Rollout
	snapshot func() *config.Snapshot
	look     func() // has the publisher look again
	resolver *lookup.Resolver
	log      *slog.Logger
	now      func() time.Time
	wake     chan struct{} // has a value when there is something to attend to at once
	asked    chan struct{} // has a value when somebody wants all to be looked at

	raise func([]alert.Alert)                                           // tells people
	open  func(ctx context.Context, beginning string) ([]string, error) // of what they were told, before a restart too

	mu      sync.Mutex
	trouble []string
	unseen  bool // the evidence could not be looked at
	steps   map[rollout.Step]int
	alarms  map[string]map[string]bool // by domain: what people were told of; nil: not known yet
}

// newSteward returns a steward of what p publishes.
func newSteward(settings config.Settings, a *archive, p *publisher, t *alerting, now func() time.Time) *steward {
	s := &steward{
		judge: &judge{ledger: p.ledger, ttl: settings.DNS.TTL, now: now}, stager: p.stager, settings: settings.Rollout,
		snapshot: p.shown.Load, look: p.look, resolver: lookup.New(settings.DNS.Resolvers, now), log: p.log, now: now,
		wake: make(chan struct{}, 1), asked: make(chan struct{}, 1), raise: t.raise, open: t.open,
	}
	if a != nil {
		s.judge.reports, s.judge.looks = a.reports, a.looks
	}
	p.poke = s.poke
	return s
}

// run tends to them until ctx is done.
func (s *steward) run(ctx context.Context) {
	attend, pace := time.NewTicker(attendEvery), time.NewTicker(paceEvery)
	defer attend.Stop()
	defer pace.Stop()
	s.attend(ctx)
	s.pace(ctx)
	for {
		var again <-chan time.Time
		if s.failed() {
			again = time.After(attendAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.attend(ctx)
		case <-attend.C:
			s.attend(ctx)
		case <-again:
			s.attend(ctx)
			s.pace(ctx)
		case <-s.asked:
			s.attend(ctx)
			s.pace(ctx)
		case <-pace.C:
			s.pace(ctx)
		}
	}
}

// poke has the steward attend soon to what waits. It does not wait.
func (s *steward) poke() { ring(s.wake) }

// again has the steward look at all domains soon: somebody asks.
func (s *steward) again() { ring(s.asked) }

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default: // it rings already
	}
}

// attend answers the questions that are open.
func (s *steward) attend(ctx context.Context) {
	unknown, guarded, edits := s.stager.questions()
	known := byName(s.snapshot(), slices.Concat(unknown, guarded, edits))
	s.adopt(ctx, known, unknown)
	changed := false
	err := s.judge.each(ctx, pick(known, guarded), func(x *judged) error {
		switch goal := x.domain.Policy(); {
		case !x.verdict.Ready:
			if missing := lacking(x.verdict); s.stager.lack(x.domain.Name, missing) {
				s.log.Warn("an edit to enforce is kept back: its evidence is not there", "domain", x.domain.Name, "missing", missing)
			}
		default:
			s.log.Info("the evidence for enforce is there", "domain", x.domain.Name)
			changed = s.stager.grant(x.domain.Name, x.id, stage{mtasts.ModeEnforce, time.Duration(goal.MaxAge) * time.Second}) || changed
		}
		return nil
	})
	if err == nil && s.judge.reports != nil { // else nobody collects evidence, and knows that
		before := *s.judge
		before.before = true
		err = before.each(ctx, pick(known, edits), s.warn)
	}
	s.tell(err)
	if changed || s.stager.hasChanged() {
		s.look()
	}
}

// warn tells of an edit to enforce that went through without its evidence. x is as it stood
// before it.
func (s *steward) warn(x *judged) error {
	if v := x.verdict; !v.Ready && v.Step == rollout.Testing {
		s.log.Warn("a policy enforces without its evidence", "domain", x.domain.Name, "missing", lacking(v))
	}
	return nil
}

func (s *steward) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble, s.unseen = nil, err != nil
	if err != nil && !errors.Is(err, context.Canceled) {
		s.trouble = append(s.trouble, "the evidence for the next steps of the rollout cannot be looked at; all policies stay as they are: "+err.Error())
	}
}

func (s *steward) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unseen
}

var (
	stepsDesc   = prometheus.NewDesc("mtasts_rollout_domains", "Domains by the step of the rollout that they stand on, as of the last hour.", []string{"step"}, nil)
	guardedDesc = prometheus.NewDesc("mtasts_rollout_guarded_domains", "Domains that are not enforced as configured, as the evidence is not there.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *steward) Describe(ch chan<- *prometheus.Desc) { ch <- stepsDesc; ch <- guardedDesc }

// Collect implements prometheus.Collector.
func (s *steward) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps != nil {
		for _, step := range rollout.Steps() {
			ch <- prometheus.MustNewConstMetric(stepsDesc, prometheus.GaugeValue, float64(s.steps[step]), string(step))
		}
	}
	ch <- prometheus.MustNewConstMetric(guardedDesc, prometheus.GaugeValue, float64(len(s.stager.lacking())))
}

// amiss says what is not as it should be.
func (s *steward) amiss() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	lines := slices.Clone(s.trouble)
	s.mu.Unlock()
	lines = append(lines, guardedLines(s.stager.lacking())...)
	if n := s.stager.waiting(); n > 0 {
		lines = append(lines, count(n, "domain")+" not served before DNS says what was announced of them, as the ledger knows nothing")
	}
	return lines
}

// guardedShown is how many guarded domains a page names; a migration has thousands.
const guardedShown = 3

// guardedLines say which edits are not taken, and what they lack.
func guardedLines(lacking map[string]string) (lines []string) {
	names := slices.Sorted(maps.Keys(lacking))
	for _, domain := range names[:min(guardedShown, len(names))] {
		lines = append(lines, domain+" is not enforced as configured; it lacks "+lacking[domain]+"; run: mtasts-server rollout "+domain)
	}
	if more := len(names) - len(lines); more > 0 {
		lines = append(lines, count(more, "more domain")+" not enforced as configured: the evidence is not there; run: mtasts-server rollout")
	}
	return lines
}

// byName returns the configured domains of these names.
func byName(snap *config.Snapshot, names []string) map[string]*config.Domain {
	wanted := make(map[string]*config.Domain, len(names))
	for _, name := range names {
		wanted[name] = nil
	}
	if snap == nil || len(names) == 0 {
		return wanted
	}
	for _, d := range snap.Domains {
		if _, ok := wanted[d.Name]; ok {
			wanted[d.Name] = d
		}
	}
	return wanted
}

func pick(known map[string]*config.Domain, names []string) []*config.Domain {
	var list []*config.Domain
	for _, name := range names {
		if d := known[name]; d != nil {
			list = append(list, d)
		}
	}
	return list
}

// adopt finds out what DNS announces of domains that the ledger does not know: it is lost,
// and what was served must not become milder for that.
func (s *steward) adopt(ctx context.Context, known map[string]*config.Domain, unknown []string) {
	for _, d := range pick(known, unknown) {
		found, err := s.announced(ctx, d)
		if err != nil {
			s.log.Warn("DNS does not say what was announced of a domain", "domain", d.Name, "err", err)
			continue
		}
		if found.enforces() {
			s.log.Warn("the ledger knows nothing of a domain, and DNS announces that it enforces: so it does", "domain", d.Name)
		}
		s.stager.learn(d.Name, found)
	}
}

// announced returns the stage that the record in DNS has the id of; zero for none of ours.
func (s *steward) announced(ctx context.Context, d *config.Domain) (stage, error) {
	answer, err := s.resolver.Lookup(ctx, mtasts.RecordName(d.Name), dns.TypeTXT)
	if err != nil {
		return stage{}, err
	}
	var texts []string
	for _, rr := range answer.Records {
		if txt, ok := rr.(*dns.TXT); ok {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	record, err := mtasts.SelectRecord(texts)
	if err != nil {
		return stage{}, nil // nothing that senders would see
	}
	policy := d.Policy()
	gates, _ := gatesOf(d.Plan)
	age := time.Duration(policy.MaxAge) * time.Second
	stages := []stage{{policy.Mode, age}, firstStage, {mtasts.ModeTesting, age}}
	for _, r := range gates.Ladder {
		stages = append(stages, stage{mtasts.ModeEnforce, r.MaxAge}, stage{mtasts.ModeTesting, r.MaxAge})
	}
	for _, x := range stages {
		if variant(d, policy, x).ID == record.ID {
			return x, nil
		}
	}
	// Another policy was announced, and nobody knows how strict it was.
	return stage{policy.Mode, age}, nil
}
