package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/review"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/mtasts"
)

// runFor is how long what was seen of MX hosts holds for other domains that have them too:
// thousands may share two. It is less than the time after which a look confirms what the
// one before found: a second look at what was remembered would confirm every mishap.
const runFor = 4 * time.Minute

// againAtMost bounds how many findings are looked at again at once when somebody asks: a
// provider's outage opens more, and these have their turn.
const againAtMost = 1000

// looker looks at domains of ours as senders do, for the review.
type looker struct {
	checker  *sendercheck.Checker
	settings config.Settings
	domain   func(name string) *config.Domain
	ledger   *ledger.Ledger
	reports  *reports.Store
	cas      *certs.Inspector // nil: no CA is asked for certificates
	now      func() time.Time

	mu    sync.Mutex
	run   *sendercheck.Run
	begun time.Time
}

func newLooker(s config.Settings, domain func(string) *config.Domain, book *ledger.Ledger, now func() time.Time) (*looker, error) {
	o := sendercheck.Options{
		Resolver: lookup.New(s.DNS.Resolvers, now), HTTPSPort: s.Review.HTTPS, SMTPPort: s.Review.SMTP,
		AllowPrivate: s.DNS.Private, SkipMX: s.Review.SkipMX, Hello: s.Review.Hello, Now: now,
	}
	if s.Review.Roots != "" {
		pem, err := os.ReadFile(s.Review.Roots)
		if err != nil {
			return nil, fmt.Errorf("review.roots: %w", err)
		}
		if o.Roots, err = x509.SystemCertPool(); err != nil {
			o.Roots = x509.NewCertPool()
		}
		if !o.Roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("review.roots: %q holds no certificate", s.Review.Roots)
		}
	}
	var cas *certs.Inspector
	if co, err := certsOptions(s); err == nil { // else /readyz tells of it, and no CA is asked anyway
		co.Now = now
		if cas, err = certs.NewInspector(co); err != nil {
			return nil, err
		}
	}
	checker, err := sendercheck.New(o)
	return &looker{cas: cas, checker: checker, settings: s, domain: domain, ledger: book, now: now}, err
}

// look is a review.Looker.
func (l *looker) look(ctx context.Context, domain string) (review.Look, error) {
	want := l.want(domain)
	report := l.currentRun().Check(ctx, domain, want)
	look := lookOf(report, l.now())
	if want == nil { // that nothing is published is as it should be
		look.Problems = slices.DeleteFunc(look.Problems, func(p review.Problem) bool { return p.Code == sendercheck.NotPublished })
	}
	l.addCAA(ctx, domain, &look)
	l.addOwners(domain, &look)
	l.addReports(ctx, domain, &look)
	return look, ctx.Err()
}

// The findings that are ours alone, beside those of sendercheck. They stand in
// docs/rollout.md.
const (
	codeCAA     = "caa-forbids"
	codeOwners  = "owner-missing"
	codeReports = "reports-" // and a reports.AnomalyCode
)

// addCAA finds out whether the CA may renew the policy host's certificate.
func (l *looker) addCAA(ctx context.Context, domain string, look *review.Look) {
	if l.cas == nil {
		return
	}
	finding, owner, issuer, err := l.cas.CAA(ctx, mtasts.PolicyHost(domain))
	switch {
	case err != nil:
		look.Unseen = append(look.Unseen, codeCAA)
	case finding != "":
		look.Problems = append(look.Problems, review.Problem{
			Code: codeCAA, Subject: owner, Severity: review.Error, Owner: review.DNSOwner, Rule: "RFC 8659 §4", Text: "CAA keeps the CA from renewing the certificate of the policy host",
			Evidence: finding, Fix: fmt.Sprintf("publish at %s: CAA 0 issue %q", owner, issuer),
		})
	}
}

// addOwners finds out whether somebody answers for the domain.
func (l *looker) addOwners(domain string, look *review.Look) {
	d := l.domain(domain)
	if d == nil {
		return
	}
	if missing := missingOwners(d.Owners); len(missing) > 0 {
		look.Problems = append(look.Problems, review.Problem{
			Code: codeOwners, Subject: domain, Severity: review.Warning, Owner: review.PolicyOwner,
			Text: "nobody is named who answers for " + strings.Join(missing, ", "), Fix: `write owners = { policy = "...", dns = "...", mx = "..." } in its table, its profile or [defaults]`,
		})
	}
}

func missingOwners(o config.Owners) (missing []string) {
	for _, kind := range []review.Owner{review.PolicyOwner, review.DNSOwner, review.MXOwner} {
		if ownerName(o, kind) == "" {
			missing = append(missing, string(kind))
		}
	}
	return missing
}

// addReports finds out what is out of the ordinary in what senders report.
func (l *looker) addReports(ctx context.Context, domain string, look *review.Look) {
	if l.reports == nil {
		return
	}
	s, err := l.reports.Summary(ctx, domain, look.At.Add(-reportsOf), look.At)
	if err != nil {
		for _, code := range reports.AnomalyCodes() {
			look.Unseen = append(look.Unseen, codeReports+string(code))
		}
		return
	}
	for _, a := range s.Anomalies {
		p := review.Problem{
			Code: codeReports + string(a.Code), Subject: printable(a.Subject), Severity: review.Severity(a.Severity), Owner: review.PolicyOwner,
			Text: printable(a.Text), Fix: "see: mtasts-server reports summary " + domain,
		}
		if p.Subject == "" {
			p.Subject = domain
		}
		look.Problems = append(look.Problems, p)
	}
}

// reportsOf is the period whose reports are compared with the one before.
const reportsOf = 30 * 24 * time.Hour

// printable escapes what does not belong in a line: it came from outside.
func printable(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) }

func (l *looker) currentRun() *sendercheck.Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); l.run == nil || now.Sub(l.begun) > runFor || now.Before(l.begun) {
		l.run, l.begun = l.checker.NewRun(), now
	}
	return l.run
}

// want is what is to be seen of a domain; nil where nothing is, or need not be any more
// (RFC 8461 §8.3).
func (l *looker) want(domain string) *sendercheck.Want {
	e, published := l.ledger.Lookup(domain)
	at, withdrawn := e.WithdrawnAt()
	if !published || withdrawn && !l.now().Before(at) {
		return nil
	}
	w := &sendercheck.Want{Body: e.Body, ID: e.ID, Target: l.settings.DNS.Target}
	if len(w.Target) == 0 {
		w.Target = targets(l.settings.Certificates.Preflight)
	}
	if d := l.domain(domain); d != nil {
		w.RUA = d.TLSRPT
	}
	return w
}

// all lists the domains that are served, with what is at stake.
func (l *looker) all() []review.Domain {
	entries := l.ledger.All()
	list := make([]review.Domain, 0, len(entries))
	for _, e := range entries {
		risk := review.Testing
		switch e.Mode {
		case mtasts.ModeEnforce:
			risk = review.Enforcing
		case mtasts.ModeNone:
			risk = review.Quiet
		}
		list = append(list, review.Domain{Name: e.Domain, Risk: risk})
	}
	return list
}

// lookOf puts what the checker found in the words of the review.
func lookOf(r *sendercheck.Report, at time.Time) review.Look {
	look := review.Look{At: at}
	unknown := map[string]bool{}
	for _, f := range r.Findings {
		switch f.Severity {
		case sendercheck.Unknown:
			unknown[family(f.Code)] = true
		case sendercheck.Error, sendercheck.Warning:
			look.Problems = append(look.Problems, review.Problem{
				Code: f.Code, Subject: f.Subject, Severity: review.Severity(f.Severity), Owner: ownerOf(f.Code),
				Text: f.Text, Evidence: f.Evidence, Fix: f.Fix, Rule: f.Rule,
			})
		}
	}
	for _, rule := range sendercheck.Rules() {
		if unknown[family(rule.Code)] {
			look.Unseen = append(look.Unseen, rule.Code)
		}
	}
	look.Known = !unknown["record"] || !unknown["policy"] || !unknown["mx"]
	look.TLSRPTUnseen = unknown["tlsrpt"]
	look.TLSRPT = !look.TLSRPTUnseen && len(r.TLSRPT.RUA) > 0 && !slices.ContainsFunc(look.Problems, func(p review.Problem) bool {
		return family(p.Code) == "tlsrpt" && p.Severity == review.Error
	})
	if !slices.ContainsFunc(r.Findings, func(f sendercheck.Finding) bool { return f.Code == sendercheck.MXUnknown }) {
		look.MX = []string{}
		for _, h := range r.MX.Hosts {
			look.MX = append(look.MX, h.Name)
		}
		slices.Sort(look.MX)
	}
	return look
}

// family is the part of a look that a code is of: record, policy, mx, dane, tlsrpt.
func family(code string) string {
	first, _, _ := strings.Cut(code, "-")
	return first
}

// ownerOf says who can mend what a code tells of.
func ownerOf(code string) review.Owner {
	switch {
	case code == sendercheck.MXNotInPolicy || code == sendercheck.MXPatternUnused:
		return review.PolicyOwner
	case strings.HasPrefix(code, "policy-host-"):
		return review.DNSOwner
	case family(code) == "policy":
		return review.PolicyOwner
	case family(code) == "mx" || family(code) == "dane":
		return review.MXOwner
	}
	return review.DNSOwner
}

// codes are all that a look may find.
func codes() (all []string) {
	for _, rule := range sendercheck.Rules() {
		all = append(all, rule.Code)
	}
	for _, code := range reports.AnomalyCodes() {
		all = append(all, codeReports+string(code))
	}
	return append(all, codeCAA, codeOwners)
}

// reviewing looks at domains again and again, and tells people what it finds.
type reviewing struct {
	scheduler *review.Scheduler // nil: nobody looks
	looks     *review.Store
	alerting  *alerting
	log       *slog.Logger
	broken    error // why nobody looks, where somebody should
}

func newReviewing(s config.Settings, a *archive, p *publisher, t *alerting, now func() time.Time) *reviewing {
	r := &reviewing{log: p.log, alerting: t}
	if !s.Review.On || a == nil {
		return r
	}
	r.looks = a.looks
	l, err := newLooker(s, t.domain, p.ledger, now)
	if err == nil {
		l.reports = a.reports
		r.scheduler, err = newScheduler(s.Review, l, a.looks, r.changed, p.log, now)
	}
	if r.broken = err; err != nil {
		p.log.Error("domains are not looked at again until this is mended and the server started anew", "err", err)
	}
	return r
}

func (r *reviewing) run(ctx context.Context) {
	if r.scheduler == nil {
		return
	}
	if err := r.scheduler.Run(ctx); err != nil {
		r.log.Error("domains are not looked at any more", "err", err)
	}
}

// changed is told what looks changed.
func (r *reviewing) changed(all []review.Changes) {
	for _, c := range all {
		for _, f := range c.Confirmed {
			r.log.Warn("a finding", "domain", f.Domain, "code", f.Code, "subject", f.Subject, "severity", string(f.Severity))
		}
	}
	r.alerting.found(all)
	r.alerting.moved(all)
}

// expect has a domain be looked at soon: senders see something else of it from now on.
func (r *reviewing) expect(domain string) {
	if r.scheduler != nil {
		r.scheduler.Expect(domain)
	}
}

// again looks at once at what is open, or could not be seen: somebody says that it is mended.
func (r *reviewing) again(ctx context.Context) {
	if r.scheduler == nil {
		return
	}
	list, err := r.looks.Open(ctx, review.Filter{Limit: againAtMost})
	unseen, err2 := r.looks.Unseen(ctx, againAtMost)
	if err := errors.Join(err, err2); err != nil {
		r.log.Warn("it cannot be seen which domains to look at again", "err", err)
	}
	for _, d := range unseen {
		r.scheduler.Touch(d)
	}
	for _, f := range list {
		r.scheduler.Touch(f.Domain)
	}
	r.scheduler.Wake()
}

func (r *reviewing) amiss() []string {
	switch {
	case r.broken != nil:
		return []string{"domains are not looked at: " + r.broken.Error()}
	case r.scheduler == nil:
		return nil
	}
	return r.scheduler.Trouble()
}

func (r *reviewing) collectors() []prometheus.Collector {
	if r.scheduler == nil {
		return nil
	}
	return []prometheus.Collector{r.scheduler}
}

// checkWithin is how often a domain is looked at, at least, whose next step waits for it.
const checkWithin = 20 * time.Hour

// newScheduler has domains looked at again and again.
func newScheduler(s config.Review, l *looker, store *review.Store, changed func([]review.Changes), log *slog.Logger, now func() time.Time) (*review.Scheduler, error) {
	pace := review.DefaultPace()
	// The rules want a look that is not older than a day (rollout.Gates.CheckAge), and the
	// schedule adds up to a fifth.
	pace.Testing, pace.TestingStable = checkWithin, checkWithin
	return review.New(review.Options{
		Pace: pace, Store: store, Look: l.look, Domains: l.all, Now: now, Log: log, Changed: changed, Codes: codes(), Parallel: s.Parallel, Rate: float64(s.Rate),
	})
}
