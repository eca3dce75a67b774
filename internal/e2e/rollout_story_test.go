package e2e_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

const rolloutGates = `rollout = { windows = 2, active_windows = 2, reporters = 1, lag = "0s", tlsrpt_live = "0s" }`

// A domain goes from testing to enforce by evidence, on real parts: what lacks is said, it
// comes by mail, the edit is taken, its id announced. Then an MX host that the policy does
// not allow appears in DNS: it is found, told of once, and closed when it is gone.
func TestRolloutStory(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	w := newRolloutSite(t, "[rollout]\nguard = \"refuse\"\n")
	testing, enforce := rolloutBody(mtasts.ModeTesting, 24*time.Hour), rolloutBody(mtasts.ModeEnforce, 30*24*time.Hour)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	w.servedSince(today.Add(-60*time.Hour), testing)
	w.write("policies/a.toml", w.table("testing", "1d", rolloutGates))
	p := w.start()
	w.serves(p, testing)
	w.comesToPass(p, "checker", "tlsrpt-record")

	// An edit to enforce is refused, and it is said what it lacks.
	w.replace("policies/a.toml", w.table("enforce", "30d", rolloutGates))
	p.says(rolloutDomain + " is not enforced as configured; it lacks sessions: have 0, want 2")
	w.serves(p, testing)
	if got, want := w.line().open(), []string{"sessions", "reporters", "current-policy", "heard"}; !slices.Equal(got, want) {
		t.Errorf("it waits for %q, want %q", got, want)
	}
	out := w.rollout(0, rolloutDomain)
	for _, want := range []string{"its table says enforce; testing is served", "open    reporters", "passed  mx-stable", "have 0"} {
		if !strings.Contains(out, want) {
			t.Errorf("the verb does not say %q:\n%s", want, out)
		}
	}

	// One report is not enough; the second one is.
	w.report("one", today.AddDate(0, 0, -2), testing)
	w.awaitStored(1)
	w.looksAgain(p)
	p.says(rolloutDomain + " is not enforced as configured; it lacks sessions: have 1, want 2")
	w.serves(p, testing)
	w.report("two", today.AddDate(0, 0, -1), testing)
	w.awaitStored(2)
	if out := w.rollout(0, "--ready"); !strings.Contains(out, "1 may take their next step now") {
		t.Errorf("the verb does not see that it may go on:\n%s", out)
	}
	w.looksAgain(p)
	w.serves(p, enforce)
	p.saysNothing()
	w.drifts(p)
	p.stop()
}

// looksAgain has the server look at all that waits, as after a repair.
func (w *rolloutSite) looksAgain(p *program) { p.signal(syscall.SIGHUP) }

// comesToPass has the review look until gates are passed.
func (w *rolloutSite) comesToPass(p *program, gates ...string) {
	w.t.Helper()
	for deadline := time.Now().Add(programPatience); time.Now().Before(deadline); { // DNS is asked again after half a minute
		open := w.line().open()
		if !slices.ContainsFunc(gates, func(g string) bool { return slices.Contains(open, g) }) {
			return
		}
		w.later(p)
		time.Sleep(time.Second)
	}
	w.t.Fatalf("gates stay open: %+v", w.line().Gates)
}

// drifts has an MX host appear in DNS that the policy does not allow.
func (w *rolloutSite) drifts(p *program) {
	t := w.t
	t.Helper()
	const mx2 = rolloutDomain + ". 0 IN MX 20 mx2." + rolloutDomain + "."
	opened, closed := "opened "+rolloutDomain+" mx-not-in-policy", "closed "+rolloutDomain+" mx-not-in-policy"
	w.later(p)
	w.told(0)
	w.update(mx2, "")
	w.later(p) // it is found
	w.told(0)  // one look may be a mishap
	w.later(p)
	w.told(1, opened)
	if l := w.line(); len(l.Alarms) == 0 {
		t.Errorf("the verb rollout does not alarm: %+v", l)
	}
	w.rollout(1, rolloutDomain)
	eventually(t, "metrics tell of it", func() error { // it is counted each minute
		text, err := p.ask("/metrics")
		if err == nil && !strings.Contains(text, "mtasts_review_findings_open_by_code{code=\"mx-not-in-policy\"} 1\n") {
			err = errors.New("they do not")
		}
		return err
	})
	if out := w.run("review"); !strings.Contains(out, "mx-not-in-policy") || !strings.Contains(out, "mx2."+rolloutDomain) {
		t.Errorf("the quarterly review does not tell of it:\n%s", out)
	}
	// A flap is no second alarm, and no end.
	w.update("", mx2)
	w.later(p)
	w.update(mx2, "")
	w.later(p)
	w.later(p)
	w.told(1, opened)
	// It is mended.
	w.update("", mx2)
	w.later(p)
	w.told(1, opened)
	w.later(p)
	w.told(2, opened, closed)
	for i, want := range []string{"Subject: [mtasts] " + rolloutDomain + ": mx2", "Subject: [mtasts] " + rolloutDomain + ": mended"} {
		if mail := w.ops.all()[i]; !strings.Contains(mail, want) || !strings.Contains(mail, "\nTo: <postmaster@ops.test>") {
			t.Errorf("mail %d lacks %q:\n%s", i, want, mail)
		}
	}
	w.rollout(0, rolloutDomain)
}

// told waits until n messages came by each channel, the hook's being these, and no others.
func (w *rolloutSite) told(n int, want ...string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d alerts came", n), func() error {
		got, forged := w.hook.told()
		if mails := w.ops.all(); !slices.Equal(got, want) || len(forged) > 0 || len(mails) != n {
			return fmt.Errorf("the hook got %q, unsigned %q; %d mails came", got, forged, len(mails))
		}
		return nil
	})
}
