package review

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Trouble says what is amiss, for people; nothing for nothing.
func (s *Scheduler) Trouble() []string {
	var lines []string
	if line := s.sight.trouble(); line != "" {
		lines = append(lines, line)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range sortedKeys(s.trouble) {
		lines = append(lines, "reviews: "+s.trouble[what])
	}
	return lines
}

// count counts for the metrics, and says if there is more to do than time for it.
func (s *Scheduler) count(ctx context.Context) error {
	counts, err := s.store.Counts(ctx)
	if err != nil {
		return err
	}
	n, err := s.store.overdue(ctx, s.o.Now().Add(-late))
	if err != nil {
		return err
	}
	s.metrics.set(counts, n)
	s.mu.Lock()
	all := len(s.risks)
	s.mu.Unlock()
	var slow error
	if !s.sight.blind() && float64(n) > lateShare*float64(all) {
		slow = fmt.Errorf("%d of %d are overdue by more than %s: more looks at a time or a second would help", n, all, late)
	}
	s.tell("domains are looked at too late", slow)
	return nil
}

// Describe implements prometheus.Collector.
func (s *Scheduler) Describe(ch chan<- *prometheus.Desc) { s.metrics.Describe(ch) }

// Collect implements prometheus.Collector.
func (s *Scheduler) Collect(ch chan<- prometheus.Metric) {
	blind := 0.0
	if s.sight.blind() {
		blind = 1
	}
	s.metrics.collect(ch, blind)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
