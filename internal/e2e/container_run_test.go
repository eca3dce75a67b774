package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// runContainer runs the image as compose.yaml says, with what examples/container/etc has.
func runContainer(t *testing.T, c imageConfig, rootfs string) {
	s := &site{t: t, dir: t.TempDir()}
	if err := os.CopyFS(s.path("etc"), os.DirFS("../../examples/container/etc")); err != nil {
		t.Fatal(err)
	}
	// A new volume has the content and owner of the directory in the image.
	if err := errors.Join(os.Chmod(s.dir, 0o755), os.Mkdir(s.path("state"), 0o750), os.Chown(s.path("state"), imageUser, imageUser)); err != nil {
		t.Fatal(err)
	}
	r := startContainer(t, s, c, rootfs)
	eventually(t, "the container is well", func() error { return r.exec(c.Healthcheck.Test[1:]...) })
	eventually(t, "nothing is pending in the container", func() error { return r.exec("/mtasts-server", "health", "--ready") })

	const first = "version: STSv1\r\nmode: testing\r\nmx: mx1.example.com\r\nmx: mx2.example.com\r\nmax_age: 86400\r\n"
	r.await("example.com", first)
	s.replace("etc/policies/example.com.toml", "[domains.\"example.com\"]\nmode = \"enforce\"\nmax_age = \"1w\"\nmx = [\"mx1.example.com\"]\n")
	r.await("example.com", "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmax_age: 604800\r\n")
	r.checkLockedUp()
	r.stop()
}

// container is a container that runc runs.
type container struct {
	t   *testing.T
	s   *site
	id  string
	run *exec.Cmd
	log bytes.Buffer // to be read after the end
	end chan error
	pid int
}

// startContainer makes a bundle of the OCI runtime specification, and starts it.
func startContainer(t *testing.T, s *site, c imageConfig, rootfs string) *container {
	t.Helper()
	var uid, gid int
	if _, err := fmt.Sscanf(c.User, "%d:%d", &uid, &gid); err != nil {
		t.Fatalf("user %q: %v", c.User, err)
	}
	type object = map[string]any
	mount := func(kind, source, destination string, options ...string) object {
		return object{"type": kind, "source": source, "destination": destination, "options": options}
	}
	spec, err := json.Marshal(object{
		"ociVersion": "1.0.0",
		"process": object{
			"args": slices.Concat(c.Entrypoint, c.Cmd), "env": c.Env, "cwd": "/",
			"user": object{"uid": uid, "gid": gid}, "capabilities": object{}, "noNewPrivileges": true,
		},
		"root": object{"path": rootfs, "readonly": true},
		"mounts": []object{
			mount("proc", "proc", "/proc"),
			mount("tmpfs", "tmpfs", "/dev", "nosuid", "mode=755", "size=64k"),
			mount("bind", s.path("etc"), "/etc/mtasts-server", "rbind", "ro"),
			mount("bind", s.path("state"), "/var/lib/mtasts-server", "rbind", "rw"),
		},
		"linux": object{
			"namespaces": []object{{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}},
			"sysctl":     object{"net.ipv4.ip_unprivileged_port_start": "0"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.write("bundle/config.json", string(spec))
	r := &container{t: t, s: s, id: fmt.Sprintf("mtasts-server-%d", os.Getpid()), end: make(chan error, 1)}
	r.run = r.runc("run", "--bundle", s.path("bundle"), r.id)
	r.run.Stdout, r.run.Stderr = &r.log, &r.log
	if err := r.run.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.end <- r.run.Wait() }()
	t.Cleanup(func() {
		_ = r.runc("delete", "--force", r.id).Run() // most often it is gone already
		if t.Failed() {
			<-r.end
			t.Logf("log of the container:\n%s", r.log.Bytes())
		}
	})
	eventually(t, "runc knows the container", func() error {
		select {
		case err := <-r.end:
			r.end <- err
			t.Fatalf("runc: %v", err)
		default:
		}
		out, err := r.runc("state", r.id).Output()
		if err != nil {
			return err
		}
		var state struct {
			Status string
			PID    int
		}
		if err := json.Unmarshal(out, &state); err != nil || state.Status != "running" {
			return fmt.Errorf("%w: %s", err, out)
		}
		r.pid = state.PID
		return nil
	})
	return r
}

func (r *container) runc(args ...string) *exec.Cmd {
	return exec.Command("runc", append([]string{"--root", r.s.path("runc")}, args...)...)
}

// exec runs a command in the container, as runtimes do for a health check.
func (r *container) exec(args ...string) error {
	if out, err := r.runc(append([]string{"exec", r.id}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// dial connects to an address of the container's own network: by a thread that joins the
// network and is not used for anything afterwards.
func (r *container) dial(addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.pid))
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer network.Close()
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.Dial("tcp4", addr)
		done <- result{conn, err}
	}()
	x := <-done
	return x.conn, x.err
}

// await waits until the policy of a domain is served on the standard port.
func (r *container) await(domain, want string) {
	r.t.Helper()
	client := &http.Client{Timeout: programPatience, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: r.s.roots()},
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return r.dial("127.0.0.1:443") },
	}}
	eventually(r.t, domain+" is served", func() error {
		body, err := getPolicy(client, domain)
		if err == nil && body != want {
			err = fmt.Errorf("the policy is %q, want %q", body, want)
		}
		return err
	})
}

// checkLockedUp looks at the process from outside.
func (r *container) checkLockedUp() {
	r.t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(r.pid))
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		r.t.Fatal(err)
	}
	want := map[string]string{"Uid": fmt.Sprint(imageUser), "Gid": fmt.Sprint(imageUser), "NoNewPrivs": "1"}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		want[set] = "0000000000000000"
	}
	for line := range strings.Lines(string(status)) {
		name, values, _ := strings.Cut(line, ":")
		for _, value := range strings.Fields(values) {
			if want[name] != "" && value != want[name] {
				r.t.Errorf("the process has %s", line)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(proc, "root", "written"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		r.t.Errorf("writing to the root: %v, want that it is read-only", err)
	}
}

// stop ends the container as docker stop does.
func (r *container) stop() {
	r.t.Helper()
	if out, err := r.runc("kill", r.id, "TERM").CombinedOutput(); err != nil {
		r.t.Fatalf("runc kill: %v: %s", err, out)
	}
	err := <-r.end
	r.end <- err
	if err != nil {
		r.t.Errorf("the container ended with %v", err)
	}
	if log := r.log.String(); !strings.Contains(log, `"msg":"stopped"`) {
		r.t.Error("the server did not say that it stopped")
	}
}
