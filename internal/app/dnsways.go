package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/ledger"
	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
)

// newAnnouncer returns what publishes in DNS as the settings say; nil where nothing is to be
// published. What cannot be made of the settings is an error: then nothing is published, and
// policies are served all the same.
func newAnnouncer(s config.Settings, book *ledger.Ledger, log *slog.Logger, now func() time.Time) (*announcer, error) {
	d := s.DNS
	if !d.Publishes() {
		return nil, nil
	}
	a := &announcer{
		settings: d, ledger: book, log: log, now: now,
		tasks: map[string]*announcement{}, wake: make(chan struct{}, 1),
	}
	checker, err := sendercheck.New(sendercheck.Options{
		Resolver: lookup.New(d.Resolvers, now), AllowPrivate: d.Private, HTTPTimeout: seeLimit, Now: now,
	})
	if err != nil {
		return nil, err
	}
	a.see = func(ctx context.Context, domain string, body []byte) error {
		return checker.Fetch(ctx, domain).Same(body)
	}
	// First what is ours alone: it must not go with what cannot be made of the rest.
	if d.Zone != nil {
		if a.zone, err = newZone(d, log, now); err != nil {
			a.unusable = fmt.Errorf("dns.zone: %w", err)
			a.zone = nil
		}
	}
	if d.Export != nil {
		a.files = newExporter(d, log)
	}
	a.ways, err = newWays(d, log)
	a.unusable = errors.Join(a.unusable, err)
	return a, nil
}

// newWays are those to change zones of others.
func newWays(d config.DNS, log *slog.Logger) (ways []way, err error) {
	if d.Update != nil {
		u, err := newUpdateWay(d, log)
		if err != nil {
			return nil, fmt.Errorf("dns.update: %w", err)
		}
		ways = append(ways, u)
	}
	if d.Hook != nil {
		h, err := newHookWay(d)
		if err != nil {
			return nil, fmt.Errorf("dns.hook: %w", err)
		}
		ways = append(ways, h)
	}
	return ways, nil
}

// updateWay publishes by dynamic update.
type updateWay struct {
	updater *dnsrecords.Updater
	zones   []string
}

func newUpdateWay(d config.DNS, log *slog.Logger) (*updateWay, error) {
	o := dnsrecords.UpdaterOptions{Server: d.Update.Server, TTL: d.TTL, Target: d.Target, Adopt: d.Adopt, DryRun: d.DryRun, Log: log}
	if k := d.Update.Key; k != nil {
		secret, err := secretOf(k.Secret, k.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		o.TSIG = &dnsrecords.TSIG{Name: k.Name, Algorithm: k.Algorithm, Secret: secret}
	}
	u, err := dnsrecords.NewUpdater(o)
	return &updateWay{updater: u, zones: d.Update.Zones}, err
}

func (w *updateWay) name() string { return "update" }

// covers reports whether domain is in one of the zones that are updated.
func (w *updateWay) covers(domain string) bool {
	return len(w.zones) == 0 || slices.ContainsFunc(w.zones, func(zone string) bool {
		return domain == zone || strings.HasSuffix(domain, "."+zone)
	})
}

func (w *updateWay) apply(ctx context.Context, want, before dnsrecords.Set) error {
	outcome, err := w.updater.Apply(ctx, want, before)
	return foreign(outcome, err)
}

func (w *updateWay) withdraw(ctx context.Context, before dnsrecords.Set) error {
	if !w.covers(before.Domain) {
		return nil
	}
	_, err := w.updater.Withdraw(ctx, before)
	return err
}

func (w *updateWay) leave(ctx context.Context, domain string) error {
	if !w.covers(domain) {
		return nil
	}
	_, err := w.updater.Leave(ctx, domain)
	return err
}

// foreign makes an error of records that stand in the way.
func foreign(o dnsrecords.Outcome, err error) error {
	if err != nil || len(o.Foreign) == 0 {
		return err
	}
	return foreignError{fmt.Errorf("somebody else's record is there, and is left as it is: %s; delete it, or set dns.adopt = true", strings.Join(o.Foreign, ", "))}
}

// hookWay publishes by somebody's program or web hook.
type hookWay struct {
	hook     *dnsrecords.Hook
	settings config.DNS
}

func newHookWay(d config.DNS) (*hookWay, error) {
	secret, err := secretOf(d.Hook.Secret, d.Hook.SecretFile)
	if err != nil {
		return nil, err
	}
	h, err := dnsrecords.NewHook(dnsrecords.HookOptions{Command: d.Hook.Command, URL: d.Hook.URL, Secret: secret, Timeout: d.Hook.Timeout})
	return &hookWay{hook: h, settings: d}, err
}

func (w *hookWay) name() string { return "hook" }

func (w *hookWay) covers(string) bool { return true }

// apply has each record set that differs from before. The policy host's record is set when
// the domain is new.
func (w *hookWay) apply(ctx context.Context, want, before dnsrecords.Set) error {
	isNew := before.ID == "" && len(before.RUA) == 0
	for _, c := range dnsrecords.Changes(want, before, isNew, w.settings.Target, w.settings.TTL) {
		if w.settings.DryRun {
			continue
		}
		if err := w.hook.Do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (w *hookWay) withdraw(ctx context.Context, before dnsrecords.Set) error {
	return w.apply(ctx, dnsrecords.Set{Domain: before.Domain}, before)
}

func (w *hookWay) leave(ctx context.Context, domain string) error {
	var errs []error
	for _, c := range dnsrecords.Leaving(domain, w.settings.Target, w.settings.TTL) {
		if !w.settings.DryRun {
			errs = append(errs, w.hook.Do(ctx, c))
		}
	}
	return errors.Join(errs...)
}

func newZone(d config.DNS, log *slog.Logger, now func() time.Time) (*dnsrecords.Zone, error) {
	o := dnsrecords.ZoneOptions{
		Name: d.Zone.Name, NameServers: d.Zone.NameServers, Hostmaster: d.Zone.Hostmaster, TTL: d.TTL, Log: log, Now: now,
	}
	o.Addresses, o.Host = splitTarget(d.Target)
	return dnsrecords.NewZone(o)
}
