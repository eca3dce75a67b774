package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

// This file builds the program and runs it as a process of its own, as people do.

// programPatience is how long anything is waited for that has to come. No test passes
// or fails by being fast.
const programPatience = 90 * time.Second

// binDir holds the program while the tests run.
var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mtasts-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildProgram builds the program when the first test needs it: under the race detector
// if the tests are.
var buildProgram = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv(ownNetwork); bin != "" {
		return bin, nil
	}
	return build(raceDetector())
})

// buildPlain builds it without, for tests of how fast it is and what it takes.
var buildPlain = sync.OnceValues(func() (string, error) {
	if !raceDetector() {
		return buildProgram()
	}
	return build(false)
})

func build(race bool) (string, error) {
	path := filepath.Join(binDir, "mtasts-server")
	args := []string{"build"}
	if race {
		path += "-race"
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "-o", path, "./cmd/mtasts-server")...)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// programEnv spares the race detector its wait of a second at the end of each process.
func programEnv() []string { return append(os.Environ(), "GORACE=atexit_sleep_ms=0") }

// eventually waits until check returns no error.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(programPatience); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}

// site is a directory with a configuration and a state, on which the program can be
// started again and again.
type site struct {
	t        testing.TB
	bin, dir string
	wrapper  []string // a command that runs its arguments, to start the program by
}

// newSite makes a site that has no policies yet, with certificates of the local CA.
func newSite(t testing.TB) *site {
	t.Helper()
	bin, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, bin: bin, dir: t.TempDir()}
	s.write("mtasts-server.toml", siteConfig)
	return s
}

const siteConfig = `
policies = ["policies/*.toml"]
state = "state"
[listen]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[certificates]
source = "local"
[log]
format = "json"
`

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// append adds to the end of a file.
func (s *site) append(name, text string) {
	s.t.Helper()
	old, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name, string(old)+text)
}

// replace puts a file in place by a rename. The file looks a while old, as one does that
// was unpacked or copied with its times: the server need not wait until its writer is
// done with it.
func (s *site) replace(name, text string) {
	s.t.Helper()
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	s.write(tmp, text)
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(s.path(tmp), long, long); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path(tmp), s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a verb beside the server and returns what it prints.
func (s *site) run(verb string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.bin, append([]string{verb, "--config", s.path("mtasts-server.toml")}, args...)...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = programEnv(), &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// program is a running server.
type program struct {
	*site
	cmd          *exec.Cmd
	https, admin string        // addresses, once it serves
	serving      chan struct{} // closed when it says so
	exited       chan struct{}

	mu  sync.Mutex
	log []string
}

// start starts the server and waits until it serves.
func (s *site) start() *program {
	s.t.Helper()
	p := s.spawn()
	p.await()
	return p
}

// spawn starts the server.
func (s *site) spawn() *program {
	s.t.Helper()
	args := append(slices.Clone(s.wrapper), s.bin, "serve", "--config", s.path("mtasts-server.toml"))
	p := &program{site: s, cmd: exec.Command(args[0], args[1:]...), serving: make(chan struct{}), exited: make(chan struct{})}
	p.cmd.Env = programEnv()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		p.read(stderr)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // most often it is gone already
		<-p.exited
		if s.t.Failed() {
			lines := p.lines()
			s.t.Logf("log of process %d:\n%s", p.cmd.Process.Pid, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	return p
}

// read takes in the log.
func (p *program) read(stderr io.Reader) {
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct {
			Msg          string
			HTTPS, Admin []string
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" && p.https == "" {
			p.https, p.admin = line.HTTPS[0], line.Admin[0]
			close(p.serving)
		}
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		p.mu.Unlock()
	}
}

func (p *program) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// await waits until the server serves.
func (p *program) await() {
	p.t.Helper()
	select {
	case <-p.serving:
	case <-p.exited:
		select {
		case <-p.serving:
		default:
			p.t.Fatalf("the program did not start: %s", p.cmd.ProcessState)
		}
	case <-time.After(programPatience):
		p.t.Fatal("the program does not come to serve")
	}
}

func (p *program) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", sig, err)
	}
}

// stop ends the server in order, which must end it with exit code 0.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.gone()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// kill ends the server by kill -9.
func (p *program) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.gone()
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		p.t.Errorf("the server ended by itself: %s", p.cmd.ProcessState)
	}
}

// gone waits for the end of the process, whose log must show no fault of ours.
func (p *program) gone() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(programPatience):
		p.t.Fatal("the program does not end")
	}
	for _, line := range p.lines() {
		if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || strings.Contains(line, "goroutine ") {
			p.t.Errorf("in the log: %s", line)
		}
	}
}

// roots is what a sender must trust to trust this server.
func (s *site) roots() *x509.CertPool {
	s.t.Helper()
	text, err := os.ReadFile(s.rootFile())
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		s.t.Fatalf("no certificate in %s", s.rootFile())
	}
	return roots
}

func (s *site) rootFile() string { return s.path("state/certs/certmagic/local/root.pem") }

// transport reaches the server by whatever host name, and trusts its CA.
func (p *program) transport(keepAlive bool) *http.Transport {
	p.t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.https)
		},
		TLSClientConfig:   &tls.Config{RootCAs: p.roots()},
		DisableKeepAlives: !keepAlive,
		MaxIdleConns:      20, // one address may have so many connections only
	}
	p.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (p *program) client(keepAlive bool) *http.Client {
	p.t.Helper()
	return &http.Client{Transport: p.transport(keepAlive), Timeout: programPatience}
}

// getPolicy gets the policy of a domain as a sender does (RFC 8461 §3.3).
func getPolicy(c *http.Client, domain string) (string, error) {
	res, err := c.Get(mtasts.PolicyURL(domain))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	mediaType, _, typeErr := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return "", err
	case res.StatusCode != http.StatusOK:
		return "", errors.New(res.Status)
	case typeErr != nil || mediaType != "text/plain":
		return "", fmt.Errorf("media type %q", res.Header.Get("Content-Type"))
	}
	return string(body), nil
}

// readyz returns what the admin listener says of how the server is.
func (p *program) readyz() (string, error) {
	res, err := (&http.Client{Timeout: programPatience}).Get("http://" + p.admin + "/readyz")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("/readyz: %s: %s", res.Status, text)
	}
	return string(text), err
}
