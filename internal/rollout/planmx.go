package rollout

import (
	"slices"
	"strings"
	"time"

	"mtasts-server/mtasts"
)

// StageKind says what is to be done in a Stage.
type StageKind string

const (
	WidenPolicy  StageKind = "widen-policy"  // allow the old MX hosts and the new ones
	ChangeMX     StageKind = "change-mx"     // in DNS
	NarrowPolicy StageKind = "narrow-policy" // allow the new ones alone
)

// Stage is one thing to do when MX hosts change.
type Stage struct {
	Kind StageKind `json:"kind"`
	MX   []string  `json:"mx"` // what is then to be in the policy, or in DNS

	// NotBefore is when it may be done: senders have seen the new id by then, as they
	// should. Certain is when even who sees no id, because its DNS is tampered with or
	// fails, holds no policy any more that stands against it.
	NotBefore time.Time `json:"not_before"`
	Certain   time.Time `json:"certain"`
	Why       string    `json:"why"`
}

// PlanMX returns the safe order for changing a domain's MX hosts from oldMX to newMX, each
// an A-label in lower case; none if they are the same. The policy goes first: senders that
// enforce one keep mail back from hosts that it does not allow, and may "be unable to
// discover that a new policy exists until the DNS TTL has passed" (RFC 8461 §8.1).
func (g Gates) PlanMX(f Facts, oldMX, newMX []string, now time.Time) []Stage {
	now = now.UTC()
	if slices.Equal(sorted(oldMX), sorted(newMX)) {
		return nil
	}
	current, served := f.current()
	change := Stage{Kind: ChangeMX, MX: sorted(newMX), NotBefore: now, Certain: later(now, f.heldAgainst(newMX, now)), Why: "no sender that follows ids holds a policy against it"}
	if !served {
		change.NotBefore = change.Certain // there is no id by which senders would learn of anything
		return []Stage{change}
	}
	change.NotBefore = later(now, f.allowedSince(newMX, now).Add(f.RecordTTL+g.Refresh))
	change.Certain = later(change.NotBefore, change.Certain)
	if current.Mode == mtasts.ModeNone {
		return []Stage{change}
	}
	var stages []Stage
	wide := with(current.MX, append(slices.Clone(oldMX), newMX...))
	if !samePatterns(wide, current.MX) {
		stages = append(stages, Stage{Kind: WidenPolicy, MX: texts(wide), NotBefore: now, Certain: now, Why: "the policy allows old and new hosts before DNS names them"})
	}
	stages = append(stages, change)
	if narrow := with(needed(wide, newMX), newMX); !samePatterns(narrow, wide) {
		wait := f.MXTTL + g.Queue
		stages = append(stages, Stage{
			Kind: NarrowPolicy, MX: texts(narrow), NotBefore: change.NotBefore.Add(wait), Certain: change.Certain.Add(wait),
			Why: "resolvers have forgotten the old hosts, and mail that waited for them is delivered",
		})
	}
	return stages
}

// allowedSince is since when all that was served allows the hosts; now if it does not.
func (f *Facts) allowedSince(hosts []string, now time.Time) time.Time {
	since := now
	for i := len(f.Versions) - 1; i >= 0; i-- {
		v := f.Versions[i]
		if v.Mode != mtasts.ModeNone && len(v.refused(hosts)) > 0 {
			break
		}
		if v.From.Before(since) {
			since = v.From
		}
	}
	return since
}

// heldAgainst is until when senders may hold a policy that does not allow all hosts.
func (f *Facts) heldAgainst(hosts []string, now time.Time) time.Time {
	until := f.HeldUntil // of those nobody knows what they allow
	for _, v := range f.Versions {
		if v.Mode != mtasts.ModeNone && len(v.refused(hosts)) > 0 {
			until = later(until, v.last(now).Add(v.MaxAge))
		}
	}
	return until
}

// with adds to the patterns the hosts that none of them allows.
func with(patterns []mtasts.MXPattern, hosts []string) []mtasts.MXPattern {
	wide := Version{MX: slices.Clone(patterns)}
	for _, host := range hosts {
		if !wide.allows(host) {
			wide.MX = append(wide.MX, mtasts.MXPattern(strings.ToLower(host)))
		}
	}
	return wide.MX
}

// needed are the patterns that allow one of the hosts.
func needed(patterns []mtasts.MXPattern, hosts []string) []mtasts.MXPattern {
	return slices.DeleteFunc(slices.Clone(patterns), func(p mtasts.MXPattern) bool {
		return !slices.ContainsFunc(hosts, p.Match)
	})
}

func texts(patterns []mtasts.MXPattern) []string {
	all := make([]string, len(patterns))
	for i, p := range patterns {
		all[i] = string(p)
	}
	return all
}
