package app

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/lookup"
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
)

// steward tends to domains whose table says enforce: it finds out whether the evidence is
// there, and has those take the next step that may. It can only let go further; nothing
// that it learns makes a policy milder.
type steward struct {
	judge    *judge
	stager   *stager
	settings config.Rollout
	snapshot func() *config.Snapshot
	look     func()      // has the publisher look again
	writable func() bool // whether the ledger can be written, as of the last look
	resolver *lookup.Resolver
	log      *slog.Logger
	now      func() time.Time
	wake     chan struct{} // has a value when there is something to attend to at once
	asked    chan struct{} // has a value when somebody wants all to be looked at

	raise func([]alert.Alert) error                                     // tells people
	open  func(ctx context.Context, beginning string) ([]string, error) // of what they were told, before a restart too

	said map[string]*config.Circumstances // what tables say, and said, of what is served; pace's alone

	mu        sync.Mutex
	attending error  // why the evidence could not be looked at, as of the last attend
	pacing    error  // likewise, as of the last pace: that a few can be looked at mends nothing
	stopped   string // why nobody moves on, as of the last pace
	steps     map[rollout.Step]int
	alarms    map[string]map[string]bool // by domain: what people were told of; nil: not known yet
}

// newSteward returns a steward of what p publishes.
func newSteward(settings config.Settings, a *archive, p *publisher, t *alerting, now func() time.Time) *steward {
	s := &steward{
		judge: &judge{ledger: p.ledger, ttl: settings.DNS.TTL, now: now}, stager: p.stager, settings: settings.Rollout,
		snapshot: p.shown.Load, look: p.look, writable: func() bool { return p.report().writable }, resolver: lookup.New(settings.DNS.Resolvers, now), log: p.log, now: now,
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
	within(ctx, s.attend)
	within(ctx, s.pace)
	for {
		var again, ask <-chan time.Time
		switch {
		case s.failed():
			again = time.After(attendAgain)
		case s.stager.waiting() > 0:
			ask = time.After(attendAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			within(ctx, s.attend)
		case <-attend.C:
			within(ctx, s.attend)
		case <-again:
			within(ctx, s.attend)
			within(ctx, s.pace)
		case <-ask:
			within(ctx, s.ask)
		case <-s.asked:
			within(ctx, s.attend)
			within(ctx, s.pace)
		case <-pace.C:
			within(ctx, s.pace)
		}
	}
}

// tendFor is how long it may take to look at all domains: a database that hangs is told of.
const tendFor = 30 * time.Minute

func within(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, tendFor)
	defer cancel()
	f(ctx)
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

// ask has DNS say what was announced of those that wait for that.
func (s *steward) ask(ctx context.Context) {
	unknown := s.stager.unasked()
	s.adopt(ctx, byName(s.snapshot(), unknown), unknown)
	if s.stager.hasChanged() {
		s.look()
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
		case !s.writable(): // a step that is not in the ledger would be taken back by a restart
			s.stager.lack(x.domain.Name, "a ledger that can be written")
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
	s.tell(&s.attending, err)
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

// tell notes why the evidence could not be looked at, or that it could.
func (s *steward) tell(of *error, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*of = why
}

func (s *steward) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attending != nil || s.pacing != nil
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
	var lines []string
	if err := cmp.Or(s.attending, s.pacing); err != nil && !errors.Is(err, context.Canceled) {
		lines = append(lines, "the evidence for the next steps of the rollout cannot be looked at; all policies stay as they are: "+err.Error())
	}
	if s.stopped != "" {
		lines = append(lines, "no more domains are moved on by themselves: "+s.stopped)
	}
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
