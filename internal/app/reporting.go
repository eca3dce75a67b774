package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"mtasts-server/config"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/mtasts"
	"mtasts-server/policyserve"
)

// reporting takes TLS reports and keeps them. Policies are served whether it works or not.
type reporting struct {
	settings config.Reports
	log      *slog.Logger
	post     *intake.Post  // nil: nothing is taken over HTTPS
	mail     *intake.Mail  // nil: nor by mail
	desk     *reports.Desk // nil: reports cannot be kept
	unusable error         // why
	noMail   error         // why mail is not taken that should be
}

// newReporting returns nil where no reports are received. Without an archive, for broken's
// reason, their senders are told to come again.
func newReporting(s config.Settings, a *archive, broken error, domains *known, log *slog.Logger, now func() time.Time) (*reporting, error) {
	if !s.Reports.Receives() {
		return nil, nil
	}
	r := &reporting{settings: s.Reports, log: log}
	if r.unusable = broken; a != nil {
		r.unusable = r.openDesk(s, a, domains, now)
	}
	if r.unusable != nil {
		log.Error("reports are not taken until this is mended and the server started anew; policies are served", "err", r.unusable)
	}
	if s.Reports.Host == "" {
		return r, nil
	}
	var err error
	r.post, err = intake.NewPost(intake.PostOptions{Deliver: r.deliver, Client: policyserve.Client, Log: log, Now: now})
	return r, err
}

func (r *reporting) openDesk(s config.Settings, a *archive, domains *known, now func() time.Time) error {
	spool, err := reports.OpenSpool(filepath.Join(reportsDir(s), "spool"), s.Reports.Spool, r.log)
	if err != nil {
		return err
	}
	r.desk, err = reports.NewDesk(reports.DeskOptions{Spool: spool, Store: a.reports, Now: now, Log: r.log, Label: domains.label})
	return err
}

// deliver keeps what came in.
func (r *reporting) deliver(ctx context.Context, a *reports.Arrival) error {
	if r.desk == nil {
		return r.unusable
	}
	return r.desk.Add(ctx, a)
}

// openMail prepares to take mail. certificate gives that of the report host.
func (r *reporting) openMail(s config.Settings, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), now func() time.Time) {
	if r == nil || len(r.settings.SMTP)+len(r.settings.LMTP) == 0 {
		return
	}
	if r.noMail = r.newMail(s, certificate, now); r.noMail != nil {
		r.log.Error("no reports are taken by mail until this is mended and the server started anew; policies are served", "err", r.noMail)
	}
}

func (r *reporting) newMail(s config.Settings, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), now func() time.Time) error {
	authenticator, err := newAuthenticator(s, now)
	if err != nil {
		return err
	}
	host := r.settings.Host
	o := intake.MailOptions{Hostname: host, Addresses: r.settings.Addresses, Authenticator: authenticator, Deliver: r.deliver, Log: r.log, Now: now}
	if host == "" { // behind a mail server: nobody else sees the name
		_, o.Hostname, _ = strings.Cut(r.settings.Addresses[0], "@")
	} else {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			named := *hello
			named.ServerName = host // many senders name nobody, or the MX host by another name
			return certificate(&named)
		}}
	}
	r.mail, err = intake.NewMail(o)
	return err
}

func newAuthenticator(s config.Settings, now func() time.Time) (*intake.Authenticator, error) {
	resolver := lookup.New(s.DNS.Resolvers, now)
	return intake.NewAuthenticator(intake.Options{Now: now, LookupTXT: func(ctx context.Context, name string) ([]string, error) {
		answer, err := resolver.Lookup(ctx, name, dns.TypeTXT)
		if err != nil {
			return nil, err
		}
		var texts []string
		for _, rr := range answer.Records {
			if txt, ok := rr.(*dns.TXT); ok {
				texts = append(texts, strings.Join(txt.Txt, ""))
			}
		}
		return texts, nil
	}})
}

// hosts are those that answer beside the policy hosts.
func (r *reporting) hosts() map[string]http.Handler {
	if r == nil || r.post == nil {
		return nil
	}
	return map[string]http.Handler{r.settings.Host: r.post}
}

// run takes and stores reports until ctx is done.
func (r *reporting) run(ctx context.Context) {
	var wait sync.WaitGroup
	if r.desk != nil {
		wait.Go(func() {
			if err := r.desk.Run(ctx); err != nil {
				r.log.Error("reports are no longer stored", "err", err)
			}
		})
	}
	if r.mail != nil {
		for _, addr := range r.settings.SMTP {
			wait.Go(func() { r.serveMail(ctx, "smtp", addr, r.mail.ServeSMTP) })
		}
		for _, addr := range r.settings.LMTP {
			wait.Go(func() { r.serveMail(ctx, "lmtp", addr, r.mail.ServeLMTP) })
		}
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor/2)
		defer cancel()
		if err := r.mail.Shutdown(stop); err != nil {
			r.log.Warn("some mails were cut off; they come again", "err", err)
		}
	}
	wait.Wait()
}

func (r *reporting) serveMail(ctx context.Context, what, addr string, serve func(net.Listener) error) {
	keepServing(ctx, func() error {
		l, err := listenMail(ctx, addr)
		if err != nil {
			return err
		}
		r.log.Info("taking reports by mail", "by", what, "address", l.Addr().String())
		return serve(l)
	}, func(err error) {
		r.log.Error("no reports are taken by mail at an address; policies are served", "by", what, "address", addr, "err", err)
	})
}

// listenMail listens on an address, or on a socket that a mail server on this machine
// delivers to.
func listenMail(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	if !strings.HasPrefix(addr, "/") {
		return lc.Listen(ctx, "tcp", addr)
	}
	if c, err := net.DialTimeout("unix", addr, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen unix %s: another server does", addr)
	}
	if fi, err := os.Lstat(addr); err == nil && fi.Mode()&os.ModeSocket != 0 {
		os.Remove(addr) // nobody answers on it: it was left by a crash
	}
	l, err := lc.Listen(ctx, "unix", addr)
	if err != nil {
		return nil, err
	}
	// Who may deliver is said by the directory that it is in.
	return l, os.Chmod(addr, 0o666)
}

// amiss says what is not as it should be.
func (r *reporting) amiss() []string {
	switch {
	case r == nil:
		return nil
	case r.desk == nil:
		return []string{"reports are not taken: " + r.unusable.Error()}
	case r.noMail != nil:
		return append(r.desk.Trouble(), "reports are not taken by mail: "+r.noMail.Error())
	}
	return r.desk.Trouble()
}

func (r *reporting) collectors() []prometheus.Collector {
	if r == nil {
		return nil
	}
	var cs []prometheus.Collector
	if r.desk != nil {
		cs = append(cs, r.desk)
	}
	if r.post != nil {
		cs = append(cs, r.post)
	}
	if r.mail != nil {
		cs = append(cs, r.mail)
	}
	return cs
}

// mostLabels is up to how many domains metrics tell them apart: each is some time series.
const mostLabels = 1000

// known are the domains that reports are kept of: those that a policy is served for.
type known struct {
	table func() *policyserve.Table
	waits func(domain string) bool // for DNS, before it is served; senders hold its policy all the same

	mu      sync.Mutex
	indexed *policyserve.Table // of which tokens is
	tokens  map[string]string
}

func (k *known) has(domain string) bool {
	_, ok := k.table().Lookup(mtasts.PolicyHost(domain))
	return ok || k.waits(domain)
}

// byToken returns the domain that a token stands for, "" for none. Few reports need it, so
// it is not kept up to date before one does.
func (k *known) byToken(token string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if table := k.table(); table != k.indexed {
		k.tokens, k.indexed = tokensOf(policyDomains(table.Hosts())), table
	}
	return k.tokens[token]
}

func (k *known) label(domain string) string {
	if k.table().Len() > mostLabels {
		return "all"
	}
	return domain
}
