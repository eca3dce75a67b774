package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

const (
	// watchFor is how long a step that the server took by itself counts as fresh: what goes
	// wrong after it stops all others.
	watchFor = 7 * 24 * time.Hour

	// mendFor is how long what went wrong in that time stops them, if nobody mends it: one
	// domain that is given up does not hold up all others for ever.
	mendFor = 30 * 24 * time.Hour

	// stopAt is from which share of fresh steps that went bad on no other is taken, in
	// percent; one in a small cohort is enough.
	stopAt = 2
)

// pace looks at where all domains stand, and lets those with rollout.auto take their next
// step, where the gates hold: in cohorts, so that a mistake is seen before it is everybody's.
func (s *steward) pace(ctx context.Context) {
	snap := s.snapshot()
	if snap == nil || s.judge.reports == nil {
		return
	}
	auto := 0
	for _, d := range snap.Domains {
		if walksAlone(d) {
			auto++
		}
	}
	domains := s.domains(snap)
	c := &cohort{now: s.now(), quota: max(1, auto*s.settings.Percent/100)}
	steps := map[rollout.Step]int{}
	var alarms []alert.Alert
	s.mu.Lock()
	told := s.alarms == nil || s.stopped != "" // or it may be, by the process before
	s.mu.Unlock()
	err := s.recall(ctx)
	if err == nil {
		err = s.judge.each(ctx, domains, func(x *judged) error {
			steps[x.verdict.Step]++
			alarms = append(alarms, s.alarmsOf(x)...)
			if walksAlone(x.domain) {
				c.see(x)
			}
			return nil
		})
	}
	s.tell(&s.pacing, err)
	if err != nil {
		s.unsure()
		return
	}
	alarms = append(alarms, s.left(domains)...)
	why := c.stop()
	s.mu.Lock()
	s.steps, s.stopped = steps, why
	s.mu.Unlock()
	if why != "" {
		s.log.Error("no more domains are moved on by themselves", "why", why)
		s.alert(append(alarms, alert.Alert{
			Key: stoppedKey, Code: "rollout-stopped", Severity: alert.Error, Urgent: true, Title: "the rollout has stopped itself", Text: why,
			Fix: "see what fails: mtasts-server rollout DOMAIN, mtasts-server reports summary DOMAIN; it goes on by itself when that is mended",
		}))
		return
	}
	if told { // else another process may have stopped, which has other steps behind it
		alarms = append(alarms, alert.Alert{Key: stoppedKey, Code: "rollout-stopped", Closed: true})
	}
	s.alert(alarms)
	if !s.writable() {
		return // as in attend; /readyz tells of it
	}
	moved := false
	for _, x := range c.next() {
		next := x.verdict.Next
		s.log.Info("a domain takes its next step", "domain", x.domain.Name, "from", string(x.verdict.Step), "mode", string(next.Mode), "max_age", next.MaxAge.String())
		moved = s.stager.grant(x.domain.Name, x.id, goalOr(x, stage{next.Mode, next.MaxAge})) || moved
	}
	if moved {
		s.look()
	}
}

// domains are those that are configured, and those that are served as they last were: mail to
// these is lost as well. What their tables last said of them holds on.
func (s *steward) domains(snap *config.Snapshot) []*config.Domain {
	said := make(map[string]*config.Circumstances, len(snap.Domains))
	for _, d := range snap.Domains {
		said[d.Name] = d.Circumstances
	}
	all := slices.Clip(snap.Domains)
	for _, e := range s.judge.ledger.All() {
		if said[e.Domain] != nil {
			continue
		}
		d := published(e)
		if last := s.said[e.Domain]; last != nil {
			d.Circumstances, said[e.Domain] = last, last
		}
		all = append(all, d)
	}
	s.said = said
	return all
}

// published is a domain of which only what is served is known.
func published(e ledger.Entry) *config.Domain {
	return &config.Domain{Name: e.Domain, Body: e.Body, ID: e.ID, Circumstances: &config.Circumstances{File: e.Source}}
}

const stoppedKey = "rollout/stopped"

// walksAlone reports whether the server takes the steps of d.
func walksAlone(d *config.Domain) bool {
	return d.Plan != nil && d.Plan.Auto && d.Policy().Mode == mtasts.ModeEnforce
}

// toldByReview reports whether an alarm stands for findings that the review tells of itself,
// once a second look has confirmed them: one trouble is one message. An MX host that only
// policies of before do not allow is none of these.
func toldByReview(v rollout.Verdict, code string) bool {
	return code == rollout.GateCheck || code == rollout.GateMXAllowed && slices.ContainsFunc(v.Hold, func(r rollout.Reason) bool { return r.Code == code })
}

// goalOr is a stage, but never one beyond what the table says.
func goalOr(x *judged, to stage) stage {
	to.maxAge = min(to.maxAge, time.Duration(x.domain.Policy().MaxAge)*time.Second)
	return to
}

// next is the next step that there is: with rollout.auto none beyond what the table says.
func (x *judged) next() rollout.Next {
	next := x.verdict.Next
	switch {
	case !walksAlone(x.domain) || next.Mode != mtasts.ModeEnforce:
		return next
	case arrived(x):
		return rollout.Next{}
	}
	next.MaxAge = goalOr(x, stage{next.Mode, next.MaxAge}).maxAge
	return next
}

// cohort is who may move on today.
type cohort struct {
	now   time.Time
	quota int // a day

	fresh, bad, today int
	badOnes           []string
	ready             []*judged
}

func (c *cohort) see(x *judged) {
	if stepped, ok := lastStep(x.facts); ok {
		age := c.now.Sub(stepped)
		fresh := age < watchFor
		if fresh {
			c.fresh++
		}
		if age < 24*time.Hour {
			c.today++
		}
		if fresh && (alarming(x) || failing(x.verdict)) || age < mendFor && !x.broken.IsZero() && x.broken.Sub(stepped) < watchFor {
			c.bad++
			c.badOnes = append(c.badOnes, x.domain.Name)
		}
	}
	if x.verdict.Ready && x.verdict.Next.Mode == mtasts.ModeEnforce && !arrived(x) {
		c.ready = append(c.ready, x)
	}
}

// arrived reports whether what is served is what the table says.
func arrived(x *judged) bool {
	n := len(x.facts.Versions)
	if n == 0 {
		return false
	}
	v, goal := x.facts.Versions[n-1], x.domain.Policy()
	return v.Mode == goal.Mode && v.MaxAge >= time.Duration(goal.MaxAge)*time.Second
}

// lastStep returns when the policy that is served became stricter than the one before. Other
// edits may have come since.
func lastStep(f rollout.Facts) (time.Time, bool) {
	for i := len(f.Versions) - 1; i > 0; i-- {
		was, is := f.Versions[i-1], f.Versions[i]
		switch {
		case is.Mode != mtasts.ModeEnforce:
			return time.Time{}, false
		case was.Mode != mtasts.ModeEnforce || was.MaxAge < is.MaxAge:
			return is.From, true
		}
	}
	return time.Time{}, false
}

// alarming reports whether there is an alarm that holds others back. Failures that nobody
// known has reported do not, where the table says so.
func alarming(x *judged) bool {
	return slices.ContainsFunc(x.verdict.Alarms, func(r rollout.Reason) bool {
		return r.Code != rollout.GateUnsigned || x.gates.UnauthenticatedHolds
	})
}

// failing reports whether sessions fail, or the checker finds errors.
func failing(v rollout.Verdict) bool {
	return slices.ContainsFunc(v.Gates, func(g rollout.Gate) bool {
		return !g.Passed && (g.Name == rollout.GateFailures || g.Name == rollout.GateMXAllowed)
	})
}

// stop says why nobody moves on; "" where they may.
func (c *cohort) stop() string {
	if c.bad == 0 || c.bad*100 < stopAt*c.fresh {
		return ""
	}
	names := c.badOnes[:min(5, len(c.badOnes))]
	return fmt.Sprintf("%d that took a step have trouble since, beside %d steps in the last %d days: %s", c.bad, c.fresh, int(watchFor.Hours()/24), strings.Join(names, ", "))
}

// next are those that move on now: who waits for longest first.
func (c *cohort) next() []*judged {
	slices.SortFunc(c.ready, func(a, b *judged) int {
		if order := a.verdict.Since.Compare(b.verdict.Since); order != 0 {
			return order
		}
		return strings.Compare(a.domain.Name, b.domain.Name)
	})
	return c.ready[:min(len(c.ready), max(0, c.quota-c.today))]
}
