package main

import (
	"fmt"
	"log"
	"slices"
	"strconv"
)

// reference is whom the others are compared with.
const reference = "nginx"

// aim is what the ratio to the reference should be at most, "–" for none.
func aim(mode string, n int) string {
	switch {
	case mode == "full" && n > 1:
		return "0.85"
	case mode == "full", mode == "resumed":
		return "0.80"
	case mode == "keepalive":
		return "1.20"
	case mode == "h2":
		return "1.80"
	}
	return "–"
}

// fetches prints what a fetch costs.
func (b *bench) fetches(servers []*server, modes []string, n int) error {
	fmt.Printf("\n| work | server | CPU per fetch | ratio to %s (from–to) | aim | p99 |\n|---|---|---|---|---|---|\n", reference)
	for _, mode := range modes {
		log.Printf("%d domains: %s", n, mode)
		if err := b.compare(servers, mode, n); err != nil {
			return err
		}
	}
	return nil
}

// compare measures all servers in turns and prints the medians.
func (b *bench) compare(servers []*server, mode string, n int) error {
	type series struct{ cpu, ratio, p99 []float64 }
	all := make([]series, len(servers))
	for round := range b.rounds {
		of := 0.0
		for i := range servers {
			at := (i + round) % len(servers) // nobody is always first
			r, err := b.load(servers[at], "-mode", mode, "-domains", strconv.Itoa(n), "-d", b.time.String(), "-warmup", "500ms", "-groups", "x25519")
			if err != nil {
				return err
			}
			all[at].cpu = append(all[at].cpu, r.Server.CPU)
			all[at].p99 = append(all[at].p99, r.P99/1000)
			if servers[at].name == reference {
				of = r.Server.CPU
			}
		}
		for i := range all {
			if of > 0 {
				all[i].ratio = append(all[i].ratio, all[i].cpu[round]/of)
			}
		}
	}
	for i, s := range servers {
		title, ratio, most := s.name, "–", ""
		if r := all[i].ratio; len(r) > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", median(r), slices.Min(r), slices.Max(r))
		}
		if s.name == "ours" {
			title, most = ours, aim(mode, n)
		}
		fmt.Printf("| %s | %s | %.0f µs | %s | %s | %.1f ms |\n", mode, title, median(all[i].cpu), ratio, most, median(all[i].p99))
	}
	return nil
}
