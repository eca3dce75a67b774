package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// result is what stsload reports, as far as it matters here.
type result struct {
	Requests   int            `json:"requests"`
	Errors     int            `json:"errors"`
	ErrorTexts map[string]int `json:"error_texts"`
	P99        float64        `json:"p99_us"`
	Server     struct {
		CPU       float64 `json:"cpu_us_per_request"`
		PSSBefore int64   `json:"pss_kb_before"`
		PSSAfter  int64   `json:"pss_kb_after"`
	} `json:"server"`
}

// load is a running stsload.
type load struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

func (b *bench) startLoad(s *server, args ...string) (*load, error) {
	args = append([]string{"-json", "-server", s.addr, "-ca", filepath.Join(s.data, "ca.pem"), "-pid", strconv.Itoa(s.cmd.Process.Pid)}, args...)
	l := &load{cmd: exec.Command(b.tool("stsload"), args...)}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.err
	return l, l.cmd.Start()
}

// wait waits for its end. Failed fetches are in the result.
func (l *load) wait() (r result, err error) {
	werr := l.cmd.Wait() // not nil for failed fetches as well
	if err := json.Unmarshal(l.out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("stsload %s: %w: %s", strings.Join(l.cmd.Args[1:], " "), werr, &l.err)
	}
	return r, nil
}

// stop ends it, and waits.
func (l *load) stop() (result, error) {
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		return result{}, err
	}
	return l.wait()
}

// load runs stsload to its end. No fetch may fail.
func (b *bench) load(s *server, args ...string) (result, error) {
	l, err := b.startLoad(s, args...)
	if err != nil {
		return result{}, err
	}
	r, err := l.wait()
	if err == nil && r.Errors > 0 {
		err = fmt.Errorf("%s: %d of %d fetches failed: %v", s.name, r.Errors, r.Errors+r.Requests, r.ErrorTexts)
	}
	return r, err
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
