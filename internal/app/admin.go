package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/mtasts"
	"mtasts-server/policyserve"
)

// admin answers on the admin listener: health, metrics and profiles, nothing that
// changes anything.
type admin struct {
	publisher *publisher
	certs     *certs.Manager
	server    *policyserve.Server
	announcer *announcer // nil: nothing is published in DNS
	reporting *reporting // nil: no reports are received
	reviewing *reviewing
	alerting  *alerting
	steward   *steward
	errands   []*errand
	version   string
	serving   atomic.Bool // the listeners are open and not being closed
}

func newAdminServer(a *admin, log *slog.Logger, cs ...prometheus.Collector) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(cs...)
	registry.MustRegister(a.publisher, a.certs, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(a.version))
	registry.MustRegister(a.reporting.collectors()...)
	registry.MustRegister(a.reviewing.collectors()...)
	registry.MustRegister(a.alerting.collectors()...)
	registry.MustRegister(a.steward)
	if a.announcer != nil {
		registry.MustRegister(a.announcer)
		if a.announcer.zone != nil {
			registry.MustRegister(a.announcer.zone)
		}
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtasts_storage_answers", Help: "Whether storage answers; 0 while reading or writing has hung for seconds.",
	}, func() float64 { return truth(len(a.stuck()) == 0) }))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mtasts_clock_plausible", Help: "Whether certificates and ledger agree with the clock; 0 where it looks wrong.",
	}, func() float64 { return truth(a.wrongClock(a.certs.Summary()) == "") }))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.livez)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /certs", a.certsPage)
	mux.HandleFunc("GET /dns", a.dnsPage)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	// What a profile is made of: `go tool pprof http://127.0.0.1:8461/debug/pprof/profile`.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second, // it listens on loopback: enough for a busy machine
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mtasts_build_info", Help: "Always 1; the label tells which build runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	g.Set(1)
	return g
}

// livez says that the process answers. It fails for nothing: a restart would mend
// nothing that is not told by readyz.
func (a *admin) livez(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") }

// readyz says whether policies are served, and below that what is amiss. What is
// amiss does not make it unready: taking a server that serves good policies out of
// a load balancer helps nobody.
func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	status := http.StatusOK
	if a.serving.Load() {
		b.WriteString("ready\n")
	} else {
		status = http.StatusServiceUnavailable
		b.WriteString("not ready: the listeners are not open\n")
	}
	s := a.certs.Summary()
	for _, line := range a.amiss(s) {
		b.WriteString("amiss: " + strings.ReplaceAll(line, "\n", "; ") + "\n")
	}
	fmt.Fprintf(&b, "certificates: %d of %d hosts have one, %d pending, %d failing\n", s.Ready, s.Hosts, s.Pending, s.Failing)
	if s.Waiting > 0 && !s.ETA.IsZero() {
		fmt.Fprintf(&b, "certificates: %s waiting; by what the CA grants, the last begins about %s\n", count(s.Waiting, "order"), s.ETA.UTC().Format("2006-01-02 15:04 MST"))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String())) // the client went away: nothing to do
}

// amiss says what is not as it should be, in one line each. It waits for nothing that
// storage may hold up.
func (a *admin) amiss(s certs.Summary) []string {
	lines := slices.Concat(a.publisher.report().amiss, a.stuck(), a.certs.Trouble(), a.server.Trouble())
	lines = append(lines, a.announcer.amiss()...)
	lines = append(lines, a.reporting.amiss()...)
	lines = append(lines, a.reviewing.amiss()...)
	lines = append(lines, a.alerting.amiss()...)
	lines = append(lines, a.steward.amiss()...)
	if why := a.wrongClock(s); why != "" {
		lines = append(lines, fmt.Sprintf("the clock looks wrong, it says %s: %s", a.publisher.now().UTC().Format(time.RFC3339), why))
	}
	return lines
}

// stuck tells of the errands that do not end.
func (a *admin) stuck() []string {
	var lines []string
	for _, e := range a.errands {
		if line := e.stuck(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// clocksDiffer is by how much those of two machines may.
const clocksDiffer = time.Hour

// wrongClock says why the clock seems to be wrong, "" where it does not. The ledger
// counts where no certificate speaks for the clock: its newest entry may come from a
// time when the clock was wrong.
func (a *admin) wrongClock(s certs.Summary) string {
	if why := s.WrongClock(); why != "" || s.Ready > 0 {
		return why
	}
	if newest := a.publisher.ledger.Newest(); newest.After(a.publisher.now().Add(clocksDiffer)) {
		return "the newest entry of the ledger is of " + newest.UTC().Format(time.RFC3339)
	}
	return ""
}

// report is what the publisher tells of itself. It is never changed.
type report struct {
	amiss    []string
	current  int
	kept     map[reason]int
	problems int
	writable bool
	reloads  reloads
}

// report returns the outcome of the last look that has ended.
func (p *publisher) report() *report {
	if r := p.said.Load(); r != nil {
		return r
	}
	return &report{amiss: []string{"the configuration is not loaded yet"}, writable: true}
}

// tell makes the report of this look.
func (p *publisher) tell() {
	if p.snap == nil {
		return
	}
	r := &report{
		current: len(p.plan.ids) - len(p.plan.kept), kept: map[reason]int{},
		problems: countErrors(p.snap.Problems), writable: p.trouble == nil, reloads: p.reloads,
	}
	for _, k := range p.plan.kept {
		r.kept[k.reason]++
	}
	if r.problems > 0 {
		r.amiss = append(r.amiss, fmt.Sprintf("the configuration has %s; run: mtasts-server check", count(r.problems, "error")))
	}
	if n := len(p.plan.kept); n > 0 {
		r.amiss = append(r.amiss, fmt.Sprintf("%s served as last published, not as configured", count(n, "domain")))
	}
	if p.trouble != nil {
		r.amiss = append(r.amiss, "the ledger cannot be written: "+p.trouble.Error())
	}
	if keys := needRestart(p.started, p.snap.Settings); len(keys) > 0 {
		r.amiss = append(r.amiss, "changed, but in force from the next start only: "+strings.Join(keys, ", "))
	}
	p.said.Store(r)
}

func countErrors(ps []config.Problem) int {
	n := 0
	for _, p := range ps {
		if p.Severity == mtasts.Error {
			n++
		}
	}
	return n
}

// count prints a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
