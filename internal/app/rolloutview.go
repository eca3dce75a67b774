package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/config"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// RolloutView is where a domain stands, and what its next step waits for.
type RolloutView struct {
	Domain    string       `json:"domain"`
	Step      rollout.Step `json:"step"`
	Since     time.Time    `json:"since,omitzero"`
	Next      *NextView    `json:"next,omitempty"` // nil: there is none to take
	Ready     bool         `json:"ready"`          // all gates are passed
	NotBefore time.Time    `json:"not_before,omitzero"`
	Gates     []GateView   `json:"gates,omitempty"`
	Hold      []string     `json:"hold,omitempty"`   // why it does not go on
	Alarms    []string     `json:"alarms,omitempty"` // what somebody has to look at now
	Auto      bool         `json:"auto,omitempty"`   // the server takes the step itself
	Override  string       `json:"override,omitempty"`
	Guarded   string       `json:"guarded,omitempty"` // its table says enforce, and testing is served
	Kept      string       `json:"kept,omitempty"`    // there is no good table, and what was published last is served
	File      string       `json:"file"`              // of its table
	Edit      []string     `json:"edit,omitempty"`    // the next edit, as a difference
}

// NextView is the next step.
type NextView struct {
	Mode   mtasts.Mode `json:"mode,omitempty"`
	MaxAge int         `json:"max_age,omitempty"` // seconds
	Remove bool        `json:"remove,omitempty"`  // record, policy host and certificate may go
}

// GateView is one thing that the next step waits for.
type GateView struct {
	Name     string    `json:"name"`
	Passed   bool      `json:"passed"`
	Have     string    `json:"have"`
	Want     string    `json:"want"`
	Evidence string    `json:"evidence,omitempty"`
	Earliest time.Time `json:"earliest,omitzero"`
}

// Rollout looks at where domains stand, beside the server.
type Rollout struct {
	view    *View
	archive *archive // nil: there is no evidence
	judge   *judge
}

// OpenRollout opens what is known of the domains of file.
func OpenRollout(file string, warn func(error)) (*Rollout, error) {
	v, err := OpenView(file, warn)
	if err != nil {
		return nil, err
	}
	s := v.snap.Settings
	r := &Rollout{view: v}
	r.judge = &judge{ledger: v.ledger, ttl: s.DNS.TTL, now: time.Now}
	switch o, err := OpenReports(file, false, func(error) {}); {
	case errors.Is(err, ErrNoReports):
	case err != nil:
		warn(fmt.Errorf("reports cannot be looked at, so nothing is known of them: %w", err))
	default:
		r.archive, r.judge.reports, r.judge.looks = o.archive, o.archive.reports, o.archive.looks
	}
	return r, nil
}

// Close ends the use of the database.
func (r *Rollout) Close() {
	r.archive.close()
}

// Names lists the domains that are configured, sorted.
func (r *Rollout) Names() []string { return r.view.Names() }

// Reviews reports whether a server looks at the domains.
func (r *Rollout) Reviews() bool { return r.view.snap.Settings.Review.On }

// Each calls f with where each of domains stands, in no order.
func (r *Rollout) Each(ctx context.Context, domains []string, f func(*RolloutView) error) error {
	known, err := r.known(domains)
	if err != nil {
		return err
	}
	configured := byName(r.view.snap, domains)
	return r.judge.each(ctx, pick(known, domains), func(x *judged) error {
		v := r.show(x)
		if configured[v.Domain] == nil {
			v.Kept, v.Edit = "no file names it, or its table has an error (mtasts-server check): it is served as it was published last", nil
		}
		return f(v)
	})
}

// known finds domains that are configured, or served as they were published last.
func (r *Rollout) known(domains []string) (map[string]*config.Domain, error) {
	known := byName(r.view.snap, domains)
	for _, name := range domains {
		if known[name] == nil {
			e, ok := r.view.ledger.Lookup(name)
			if !ok {
				return nil, fmt.Errorf("%q is neither configured nor published; %s", name, nextStep(r.view.snap, name))
			}
			known[name] = published(e)
		}
	}
	return known, nil
}

func (r *Rollout) show(x *judged) *RolloutView {
	d, v := x.domain, x.verdict
	out := &RolloutView{
		Domain: d.Name, Step: v.Step, Since: v.Since, Ready: v.Ready, NotBefore: v.NotBefore, File: d.File,
		Auto: walksAlone(d),
	}
	for _, g := range v.Gates {
		out.Gates = append(out.Gates, GateView{g.Name, g.Passed, g.Have, g.Want, g.Evidence, g.EarliestAt})
	}
	out.Hold, out.Alarms = texts(v.Hold), texts(v.Alarms)
	if d.Care != nil && d.Care.Override != nil {
		o := d.Care.Override
		out.Override = fmt.Sprintf("%s (%s, until %s)", o.Reason, o.Author, o.Until.AddDate(0, 0, -1).Format(time.DateOnly))
	}
	next := x.next()
	if next == (rollout.Next{}) {
		out.Ready, out.NotBefore, out.Gates = false, time.Time{}, nil
		return out
	}
	out.Next = &NextView{Mode: next.Mode, MaxAge: int(next.MaxAge / time.Second), Remove: next.Remove}
	if e, published := r.view.ledger.Lookup(d.Name); published && d.Policy().Mode == mtasts.ModeEnforce && e.Mode == mtasts.ModeTesting && !out.Auto {
		out.Guarded = "its table says enforce; testing is served until the gates are passed (rollout.guard)"
		return out
	}
	if !out.Auto {
		out.Edit = edit(d, next)
	}
	return out
}

func texts(reasons []rollout.Reason) []string {
	var list []string
	for _, r := range reasons {
		list = append(list, r.Text)
	}
	return slices.Compact(list)
}

// edit is the change of a domain's table that takes the next step.
func edit(d *config.Domain, next rollout.Next) []string {
	table := fmt.Sprintf(" [domains.%q]", cmp.Or(d.AliasOf, d.Name))
	switch {
	case next.Remove && d.AliasOf != "":
		return []string{table, fmt.Sprintf("-aliases: %q", d.Name)}
	case next.Remove:
		return []string{fmt.Sprintf("-[domains.%q]", d.Name)}
	}
	is := d.Policy()
	lines := []string{table}
	change := func(key, was, to string, from config.Layer) {
		if was == to {
			return
		}
		if from == config.FromDomain {
			lines = append(lines, fmt.Sprintf("-%s = %q", key, was))
		}
		lines = append(lines, fmt.Sprintf("+%s = %q", key, to))
	}
	change("mode", string(is.Mode), string(next.Mode), d.Origin.Mode)
	change("max_age", inUnits(time.Duration(is.MaxAge)*time.Second), inUnits(next.MaxAge), d.Origin.MaxAge)
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// inUnits prints a time as configuration takes it: "30d".
func inUnits(d time.Duration) string {
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.d && d%u.d == 0 {
			return strconv.FormatInt(int64(d/u.d), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// MXPlan is the safe order for a change of MX hosts.
type MXPlan struct {
	Domain string          `json:"domain"`
	Old    []string        `json:"old"` // what DNS has now
	New    []string        `json:"new"`
	Stages []rollout.Stage `json:"stages"`
}

// leastMXTTL is how long resolvers keep MX records, at least: one that is asked tells what is
// left of that.
const leastMXTTL = 24 * time.Hour

// PlanMX says in which order the MX hosts of domain are changed, so that no mail is lost.
// old may be empty: then DNS is asked.
func (r *Rollout) PlanMX(ctx context.Context, domain string, old, to []string) (*MXPlan, error) {
	plan := &MXPlan{Domain: domain, Old: old, New: to}
	var ttl time.Duration
	if len(old) == 0 {
		var err error
		if plan.Old, ttl, err = r.mxOf(ctx, domain); err != nil {
			return nil, err
		}
	}
	known := byName(r.view.snap, []string{domain})
	if known[domain] == nil {
		return nil, fmt.Errorf("%q is not configured; %s", domain, nextStep(r.view.snap, domain))
	}
	err := r.judge.each(ctx, pick(known, []string{domain}), func(x *judged) error {
		x.facts.MXTTL = max(ttl, leastMXTTL)
		plan.Stages = x.gates.PlanMX(x.facts, plan.Old, to, time.Now())
		return nil
	})
	return plan, err
}

func (r *Rollout) mxOf(ctx context.Context, domain string) (hosts []string, ttl time.Duration, err error) {
	answer, err := lookup.New(r.view.snap.Settings.DNS.Resolvers, time.Now).Lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, 0, fmt.Errorf("DNS does not say which MX hosts %s has: %w; name them with --old", domain, err)
	}
	for _, rr := range answer.Records {
		if mx, ok := rr.(*dns.MX); ok {
			if name, err := mtasts.ParseDomain(mx.Mx); err == nil {
				hosts, ttl = append(hosts, name), max(ttl, time.Duration(mx.Hdr.Ttl)*time.Second)
			}
		}
	}
	if len(hosts) == 0 {
		return nil, 0, fmt.Errorf("%s has no MX hosts in DNS; name the old ones with --old", domain)
	}
	slices.Sort(hosts)
	return hosts, ttl, nil
}
