package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is one that is running.
type server struct {
	name, dir, data, addr string
	cmd                   *exec.Cmd
	began                 time.Time
}

// start runs a server on a port of its own. Each has two workers or all processors.
func (b *bench) start(name, data string, n, port int) (*server, error) {
	s := &server{name: name, data: data, dir: filepath.Join(data, name), addr: "127.0.0.1:" + strconv.Itoa(port)}
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	switch name {
	case "ours":
		s.cmd, err = s.ours(b.tool("mtasts-server"), n)
	case "nginx":
		s.cmd, err = s.nginx(n)
	case "haproxy":
		s.cmd, err = s.haproxy()
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

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// await returns how long after its start the server answers for its last domain.
func (b *bench) await(s *server, n int) (time.Duration, error) {
	_, err := b.load(s, "-mode", "wait", "-first", strconv.Itoa(n), "-timeout", "5m")
	return time.Since(s.began), err
}

func (s *server) cert(i int) string {
	return filepath.Join(s.data, "certs", fmt.Sprintf("mta-sts.d%d.example.pem", i))
}

// perFile is how many domains stand in one policy file.
const perFile = 100

// writePolicies writes policy file number f.
func writePolicies(dir string, f, n, maxAge int) error {
	var b strings.Builder
	for i := f*perFile + 1; i <= min(n, (f+1)*perFile); i++ {
		fmt.Fprintf(&b, "[domains.\"d%d.example\"]\nmode = \"enforce\"\nmax_age = %d\nmx = [\"mx1.d%d.example\", \"mx2.d%d.example\", \"*.mail.d%d.example\"]\ntlsrpt = [\"mailto:tlsrpt@d%d.example\"]\n\n", i, maxAge, i, i, i, i)
	}
	return os.WriteFile(filepath.Join(dir, "policies", fmt.Sprintf("%05d.toml", f)), []byte(b.String()), 0o644)
}

func (s *server) ours(program string, n int) (*exec.Cmd, error) {
	if err := os.Mkdir(filepath.Join(s.dir, "policies"), 0o755); err != nil {
		return nil, err
	}
	for f := range (n + perFile - 1) / perFile {
		if err := writePolicies(s.dir, f, n, 604800); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(s.dir, "mtasts-server.toml")
	return exec.Command(program, "serve", "--config", config), os.WriteFile(config, fmt.Appendf(nil, `
policies = ["policies/*.toml"]
state = "state"
[listen]
https = [%q]
admin = ""
[certificates]
source = "files"
files = %q
[limits]
connections_per_address = 100000
[log]
level = "warn"
`, s.addr, filepath.Join(s.data, "certs")), 0o644)
}

const path = "/.well-known/mta-sts.txt"

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
`, s.addr, filepath.Join(s.data, "certs"), body, path), 0o644)
}
