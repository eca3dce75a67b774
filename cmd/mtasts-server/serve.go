package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

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

const serveLong = `serve publishes the policies of all configured domains at
https://mta-sts.<domain>/.well-known/mta-sts.txt and obtains and renews the
certificate of each host.

It watches the main file and the policy files and takes in edits within a second;
SIGHUP makes it look at once. What is not valid is refused: the domain keeps the
policy that it had, across restarts too. A domain whose file vanishes is served on
until it was withdrawn with mode = "none" or forgotten with the verb forget.

SIGTERM and SIGINT finish the requests under way and exit with 0.

Listeners, certificates, limits and the state directory are read at the start only;
policies, defaults, profiles and the log level at every reload.`

func newServe() *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "Serve the policies, with their certificates",
		Long:    serveLong,
		Example: "  mtasts-server serve --config examples/mtasts-server.toml",
		Args:    exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := configFile(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// Unheeded it would end the program, so it is taken from the start on.
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			d, err := newDaemon(file, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return d.run(ctx, hup)
		},
	}
}

// daemon is the running server: the rooms, and what ties them together.
type daemon struct {
	settings  config.Settings
	log       *slog.Logger
	publisher *publisher
	server    *policyserve.Server
	certs     *certs.Manager
	watcher   *config.Watcher
	admin     *admin
	stdout    io.Writer
}

// newDaemon builds the rooms. It opens no listener and publishes nothing yet.
func newDaemon(file string, stdout, stderr io.Writer) (*daemon, error) {
	_, loader, err := loadConfig(stderr, file)
	if err != nil {
		return nil, err
	}
	s, _ := loader.Settings()
	level := new(slog.LevelVar)
	d := &daemon{settings: s, stdout: stdout, log: newLogger(stderr, s.Log, level)}
	co, err := certsOptions(s)
	if err != nil {
		d.log.Error("stored certificates are served, and no new ones can be had until this is mended and the server started anew", "err", err)
	}
	if err := os.MkdirAll(s.State, 0o750); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	co.Log = d.log
	if d.certs, err = certs.New(co); err != nil {
		return nil, err
	}
	if d.server, err = policyserve.New(serveOptions(s, d.certs, d.log)); err != nil {
		return nil, err
	}
	book, err := ledger.Open(ledgerDir(s))
	if err != nil {
		d.log.Error("what was published before cannot be read; what is configured is served", "err", err)
	}
	d.publisher = &publisher{
		loader: loader, ledger: book, server: d.server, certs: d.certs, log: d.log, level: level, now: time.Now,
	}
	d.watcher = config.NewWatcher(pollEvery, d.log)
	d.admin = &admin{publisher: d.publisher, certs: d.certs}
	return d, nil
}

// run serves until ctx is done, and looks for changes at each signal of hup.
func (d *daemon) run(ctx context.Context, hup <-chan os.Signal) error {
	// Before anything is published: who cannot listen, as beside a server that does,
	// must not write to the ledger.
	ls, err := listen(d.settings.Listen)
	if err != nil {
		return err
	}
	d.publisher.look()
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
	adminServer := newAdminServer(d.admin, d.log, d.server)
	start(ls.https, d.server.ServeTLS)
	start(ls.plain, d.server.ServePlain)
	start(ls.http, func(l net.Listener) error { return d.server.ServeRedirect(l, d.certs.HTTPHandler) })
	start(ls.admin, func(l net.Listener) error {
		if err := adminServer.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	background.Go(func() {
		if err := d.certs.Run(ctx); err != nil {
			d.log.Error("certificates are no longer renewed; restart the server", "err", err)
		}
	})
	background.Go(func() { d.watch(ctx, hup) })
	d.admin.serving.Store(true)
	d.log.Info("serving", "https", addresses(ls.https), "http", addresses(ls.http), "plain", addresses(ls.plain), "admin", addresses(ls.admin), "watching", d.watcher.String())
	d.notify(systemd.SdNotifyReady)
	background.Go(func() { d.hint(ctx, ls) })

	<-ctx.Done()
	d.notify(systemd.SdNotifyStopping)
	d.admin.serving.Store(false)
	d.log.Info("stopping", "reason", context.Cause(ctx))
	drain, stop := context.WithTimeout(context.Background(), drainFor)
	defer stop()
	err = errors.Join(d.server.Shutdown(drain), adminServer.Shutdown(drain))
	if err != nil {
		d.log.Warn("some requests were cut off", "err", err)
	}
	servers.Wait()
	background.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	d.log.Info("stopped")
	return nil
}

// watch looks for changes when the file system or hup says so, and now and then.
func (d *daemon) watch(ctx context.Context, hup <-chan os.Signal) {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				d.notify(systemd.SdNotifyReloading + "\n" + monotonic())
				d.look()
				d.notify(systemd.SdNotifyReady)
			}
		}
	})
	d.rewatch()
	debug.FreeOSMemory() // loading left as much behind as it made
	tuneMemory()
	d.watcher.Run(ctx, d.look)
}

func (d *daemon) look() {
	d.publisher.look()
	d.certs.Reload()
	if wait, yes := d.publisher.unsettled(); yes {
		d.watcher.Soon(wait)
	}
	d.rewatch()
	tuneMemory()
}

func (d *daemon) rewatch() {
	dirs, files := d.publisher.watchPaths()
	d.watcher.Watch(append(dirs, d.certs.WatchDirs()...), files)
}

// notify tells systemd, if it started us, how we are.
func (d *daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("telling systemd failed", "err", err)
	}
}

// hint prints what to try next, as soon as it works.
func (d *daemon) hint(ctx context.Context, ls *listeners) {
	root := d.certs.LocalRoot()
	hosts := d.server.Table().Hosts()
	if root == "" || len(hosts) == 0 || len(ls.https) == 0 {
		return
	}
	host := hosts[0]
	for !d.hasCertificate(host) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	fmt.Fprintf(d.stdout, `
%s served with certificates of a local CA, which nobody trusts but you. Try:

    curl --cacert %s --connect-to ::%s https://%s%s

Edit a policy file and fetch again: the edit is live within a second.

`, count(len(hosts), "policy host"), shellWord(relative(root)), local(ls.https[0]), host, mtasts.WellKnownPath)
}

func (d *daemon) hasCertificate(host string) bool {
	return slices.ContainsFunc(d.certs.Status(), func(s certs.HostStatus) bool { return s.Host == host && s.State == certs.StateOK })
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
