package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mtasts-server/certs"
	"mtasts-server/config"
	"mtasts-server/mtasts"
)

// admin answers on the admin listener: health, metrics and profiles, nothing that
// changes anything.
type admin struct {
	publisher *publisher
	certs     *certs.Manager
	version   string
	serving   atomic.Bool // the listeners are open and not being closed
}

func newAdminServer(a *admin, log *slog.Logger, cs ...prometheus.Collector) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(cs...)
	registry.MustRegister(a.publisher, a.certs, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(a.version))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", a.livez)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /certs", a.certsPage)
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
	for _, line := range a.publisher.amiss() {
		b.WriteString("amiss: " + line + "\n")
	}
	s := a.certs.Summary()
	fmt.Fprintf(&b, "certificates: %d of %d hosts have one, %d pending, %d failing\n", s.Ready, s.Hosts, s.Pending, s.Failing)
	if s.Waiting > 0 && !s.ETA.IsZero() {
		fmt.Fprintf(&b, "certificates: %s waiting; by what the CA grants, the last begins about %s\n", count(s.Waiting, "order"), s.ETA.UTC().Format("2006-01-02 15:04 MST"))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String())) // the client went away: nothing to do
}

// amiss says what is not as it should be, in one line each.
func (p *publisher) amiss() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	if p.snap == nil {
		return []string{"the configuration is not loaded yet"}
	}
	if n := countErrors(p.snap.Problems); n > 0 {
		lines = append(lines, fmt.Sprintf("the configuration has %s; run: mtasts-server check", count(n, "error")))
	}
	if n := len(p.plan.kept); n > 0 {
		lines = append(lines, fmt.Sprintf("%s served as last published, not as configured", count(n, "domain")))
	}
	if p.trouble != nil {
		lines = append(lines, "the ledger cannot be written: "+p.trouble.Error())
	}
	if keys := needRestart(p.started, p.snap.Settings); len(keys) > 0 {
		lines = append(lines, "changed, but in force from the next start only: "+strings.Join(keys, ", "))
	}
	return lines
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
