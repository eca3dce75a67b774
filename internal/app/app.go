package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
	"mtasts-server/policyserve"
)

const (
	// pollEvery finds changes on file systems that tell of none.
	pollEvery = 10 * time.Second

	// drainFor is how long a stop waits for requests under way; a fetch takes
	// milliseconds, and container runtimes kill after ten seconds.
	drainFor = 8 * time.Second
)

// Options are what a server is started with.
type Options struct {
	ConfigFile string    // the main file
	Version    string    // which build this is, for the metrics
	Stdout     io.Writer // takes what to try next, for who runs the examples
	Stderr     io.Writer // takes the log

	Now func() time.Time // tells the time; nil is time.Now
}

// App is the running server: the rooms, and what ties them together.
type App struct {
	settings  config.Settings
	log       *slog.Logger
	publisher *publisher
	server    *policyserve.Server
	certs     *certs.Manager
	watcher   *config.Watcher
	announcer *announcer // nil: nothing is published in DNS
	archive   *archive   // nil: no evidence is kept
	reporting *reporting // nil: no reports are received
	reviewing *reviewing
	alerting  *alerting
	steward   *steward
	admin     *admin
	stdout    io.Writer

	reading, certFiles, watching *errand
}

// New builds the rooms. It opens no listener and publishes nothing yet. A main file
// with errors, where no good one is remembered, gives a *ConfigError.
func New(o Options) (*App, error) {
	_, loader, err := loadConfig(o.ConfigFile)
	if err != nil {
		return nil, err
	}
	s, _ := loader.Settings()
	if o.Now == nil {
		o.Now = time.Now
	}
	level := new(slog.LevelVar)
	a := &App{settings: s, stdout: o.Stdout, log: newLogger(o.Stderr, s.Log, level)}
	co, err := certsOptions(s)
	if err != nil {
		a.log.Error("stored certificates are served, and no new ones can be had until this is mended and the server started anew", "err", err)
	}
	if err := os.MkdirAll(s.State, 0o750); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	co.Log, co.Now = a.log, o.Now
	if a.certs, err = certs.New(co); err != nil {
		return nil, err
	}
	domains := &known{
		table: func() *policyserve.Table { return a.server.Table() },
		waits: func(domain string) bool { return a.publisher.stager.waits(domain) },
	}
	var broken error
	if wantsArchive(s) {
		if a.archive, broken = openArchive(s, domains.has, domains.byToken, a.log, o.Now); broken != nil {
			a.log.Error("no evidence is kept until this is mended and the server started anew; policies are served", "err", broken)
		}
	}
	if a.reporting, err = newReporting(s, a.archive, broken, domains, a.log, o.Now); err != nil {
		return nil, err
	}
	if a.server, err = policyserve.New(serveOptions(s, a.certs, a.reporting.hosts(), a.log)); err != nil {
		return nil, err
	}
	a.reporting.openMail(s, a.certs.GetCertificate, o.Now)
	book, err := ledger.Open(ledgerDir(s))
	partial := err != nil || len(book.Damage()) > 0
	if err != nil {
		a.log.Error("what was published before cannot be read; what is configured is served", "err", err)
	}
	if a.announcer, err = newAnnouncer(s, book, a.log, o.Now); err != nil {
		a.log.Error("nothing is published in DNS until this is mended and the server started anew", "err", err)
	} else if a.announcer != nil && a.announcer.unusable != nil {
		a.log.Error("nothing new is announced in DNS until this is mended and the server started anew", "err", a.announcer.unusable)
	}
	a.publisher = &publisher{
		announcer: a.announcer,
		copying:   errand{name: "keeping a copy of the main file"},
		further:   slices.Collect(maps.Keys(a.reporting.hosts())),
		stager:    newStager(s.Rollout.Guard, book.Len() == 0 || partial, doubtful(book, partial), o.Now),
		loader:    loader, ledger: book, server: a.server, certs: a.certs, log: a.log, level: level, now: o.Now,
	}
	a.alerting = newAlerting(s, a.archive, a.publisher, (&register{snapshot: a.publisher.shown.Load}).find, o.Now)
	a.steward = newSteward(s, a.archive, a.publisher, a.alerting, o.Now)
	a.reviewing = newReviewing(s, a.archive, a.publisher, a.alerting, o.Now)
	a.publisher.told = a.reviewing.expect
	if a.announcer != nil {
		a.announcer.told, a.announcer.waits = a.reviewing.expect, a.publisher.stager.waits
		if x := a.announcer.files; x != nil {
			p := a.publisher // which says so once it has looked
			x.waits = func(domain string) bool { return p.shown.Load() == nil || p.stager.waits(domain) }
			x.waiting = func() bool { return p.shown.Load() == nil || p.stager.waiting() > 0 }
		}
	}
	a.watcher = config.NewWatcher(pollEvery, a.log)
	a.reading = &errand{name: "reading the configuration, or the ledger"}
	a.certFiles = &errand{name: "reading the certificate files"}
	a.watching = &errand{name: "watching directories for changes"}
	a.admin = &admin{
		publisher: a.publisher, certs: a.certs, server: a.server, announcer: a.announcer, reporting: a.reporting, reviewing: a.reviewing, alerting: a.alerting, steward: a.steward, version: o.Version,
		errands: []*errand{a.reading, a.certFiles, a.watching, &a.publisher.copying},
	}
	if a.announcer != nil && a.announcer.files != nil {
		a.admin.errands = append(a.admin.errands, &a.announcer.files.writing)
	}
	return a, nil
}

// Run serves until ctx is done, and looks for changes at each signal of hup.
func (a *App) Run(ctx context.Context, hup <-chan os.Signal) error {
	// Before anything is published: who cannot listen, as beside a server that does,
	// must not write to the ledger.
	ls, err := listen(a.settings.Listen)
	if err != nil {
		return err
	}
	if a.announcer != nil {
		a.announcer.begin()
	}
	a.publisher.look()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var servers, background sync.WaitGroup
	start := func(listeners []net.Listener, serve func(net.Listener) error) {
		for _, l := range listeners {
			servers.Go(func() {
				if err := serve(l); err != nil {
					cancel(fmt.Errorf("listening on %s: %w", l.Addr(), err))
				}
			})
		}
	}
	adminServer := newAdminServer(a.admin, a.log, a.server)
	start(ls.https, a.server.ServeTLS)
	start(ls.plain, a.server.ServePlain)
	start(ls.http, func(l net.Listener) error { return a.server.ServeRedirect(l, a.certs.HTTPHandler) })
	start(ls.admin, func(l net.Listener) error {
		if err := adminServer.Serve(&roomy{Listener: l, makeRoom: a.server.MakeRoom}); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	background.Go(func() {
		if err := a.certs.Run(ctx); err != nil {
			a.log.Error("certificates are no longer renewed; restart the server", "err", err)
		}
	})
	background.Go(func() { a.watch(ctx, hup) })
	if a.announcer != nil {
		background.Go(func() { a.announcer.run(ctx) })
		background.Go(func() { a.announcer.serveZone(ctx) })
	}
	if a.reporting != nil {
		background.Go(func() { a.reporting.run(ctx) })
	}
	background.Go(func() { a.reviewing.run(ctx) })
	background.Go(func() { a.alerting.run(ctx) })
	background.Go(func() { a.steward.run(ctx) })
	a.admin.serving.Store(true)
	a.log.Info("serving", "https", addresses(ls.https), "http", addresses(ls.http), "plain", addresses(ls.plain), "admin", addresses(ls.admin), "watching", a.watcher.String())
	a.notify(systemd.SdNotifyReady)
	background.Go(func() { a.hint(ctx, ls) })
	background.Go(func() { a.tidy(ctx) })

	<-ctx.Done()
	a.notify(systemd.SdNotifyStopping)
	a.admin.serving.Store(false)
	a.log.Info("stopping", "reason", context.Cause(ctx))
	drain, stop := context.WithTimeout(context.Background(), drainFor)
	defer stop()
	err = errors.Join(a.server.Shutdown(drain), adminServer.Shutdown(drain))
	if err != nil {
		a.log.Warn("some requests were cut off", "err", err)
	}
	servers.Wait()
	if !endsBefore(drain, &background) {
		a.log.Warn("storage does not answer: what waits for it is left behind")
	} else {
		a.archive.close()
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	a.log.Info("stopped")
	return nil
}

// endsBefore waits until work has ended, or ctx is done.
func endsBefore(ctx context.Context, work *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() { work.Wait(); close(ended) }()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch looks for changes when the file system or hup says so, and now and then.
func (a *App) watch(ctx context.Context, hup <-chan os.Signal) {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				a.notify(systemd.SdNotifyReloading + "\n" + monotonic())
				a.look()
				a.certFiles.do(a.certs.Reload) // who asks wants it done
				a.reviewing.again(ctx)
				a.steward.again()
				a.notify(systemd.SdNotifyReady)
			}
		}
	})
	a.watching.do(a.rewatch)
	tuneMemory()
	a.watcher.Run(ctx, a.look)
}

func (a *App) look() {
	a.reading.do(func() {
		a.publisher.look()
		if wait, yes := a.publisher.unsettled(); yes {
			a.watcher.Soon(wait)
		}
	})
	a.certFiles.beginSparingly(a.certs.Reload) // of 100,000 it takes a second, and policies do not wait for it
	a.watching.do(a.rewatch)
}

// tidy gives memory back to the system once all that is stored has been read, or after a
// minute: loading leaves as much behind as it makes.
func (a *App) tidy(ctx context.Context) {
	for range 60 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		if a.certs.Summary().Pending == 0 {
			break
		}
	}
	debug.FreeOSMemory()
}

func (a *App) rewatch() {
	dirs, files := a.publisher.watchPaths()
	a.watcher.Watch(append(dirs, a.certs.WatchDirs()...), files)
}

// notify tells systemd, if it started us, how we are.
func (a *App) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		a.log.Warn("telling systemd failed", "err", err)
	}
}

// hint prints what to try next, as soon as it works.
func (a *App) hint(ctx context.Context, ls *listeners) {
	root := a.certs.LocalRoot()
	hosts := a.server.Table().Hosts()
	if root == "" || len(hosts) == 0 || len(ls.https) == 0 {
		return
	}
	host := hosts[0]
	for !a.hasCertificate(host) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	fmt.Fprintf(a.stdout, `
%s served with certificates of a local CA, which nobody trusts but you. Try:

    curl --cacert %s --connect-to ::%s https://%s%s

Edit a policy file and fetch again: the edit is live within a second.

`, count(len(hosts), "policy host"), shellWord(relative(root)), local(ls.https[0]), host, mtasts.WellKnownPath)
}

func (a *App) hasCertificate(host string) bool {
	return slices.ContainsFunc(a.certs.Status(), func(s certs.HostStatus) bool { return s.Host == host && s.State == certs.StateOK })
}

// local is an address at which a listener can be reached from this machine.
func local(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// relative makes a path short if it lies below the working directory.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}

func shellWord(s string) string {
	if strings.ContainsAny(s, " '\"$\\`") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

func addresses(ls []net.Listener) []string {
	var addrs []string
	for _, l := range ls {
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func (p *publisher) unsettled() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loader.Unsettled()
}

// watchPaths are the paths that tell of a change: of the files, and of the ledger,
// which the verb forget writes to.
func (p *publisher) watchPaths() (dirs, files []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.snap != nil {
		dirs, files = p.snap.WatchPaths()
	}
	return append(dirs, p.ledger.Dir()), files
}
