package e2e_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

// With rollout.auto the server goes by itself: it begins in testing whatever the table says,
// takes one step when the gates hold, and neither kill -9 nor a lost ledger takes it back.
func TestRolloutAuto(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	w := newRolloutSite(t, "")
	const day = 24 * time.Hour
	begin, first := rolloutBody(mtasts.ModeTesting, day), rolloutBody(mtasts.ModeEnforce, day)
	w.write("policies/a.toml", w.table("enforce", "30d", strings.Replace(rolloutGates, "{ ", "{ auto = true, ", 1)))
	p := w.start()
	w.serves(p, begin)
	p.kill()
	p = w.start()
	w.neverMilder(p, begin)
	if out := w.rollout(0, rolloutDomain); !strings.Contains(out, "next: enforce, max_age 1d, not before") || !strings.Contains(out, "the server takes the step by itself (rollout.auto)") {
		t.Errorf("the verb says:\n%s", out)
	}
	p.stop()

	// Two days go by, with reports.
	w.loseLedger()
	today := time.Now().UTC().Truncate(day)
	w.database(forgetLooks)
	w.servedSince(today.Add(-60*time.Hour), begin)
	p = w.start()
	w.neverMilder(p, begin)
	w.comesToPass(p, "checker", "tlsrpt-record")
	w.report("one", today.AddDate(0, 0, -2), begin)
	w.report("two", today.AddDate(0, 0, -1), begin)
	w.awaitStored(2)
	w.looksAgain(p)
	w.serves(p, first)
	p.saysNothing()
	if l := w.line(); l.Step != "enforce-short" || l.Ready || l.Next == nil || l.Next.MaxAge != 7*86400 {
		t.Errorf("after the first step: %+v", l)
	}
	p.kill()
	p = w.start()
	w.neverMilder(p, first)
	w.serves(p, first)
	p.stop()

	// DNS knows what was announced.
	w.loseLedger()
	p = w.start()
	w.neverMilder(p, first)
	w.serves(p, first)
	p.stop()
}

// neverMilder waits until senders get a policy: the first that they get must be this one.
func (w *rolloutSite) neverMilder(p *program, body []byte) {
	w.t.Helper()
	eventually(w.t, "a policy is served", func() error {
		got, err := w.policy(p)
		if err == nil && got != string(body) {
			w.t.Fatalf("%q is served, want %q", got, body)
		}
		return err
	})
}

func (w *rolloutSite) loseLedger() {
	w.t.Helper()
	if err := os.RemoveAll(w.path("state/ledger")); err != nil {
		w.t.Fatal(err)
	}
}
