package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/config"
	"mtasts-server/internal/alert"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/review"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

// alerting tells people of what the review and the rollout find.
type alerting struct {
	sender *alert.Sender                               // nil: nobody is told
	tell   func(context.Context, ...alert.Alert) error // nil likewise
	domain func(name string) *config.Domain
	ledger *ledger.Ledger
	looks  *review.Store
	log    *slog.Logger
	now    func() time.Time
	broken error         // why nobody is told, where somebody should be
	missed chan struct{} // has a value when something could not be raised
}

func newAlerting(s config.Settings, a *archive, p *publisher, domain func(string) *config.Domain, now func() time.Time) *alerting {
	t := &alerting{domain: domain, ledger: p.ledger, log: p.log, now: now, missed: make(chan struct{}, 1)}
	if !s.Alerts.Sends() || a == nil {
		return t
	}
	t.looks = a.looks
	webhook, mail, err := alertChannels(s, now)
	if err == nil {
		t.sender, err = alert.New(alert.Options{DB: a.db, Webhook: webhook, Mail: mail, Digest: s.Alerts.Digest, Now: now, Log: p.log})
	}
	if t.broken = err; err != nil {
		p.log.Error("no alerts are sent until this is mended and the server started anew", "err", err)
		return t
	}
	t.tell = t.sender.Raise
	return t
}

// alertChannels are those that the settings name; nil where they name none.
func alertChannels(s config.Settings, now func() time.Time) (*alert.Webhook, *alert.Mail, error) {
	var webhook *alert.Webhook
	var mail *alert.Mail
	if w := s.Alerts.Webhook; w != nil {
		secret, err := secretOf(w.Secret, w.SecretFile)
		if err != nil {
			return nil, nil, fmt.Errorf("alerts.webhook.secret_file: %w", err)
		}
		if webhook, err = alert.NewWebhook(alert.WebhookOptions{URL: w.URL, Secret: secret, Now: now}); err != nil {
			return nil, nil, err
		}
	}
	if m := s.Alerts.Mail; m != nil {
		var err error
		mail, err = alert.NewMail(alert.MailOptions{
			Server: m.Server, Implicit: m.TLS == "implicit", User: m.Username, PasswordFile: m.PasswordFile, From: m.From, To: m.To, ToOwners: s.Alerts.Owners, Now: now,
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return webhook, mail, nil
}

// AlertTest is one channel's outcome.
type AlertTest struct {
	Channel string
	Err     error
}

// TestAlerts sends a message by each channel that file names, which says that it is a test.
func TestAlerts(ctx context.Context, file string) ([]AlertTest, error) {
	snap, _, err := loadConfig(file)
	if err != nil {
		return nil, err
	}
	webhook, mail, err := alertChannels(snap.Settings, time.Now)
	if err != nil {
		return nil, err
	}
	var all []AlertTest
	if webhook != nil {
		all = append(all, AlertTest{"webhook", webhook.Test(ctx)})
	}
	if mail != nil {
		all = append(all, AlertTest{"mail", mail.Test(ctx)})
	}
	return all, nil
}

func (t *alerting) run(ctx context.Context) {
	if t.sender == nil {
		return
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { t.repeat(ctx) })
	if err := t.sender.Run(ctx); err != nil {
		t.log.Error("no alerts are sent any more", "err", err)
	}
}

const (
	// repeatEvery is how often what people were told is compared with what is open: what opened
	// or closed while the database was away, or before a crash, would never be told.
	repeatEvery = time.Hour
	repeatSoon  = time.Minute // after something could not be raised
)

func (t *alerting) repeat(ctx context.Context) {
	timer := time.NewTimer(repeatSoon)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.missed:
			timer.Reset(repeatSoon)
			continue
		case <-timer.C:
		}
		timer.Reset(repeatEvery)
		if err := t.compare(ctx); err != nil {
			t.miss()
		}
	}
}

// compare raises what is open, and ends what is not any more, or is silenced by now: most of
// it is known.
func (t *alerting) compare(ctx context.Context) error {
	told, err := t.open(ctx, findingKeys) // first: what opens meanwhile is not among them
	if err != nil {
		return err
	}
	findings, err := t.looks.Open(ctx, review.Filter{})
	if err != nil {
		return err
	}
	open := map[string]bool{}
	var alerts []alert.Alert
	for _, f := range findings {
		open[findingKey(f)] = true
		switch {
		case t.silenced(f):
			alerts = append(alerts, alert.Alert{Key: findingKey(f), Closed: true, Quiet: true})
		case f.Looks > 1: // one may be a mishap
			alerts = append(alerts, t.alertsOf(f)...)
		}
	}
	for _, key := range told {
		if !open[key] {
			alerts = append(alerts, alert.Alert{Key: key, Closed: true})
		}
	}
	return t.raise(alerts)
}

func (t *alerting) miss() {
	select {
	case t.missed <- struct{}{}:
	default:
	}
}

// alertsOf is the alert of a finding; none where it is silenced.
func (t *alerting) alertsOf(f review.Finding) []alert.Alert {
	if t.silenced(f) {
		return nil
	}
	return []alert.Alert{t.alertOf(f, t.domain(f.Domain))}
}

// silenced reports whether the domain's table wants nobody to be told of f now.
func (t *alerting) silenced(f review.Finding) bool {
	d := t.domain(f.Domain)
	return d != nil && review.NewSilencer(silencesOf(d), t.now()).Of(f) != nil
}

// found tells of what looks changed.
func (t *alerting) found(all []review.Changes) {
	if t.tell == nil {
		return
	}
	var alerts []alert.Alert
	for _, c := range all {
		for _, f := range slices.Concat(c.Confirmed, c.Worsened) {
			alerts = append(alerts, t.alertsOf(f)...)
		}
		for _, f := range c.Closed {
			alerts = append(alerts, alert.Alert{Key: findingKey(f), Domain: f.Domain, Code: f.Code, Closed: true, At: f.Closed})
		}
	}
	_ = t.raise(alerts) // what is missed is told later
}

// moved tells of domains whose MX hosts are others than the last time: once a digest, as a
// name server may answer otherwise each time.
func (t *alerting) moved(all []review.Changes) {
	var alerts []alert.Alert
	for _, c := range all {
		if !c.MX {
			continue
		}
		a := alert.Alert{
			Key: "mx/" + c.Domain, Domain: c.Domain, Code: "mx-changed", Severity: alert.Warning, Event: true,
			Title: "the MX hosts are others than before", Text: "the MX records in DNS name other hosts than at the last look", At: c.At,
			Fix: "if that was not meant, find out who changed them; if it was, see whether the policy allows all of them: mtasts-server verify " + c.Domain,
		}
		if d := t.domain(c.Domain); d != nil {
			a.Owner = d.Owners.MX
		}
		alerts = append(alerts, a)
	}
	_ = t.raise(alerts) // what is missed is on the page of the review
}

// raiseAtOnce is how many alerts have raiseFor to be stored.
const (
	raiseAtOnce = 1000
	raiseFor    = time.Minute
)

func (t *alerting) raise(alerts []alert.Alert) error {
	if t.tell == nil {
		return nil
	}
	for group := range slices.Chunk(alerts, raiseAtOnce) {
		if err := t.raiseGroup(group); err != nil {
			return err
		}
	}
	return nil
}

func (t *alerting) raiseGroup(alerts []alert.Alert) error {
	ctx, cancel := context.WithTimeout(context.Background(), raiseFor)
	defer cancel()
	err := t.tell(ctx, alerts...)
	if err != nil {
		t.miss()
		t.log.Error("somebody should have been told, and is not yet", "alerts", len(alerts), "first", alerts[0].Domain+" "+alerts[0].Code, "err", err)
	}
	return err
}

// open lists the keys that begin so of what people were told of, and is not over.
func (t *alerting) open(ctx context.Context, beginning string) ([]string, error) {
	if t.sender == nil {
		return nil, nil
	}
	return t.sender.Open(ctx, beginning)
}

const findingKeys = "finding/" // before the domain, the code and the subject

func findingKey(f review.Finding) string {
	return findingKeys + f.Domain + "/" + f.Code + "/" + f.Subject
}

// alertOf puts a finding in the words of an alert.
func (t *alerting) alertOf(f review.Finding, d *config.Domain) alert.Alert {
	e, _ := t.ledger.Lookup(f.Domain)
	a := alert.Alert{
		Key: findingKey(f), Domain: f.Domain, Code: f.Code, Severity: string(f.Severity), Title: f.Subject + ": " + f.Text,
		Text: f.Text, Evidence: f.Evidence, Fix: f.Fix, At: f.FirstSeen,
		Urgent: f.Severity == review.Error && e.Mode == mtasts.ModeEnforce && losesMail(f.Code),
	}
	if d != nil {
		a.Owner = ownerName(d.Owners, f.Owner)
	}
	return a
}

// losesMail reports whether senders that hold an enforced policy keep mail back for what
// a code tells of. What is wrong with the policy host does not do so at once: they hold
// the policy.
func losesMail(code string) bool {
	return family(code) == "mx" || code == sendercheck.DomainMissing
}

func ownerName(o config.Owners, kind review.Owner) string {
	switch kind {
	case review.PolicyOwner:
		return o.Policy
	case review.DNSOwner:
		return o.DNS
	}
	return o.MX
}

func (t *alerting) amiss() []string {
	switch {
	case t.broken != nil:
		return []string{"nobody is told by alerts: " + t.broken.Error()}
	case t.sender == nil:
		return nil
	}
	return t.sender.Trouble()
}

func (t *alerting) collectors() []prometheus.Collector {
	if t.sender == nil {
		return nil
	}
	return []prometheus.Collector{t.sender}
}
