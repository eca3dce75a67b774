package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	ours = "mtasts-server"
	path = "/.well-known/mta-sts.txt"

	// firstPort is that of the first server; each has ten of its own.
	firstPort = 21440

	// closedCA is a CA that nobody reaches: certificates that it is said to have
	// issued are served, and nothing leaves this machine. closedCAKey is its name
	// in storage.
	closedCA    = "https://127.0.0.1:1/directory"
	closedCAKey = "127.0.0.1:1-directory"
)

// server is one that is running.
type server struct {
	name, dir, data, addr string
	admin, http           string // ours: the other addresses
	cmd                   *exec.Cmd
	began                 time.Time
}

// start runs a server on ports of its own; again keeps what it left when it ran before.
// Each has two workers or all processors.
func (b *bench) start(name, data string, n, port int, again bool) (*server, error) {
	address := func(k int) string { return "127.0.0.1:" + strconv.Itoa(port+k) }
	s := &server{name: name, data: data, dir: filepath.Join(data, name), addr: address(0), admin: address(1), http: address(2)}
	if !again {
		if err := os.RemoveAll(s.dir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	switch name {
	case "nginx":
		s.cmd, err = s.nginx(n)
	case "haproxy":
		s.cmd, err = s.haproxy()
	case "caddy":
		s.cmd, err = s.caddy(b.tool("caddy"))
	case "ours":
		s.cmd, err = s.ours(b.tool(ours), n, fmt.Sprintf("source = \"files\"\nfiles = %q", s.certs()), again)
	case ours + "-certmagic":
		s.cmd, err = s.certmagic(b.tool(ours), n, again)
	default:
		err = fmt.Errorf("unknown server %q", name)
	}
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.began = time.Now()
	return s, s.cmd.Start()
}

// stop ends the server, once.
func (s *server) stop() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
	}
}

func (s *server) certs() string { return filepath.Join(s.data, "certs") }

func (s *server) cert(i int) string {
	return filepath.Join(s.certs(), fmt.Sprintf("mta-sts.d%d.example.pem", i))
}

// cpu is the time that the process has used, in hundredths of a second.
func (s *server) cpu() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, uerr := strconv.Atoi(fields[11])
	system, serr := strconv.Atoi(fields[12])
	return user + system, errors.Join(uerr, serr)
}

// peak is the most memory that the process has had so far, in KiB. nginx reads
// everything in its first process, which is the one asked here.
func (s *server) peak() (int, error) {
	return strconv.Atoi(find(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid), `VmHWM:\s*(\d+)`))
}

// metric is the sum of a metric of ours over its labels.
func (s *server) metric(name string) (sum float64, err error) {
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	found := false
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		found = true
		sum += v
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return sum, nil
}

// settle waits until the server has done all that it does for its start, or for an edit:
// it may go on working when it has answered.
func (s *server) settle(n int) error {
	const limit = 5 * time.Minute
	began := time.Now()
	last, err := s.cpu()
	for calm := 0; err == nil && calm < 3; {
		if time.Since(began) > limit {
			return fmt.Errorf("%s is not idle after %v", s.name, limit)
		}
		time.Sleep(300 * time.Millisecond)
		var now int
		now, err = s.cpu()
		if calm++; now-last > 1 {
			calm = 0
		}
		last = now
	}
	for ready := 0.0; err == nil && s.name == ours+"-certmagic"; time.Sleep(100 * time.Millisecond) {
		if ready, err = s.metric("mtasts_certificates_ready_hosts"); ready == float64(n) {
			return s.checkOrders()
		}
		if time.Since(began) > limit {
			return fmt.Errorf("%.0f of %d hosts have a certificate", ready, n)
		}
	}
	return err
}

// checkOrders makes sure that ours is content with the certificates that it was given.
func (s *server) checkOrders() error {
	orders, err := s.metric("mtasts_certificates_orders_total")
	if err != nil {
		return err
	}
	waiting, err := s.metric("mtasts_certificates_orders_waiting")
	if err == nil && orders+waiting > 0 {
		err = fmt.Errorf("certificates of %q are missing or due for renewal (%.0f orders): delete it", s.data, orders+waiting)
	}
	return err
}

// manyFiles is over how many policy files domains are spread, where there are as many.
const manyFiles = 1000

func countFiles(n int) int { return (n + perFile(n) - 1) / perFile(n) }

// perFile is how many domains stand in one policy file.
func perFile(n int) int { return (n + manyFiles - 1) / manyFiles }

// writePolicies writes policy file number f.
func writePolicies(dir string, f, n int, maxAge func(i int) int) error {
	var b strings.Builder
	for i := f*perFile(n) + 1; i <= min(n, (f+1)*perFile(n)); i++ {
		fmt.Fprintf(&b, "[domains.\"d%d.example\"]\nmode = \"enforce\"\nmax_age = %d\nmx = [\"mx1.d%d.example\", \"mx2.d%d.example\", \"*.mail.d%d.example\"]\ntlsrpt = [\"mailto:tlsrpt@d%d.example\"]\n\n", i, maxAge(i), i, i, i, i)
	}
	return os.WriteFile(filepath.Join(dir, "policies", fmt.Sprintf("%05d.toml", f)), []byte(b.String()), 0o644)
}

// ours serves the policies with the certificates of a table [certificates].
func (s *server) ours(program string, n int, certificates string, again bool) (*exec.Cmd, error) {
	config := filepath.Join(s.dir, "mtasts-server.toml")
	cmd := exec.Command(program, "serve", "--config", config)
	if again {
		return cmd, nil
	}
	if err := os.Mkdir(filepath.Join(s.dir, "policies"), 0o755); err != nil {
		return nil, err
	}
	for f := range countFiles(n) {
		if err := writePolicies(s.dir, f, n, func(int) int { return baseAge }); err != nil {
			return nil, err
		}
	}
	return cmd, os.WriteFile(config, fmt.Appendf(nil, `
policies = ["policies/*.toml"]
state = "state"
[listen]
https = [%q]
http = [%q]
admin = %q
[certificates]
%s
[limits]
connections_per_address = 100000
[log]
level = "warn"
`, s.addr, s.http, s.admin, certificates), 0o644)
}

// certmagic is ours with certificates that it obtained from a CA when it ran before.
func (s *server) certmagic(program string, n int, again bool) (*exec.Cmd, error) {
	if !again {
		dir := filepath.Join(s.dir, "state", "certs")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.Symlink(s.certs(), filepath.Join(dir, "served")); err != nil {
			return nil, err
		}
	}
	// Without renewal information: 100,000 questions to a CA that is not there
	// would be measured as well.
	return s.ours(program, n, fmt.Sprintf("source = \"certmagic\"\nemail = \"bench@example.net\"\ndirectory = %q\nari = false", closedCA), again)
}

func (s *server) nginx(n int) (*exec.Cmd, error) {
	f, err := os.Create(filepath.Join(s.dir, "nginx.conf"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fmt.Fprintf(f, `daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log crit;
worker_processes 2;
events { worker_connections 8192; }
http {
  access_log off;
  server_tokens off;
  keepalive_requests 1000000;
  server_names_hash_max_size 400000;
  server_names_hash_bucket_size 128;
  ssl_protocols TLSv1.2 TLSv1.3;
  default_type "text/plain; charset=utf-8";
`, s.dir)
	for i := range n {
		i++
		fmt.Fprintf(f, "server { listen %s ssl http2; server_name mta-sts.d%d.example; ssl_certificate %s; ssl_certificate_key %s; location = %s { return 200 \"%s\"; } }\n",
			s.addr, i, s.cert(i), s.cert(i), path, escaped(strconv.Itoa(i)))
	}
	_, err = io.WriteString(f, "}\n")
	return exec.Command("nginx", "-c", f.Name(), "-p", s.dir), err
}

// escaped is the policy of a domain in a quoted string, as nginx and HAProxy write it.
func escaped(i string) string {
	return `version: STSv1\r\nmode: enforce\r\nmx: mx1.d` + i + `.example\r\nmx: mx2.d` + i + `.example\r\nmx: *.mail.d` + i + `.example\r\nmax_age: 604800\r\n`
}

// haproxy makes each policy from the name: its cheapest way, for policies that are alike.
func (s *server) haproxy() (*exec.Cmd, error) {
	config := filepath.Join(s.dir, "haproxy.cfg")
	body := strings.ReplaceAll(escaped("N"), "dN.example", "%[var(txn.domain)]")
	return exec.Command("haproxy", "-db", "-f", config), os.WriteFile(config, fmt.Appendf(nil, `global
  maxconn 4000
  nbthread 2
  ssl-default-bind-options ssl-min-ver TLSv1.2
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 5s
frontend policies
  bind %s ssl crt %s alpn h2,http/1.1 strict-sni
  http-request set-var(txn.domain) req.hdr(host),host_only,lower,regsub(^mta-sts\.,)
  http-request return status 200 content-type "text/plain; charset=utf-8" lf-string "%s" if { path %s }
`, s.addr, s.certs(), body, path), 0o644)
}

// caddy makes each policy from the name, as haproxy. A route or a line of a map for each
// host would be tried one after the other, 100,000 of them; a file for each costs more.
func (s *server) caddy(program string) (*exec.Cmd, error) {
	config := filepath.Join(s.dir, "caddy.json")
	cmd := exec.Command(program, "run", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_DATA_HOME="+s.dir)
	body := strings.ReplaceAll(escaped("N"), "dN", "{http.request.host.labels.1}")
	return cmd, os.WriteFile(config, fmt.Appendf(nil, `{
  "admin": {"disabled": true, "config": {"persist": false}},
  "logging": {"logs": {"default": {"level": "ERROR"}}},
  "apps": {
    "tls": {"certificates": {"load_folders": [%q]}, "disable_ocsp_stapling": true, "disable_storage_clean": true},
    "http": {"servers": {"policies": {
      "listen": [%q],
      "protocols": ["h1", "h2"],
      "automatic_https": {"disable": true},
      "tls_connection_policies": [{}],
      "routes": [{
        "match": [{"path": [%q]}],
        "handle": [{
          "handler": "static_response",
          "headers": {"Content-Type": ["text/plain; charset=utf-8"]},
          "body": "%s"
        }]
      }]
    }}}
  }
}
`, s.certs(), s.addr, path, body), 0o644)
}
