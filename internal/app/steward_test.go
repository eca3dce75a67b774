package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/review"
	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
)

// One MX host that the policy does not allow is one message, by the review: the rules see it
// twice, and at a single look.
func TestOneTroubleIsOneMessage(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	allows := func(hosts ...mtasts.MXPattern) rollout.Version {
		return rollout.Version{Mode: mtasts.ModeEnforce, MaxAge: 30 * day, MX: hosts, From: now.Add(-10 * day)}
	}
	before := allows("mx1.example")
	before.Until = now.Add(-day)
	for name, c := range map[string]struct {
		versions []rollout.Version
		codes    string
	}{
		"by the policy of now":  {[]rollout.Version{allows("mx1.example")}, ""},
		"by that of before":     {[]rollout.Version{before, allows("mx1.example", "mx2.example")}, "mx-allowed"},
		"by none that is known": {[]rollout.Version{allows("mx1.example", "mx2.example")}, ""},
	} {
		facts := rollout.Facts{
			Versions: c.versions, MX: []rollout.MXSet{{Since: now.Add(-time.Hour), Hosts: []string{"mx1.example", "mx2.example"}}},
			Check: rollout.Check{At: now.Add(-time.Hour), Findings: []string{"mx-not-in-policy"}}, TLSRPTSince: now.Add(-20 * day),
			Days: []rollout.Day{{Date: now.Add(-2 * day), Authenticated: rollout.Evidence{Successful: 1}}},
		}
		s := &steward{alarms: map[string]map[string]bool{}, now: func() time.Time { return now }}
		var codes []string
		for _, a := range s.alarmsOf(&judged{domain: &config.Domain{Name: "a.example", Circumstances: &config.Circumstances{}}, facts: facts, gates: rollout.Default(), verdict: rollout.Default().Judge(facts, now)}) {
			codes = append(codes, a.Code)
		}
		if got := strings.Join(codes, " "); got != c.codes {
			t.Errorf("%s: told of %q, want %q", name, got, c.codes)
		}
	}
}

// What was seen of MX hosts is forgotten before a second look confirms it.
func TestSecondLookLooks(t *testing.T) {
	if confirm := review.DefaultPace().Confirm; runFor >= confirm {
		t.Errorf("what was seen holds for %s, and is confirmed after %s", runFor, confirm)
	}
}

// A page and the log say what an edit lacks, of some domains, and count the others.
func TestRefusedEditIsExplained(t *testing.T) {
	files := map[string]string{"main.toml": guarded("refuse")}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		files["policies/"+name+".toml"] = table(name+".example", "enforce", "1d", "mx.example")
	}
	d := newDesk(t, files)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		d.publisher.stager.learn(name+".example", stage{})
	}
	d.publisher.look()
	var log bytes.Buffer
	d.steward.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		d.steward.attend(t.Context())
	}
	lines := strings.Join(d.steward.amiss(), "\n")
	for _, want := range []string{"a.example is not enforced as configured; it lacks windows: have 0, want 14, not before ", "; run: mtasts-server rollout c.example\n2 more domains not enforced"} {
		if !strings.Contains(lines, want) {
			t.Errorf("it is not said %q:\n%s", want, lines)
		}
	}
	if n := strings.Count(log.String(), "an edit to enforce is kept back"); n != 5 {
		t.Errorf("the log tells of it %d times, want 5:\n%s", n, log.String())
	}
}

// Settings that are read at the start only are named when they change.
func TestReviewAndAlertsNeedRestart(t *testing.T) {
	was := config.Settings{}
	now := config.Settings{Review: config.Review{On: true}, Alerts: config.Alerts{Owners: true}}
	if got := strings.Join(needRestart(was, now), " "); got != "review alerts" {
		t.Errorf("%q need a restart", got)
	}
}
