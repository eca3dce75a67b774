package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// printMachine says where and with what was measured: figures of another machine, or of
// another version, cannot be compared.
func (b *bench) printMachine() {
	memory, _ := strconv.Atoi(find("/proc/meminfo", `MemTotal: +(\d+)`))
	fmt.Printf("%s; %s, %d processors, %.1f GiB, Linux %s, %s\n\n", time.Now().UTC().Format(time.DateOnly),
		find("/proc/cpuinfo", `model name\s*: (.*)`), runtime.NumCPU(), float64(memory)/(1<<20),
		find("/proc/sys/kernel/osrelease", `(.*)`), find("/etc/os-release", `PRETTY_NAME="(.*)"`))
	var versions []string
	for _, name := range b.servers {
		versions = append(versions, b.version(name))
	}
	fmt.Printf("%s. Each measured %d times for %v, in turns.\n", strings.Join(versions, "; "), b.rounds, b.time)
}

func (b *bench) version(name string) string {
	switch name {
	case "ours":
		return fmt.Sprintf("mtasts-server %s (%s)", said(`(.*)`, "git", "describe", "--tags", "--always", "--dirty"), runtime.Version())
	case "nginx":
		return fmt.Sprintf("nginx %s (OpenSSL %s)", said(`nginx/(\S+)`, "nginx", "-v"), said(`(?:running|built) with OpenSSL ([\d.]+)[^(]*\)?$`, "nginx", "-V"))
	case "haproxy":
		return fmt.Sprintf("HAProxy %s (OpenSSL %s)", said(`version ([\d.]+)`, "haproxy", "-v"), said(`Running on OpenSSL version : OpenSSL (\S+)`, "haproxy", "-vv"))
	}
	info, err := buildinfo.ReadFile(b.tool("caddy"))
	if err != nil {
		return "Caddy"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			return fmt.Sprintf("Caddy %s (%s)", strings.TrimPrefix(dep.Version, "v"), info.GoVersion)
		}
	}
	return "Caddy"
}

// find returns what the first group of pattern matches in a file.
func find(file, pattern string) string {
	text, _ := os.ReadFile(file)
	return first(pattern, text)
}

// said returns the same for what a command says.
func said(pattern, command string, args ...string) string {
	out, err := exec.Command(command, args...).CombinedOutput() // nginx says its version on standard error
	if err != nil {
		return "(unknown)"
	}
	return first(pattern, out)
}

func first(pattern string, text []byte) string {
	m := regexp.MustCompile("(?m)" + pattern).FindSubmatch(text)
	if m == nil {
		return "(unknown)"
	}
	return string(m[1])
}
