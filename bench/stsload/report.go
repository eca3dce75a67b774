package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func (r *runner) report(workers []*worker, elapsed time.Duration, before, after *usage) *result {
	res := &result{
		Mode: r.cfg.mode, Domains: r.cfg.domains, Concurrency: r.cfg.conc, Seconds: elapsed.Seconds(),
		ErrorTexts: map[string]int{}, Handshakes: map[string]int64{},
	}
	var all []int32
	for _, w := range workers {
		all = append(all, w.samples...)
		for text, n := range w.errs {
			res.Errors += n
			res.ErrorTexts[text] += n
		}
	}
	res.Requests = len(all)
	res.PerSecond = float64(len(all)) / elapsed.Seconds()
	slices.Sort(all)
	at := func(q float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[min(int(q*float64(len(all))), len(all)-1)])
	}
	res.P50, res.P90, res.P99, res.P999, res.Max = at(.5), at(.9), at(.99), at(.999), at(1)
	r.handshakes.Range(func(k, v any) bool {
		res.Handshakes[k.(string)] = v.(*atomic.Int64).Load()
		return true
	})
	n := float64(max(len(all)+res.Errors, 1))
	res.ClientCPU = (after.self - before.self) * 1e6 / n
	if r.cfg.pid != 0 {
		user, sys := (after.user-before.user)*1e6/n, (after.sys-before.sys)*1e6/n
		if ran := (after.ran - before.ran) * 1e6 / n; slices.Equal(before.pids, after.pids) && user+sys > 0 && ran > 0.9*(user+sys) {
			user, sys = user*ran/(user+sys), sys*ran/(user+sys)
		}
		res.Server = &serverCost{
			Processes: len(after.pids), CPU: user + sys, User: user, Sys: sys,
			Cores: (user + sys) * n / 1e6 / elapsed.Seconds(),
		}
	}
	return res
}

// usage is the CPU time in seconds that the server has used so far: ran is the
// same as user+sys, exact to the nanosecond where those count ticks, but without
// the threads that have ended; self is the CPU time of stsload.
type usage struct {
	pids                 []int
	user, sys, ran, self float64
}

// readUsage adds up the process pid, its descendants and the children that pid
// has waited for (nginx replaces its workers on reload).
func readUsage(pid int) (*usage, error) {
	u := &usage{}
	if pid != 0 {
		stats, err := tree(pid)
		if err != nil {
			return nil, err
		}
		const tick = 100 // USER_HZ
		num := func(s string) float64 { v, _ := strconv.ParseFloat(s, 64); return v / tick }
		for _, s := range stats {
			u.pids = append(u.pids, s.pid)
			u.user += num(s.fields[11])
			u.sys += num(s.fields[12])
			if s.pid == pid {
				u.user += num(s.fields[13])
				u.sys += num(s.fields[14])
			}
			u.ran += schedTime(s.pid)
		}
	}
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return nil, err
	}
	u.self = float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
	return u, nil
}

// readMemory returns the sums of RSS and PSS in kB over pid and its descendants.
func readMemory(pid int) (kb [2]int64, err error) {
	if pid == 0 {
		return kb, nil
	}
	stats, err := tree(pid)
	for _, s := range stats {
		kb[0] += procKB(s.pid, "status", "VmRSS:")
		kb[1] += procKB(s.pid, "smaps_rollup", "Pss:")
	}
	return kb, err
}

// stat is /proc/<pid>/stat, its fields from the third (the state) on.
type stat struct {
	pid    int
	fields []string
}

// tree returns pid and its descendants.
func tree(pid int) (found []stat, err error) {
	all := map[int]stat{}
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		b, err := os.ReadFile(d + "/stat")
		if err != nil {
			continue // it ended
		}
		p, _ := strconv.Atoi(filepath.Base(d))
		s := stat{p, strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))}
		ppid, _ := strconv.Atoi(s.fields[1])
		all[p] = s
		children[ppid] = append(children[ppid], p)
	}
	if _, ok := all[pid]; !ok {
		return nil, fmt.Errorf("no process %d", pid)
	}
	for todo := []int{pid}; len(todo) > 0; {
		p := todo[0]
		todo = append(todo[1:], children[p]...)
		found = append(found, all[p])
	}
	return found, nil
}

// schedTime returns the seconds of CPU that the threads of a process have used.
func schedTime(pid int) (sum float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		first, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseFloat(first, 64)
		sum += ns / 1e9
	}
	return sum
}

func procKB(pid int, file, key string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, key); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb
		}
	}
	return 0
}
