package app

import (
	"fmt"
	"path/filepath"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// View is the configuration and the ledger as a verb beside the server sees them.
type View struct {
	snap   *config.Snapshot
	ledger *ledger.Ledger
	stages *stager
}

// OpenView reads both. Where the ledger cannot be read it calls warn, and the view
// knows of the configuration only. A main file with errors, where no good one is
// remembered, gives a *ConfigError.
func OpenView(file string, warn func(error)) (*View, error) {
	snap, _, err := loadConfig(file)
	if err != nil {
		return nil, err
	}
	v := &View{snap: snap}
	if v.ledger, err = ledger.Visit(ledgerDir(snap.Settings)); err != nil {
		warn(fmt.Errorf("what was published before cannot be read: %w", err))
	}
	v.stages = newStager(snap.Settings.Rollout.Guard, false, nil, time.Now)
	return v, nil
}

// served is d as a server publishes it: in the stage that it has reached, by the ledger.
func (v *View) served(d *config.Domain) *config.Domain {
	e, published := v.ledger.Lookup(d.Name)
	v.stages.mu.Lock()
	defer v.stages.mu.Unlock()
	return v.stages.stage(d, e, published)
}

// ConfigError is a configuration that nothing can be done with.
type ConfigError struct {
	Problems []config.Problem // of the main file
}

func (e *ConfigError) Error() string {
	return "the configuration has " + count(countErrors(e.Problems), "error")
}

// loadConfig loads the configuration for who cannot do without.
func loadConfig(file string) (*config.Snapshot, *config.Loader, error) {
	loader, err := config.NewLoader(file, config.LoaderOptions{})
	if err != nil {
		return nil, nil, err
	}
	snap, ok := loader.Load()
	if !ok {
		return nil, nil, &ConfigError{snap.Problems}
	}
	return snap, loader, nil
}

func ledgerDir(s config.Settings) string { return filepath.Join(s.State, "ledger") }

// PolicyView is what the verb policy tells of a domain.
type PolicyView struct {
	Domain  string      `json:"domain"`
	URL     string      `json:"url"`
	State   state       `json:"state"`
	Policy  string      `json:"policy"` // the exact bytes
	ID      string      `json:"id"`
	Records []string    `json:"records"`
	AliasOf string      `json:"alias_of,omitempty"`
	Profile string      `json:"profile,omitempty"`
	Why     [][2]string `json:"why"` // field, where it comes from
}

// Current reports whether the policy is published as configured.
func (p *PolicyView) Current() bool { return p.State == stateCurrent }

// Policy says what a server publishes for the domain, and why.
func (v *View) Policy(domain string) (*PolicyView, error) {
	p := &PolicyView{Domain: domain, URL: mtasts.PolicyURL(domain), State: stateCurrent}
	for _, d := range v.snap.Domains {
		if d.Name != domain {
			continue
		}
		s := v.served(d)
		if e, ok := v.ledger.Lookup(domain); ok && contested(v.snap, e, s) {
			break // the server does not publish it either
		}
		p.Policy, p.ID, p.AliasOf, p.Profile = string(s.Body), s.ID, d.AliasOf, d.Profile
		if s != d {
			p.Why = append(p.Why, [2]string{"stage", onTheWay(d, s)})
		}
		for _, field := range []string{"mode", "mx", "max_age", "tlsrpt"} {
			p.Why = append(p.Why, [2]string{field, v.snap.Explain(d, field)})
		}
		p.addRecords(d.TLSRPT)
		return p, nil
	}
	e, ok := v.ledger.Lookup(domain)
	if !ok {
		return nil, fmt.Errorf("%q is neither configured nor published; %s", domain, nextStep(v.snap, domain))
	}
	k := keep(v.snap, e)
	p.State, p.Policy, p.ID = stateKept, string(e.Body), e.ID
	p.Why = [][2]string{
		{"kept", k.why()},
		{"since", e.From.Format(time.RFC3339)},
		{"from", e.Source},
	}
	p.addRecords(nil)
	return p, nil
}

// onTheWay says why a domain is not served as its table says.
func onTheWay(table, served *config.Domain) string {
	goal, is := table.Policy(), served.Policy()
	by := "rollout.guard: enforce lacks its evidence"
	if table.Plan != nil && table.Plan.Auto {
		by = "rollout.auto: the server takes the steps by itself"
	}
	return fmt.Sprintf("%s, max_age %d, on the way to %s, max_age %d (%s; run: mtasts-server rollout %s)", is.Mode, is.MaxAge, goal.Mode, goal.MaxAge, by, table.Name)
}

func nextStep(snap *config.Snapshot, domain string) string {
	if why, ok := snap.Refused[domain]; ok {
		return "its configuration is refused: " + why
	}
	return "write a policy file for it and run check"
}

func (p *PolicyView) addRecords(rua []string) {
	p.Records = []string{fmt.Sprintf("%s. IN TXT %q", mtasts.RecordName(p.Domain), mtasts.Record{ID: p.ID})}
	if len(rua) > 0 {
		p.Records = append(p.Records, fmt.Sprintf("%s. IN TXT %q", tlsrpt.RecordName(p.Domain), tlsrpt.Record{RUA: rua}))
	}
}

// Forget takes a domain off the air that no file names any more, and returns until
// when senders may hold its policy.
func (v *View) Forget(domain string, now time.Time) (heldUntil time.Time, err error) {
	for _, d := range v.snap.Domains {
		if d.Name == domain {
			return time.Time{}, fmt.Errorf("%q is still configured in %s: remove it there first", domain, d.File)
		}
	}
	e, ok := v.ledger.Lookup(domain)
	if !ok {
		return time.Time{}, fmt.Errorf("%q is not being served, so there is nothing to forget", domain)
	}
	if k := keep(v.snap, e); k.reason != vanished {
		return time.Time{}, fmt.Errorf("%q is still configured, with errors: %s; mend or remove it first", domain, k.why())
	}
	if err := v.ledger.Forget(now, domain); err != nil {
		return time.Time{}, err
	}
	return e.SendersHoldUntil(now), nil
}
