package e2e_test

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// These tests build the image of the real Dockerfile by buildah, without a registry, and
// run it by runc, the runtime below Docker, containerd and Kubernetes, as compose.yaml
// says: with a read-only root, without root and capabilities, in a network of its own.
//
// What they cannot check: the image golang:1.26-bookworm, for which a stand-in is made of
// this machine's Go and shell (that it has /etc/ssl/certs/ca-certificates.crt, above all);
// BuildKit, which reads the Dockerfile where Docker builds; that a runtime asks the health
// check by itself (its command is run here), copies the volume's first content and owner
// out of the image, and leads published ports to the container; and compose.yaml and
// kubernetes.yaml as a whole, of which some fields are compared with the image.

const (
	goStandIn = "localhost/go-stand-in"
	imageName = "localhost/mtasts-server"
	standInCA = "the CA certificates of the build image\n"
	imageUser = 65532
)

// buildah is a storage of images of its own.
type buildah struct {
	t   *testing.T
	dir string
}

func newBuildah(t *testing.T) *buildah {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("building and running the container image needs root: run the tests as root, as in a container or a virtual machine")
	}
	for _, tool := range []string{"buildah", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the Debian package %s is missing, run: make setup (%v)", tool, err)
		}
	}
	return &buildah{t: t, dir: t.TempDir()}
}

func (b *buildah) run(verb string, args ...string) string {
	b.t.Helper()
	all := []string{"--storage-driver", "vfs", "--root", b.dir + "/root", "--runroot", b.dir + "/run", verb}
	cmd := exec.Command("buildah", append(all, args...)...)
	cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("buildah %s: %v\n%s%s", verb, err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// build builds the image. The stand-in for the build stage has a shell; Go itself and its
// caches are mounted, so that nothing is asked of the network (GOPROXY=off).
func (b *buildah) build() {
	b.t.Helper()
	download := exec.Command("go", "mod", "download")
	download.Dir = "../.."
	if out, err := download.CombinedOutput(); err != nil {
		b.t.Fatalf("go mod download: %v\n%s", err, out)
	}
	root := filepath.Join(b.dir, "stand-in")
	for _, tool := range []string{"sh", "mkdir", "cp"} {
		b.copyTool(root, tool)
	}
	for name, text := range map[string]string{"etc/ssl/certs/ca-certificates.crt": standInCA, "tmp/.keep": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	container := b.run("from", "scratch")
	b.run("copy", container, root, "/")
	b.run("config", "--env", "PATH=/usr/local/go/bin:/bin", "--env", "GOPATH=/go", "--env", "GOCACHE=/go/build-cache",
		"--env", "GOTOOLCHAIN=local", "--env", "GOPROXY=off", "--env", "HOME=/tmp", container)
	b.run("commit", container, goStandIn)
	b.run("build", "--format", "docker", "--pull-never", "--build-arg", "GO_IMAGE="+goStandIn, "--build-arg", "VERSION=v1.2.3",
		"--volume", goEnv(b.t, "GOROOT")+":/usr/local/go:ro",
		"--volume", goEnv(b.t, "GOMODCACHE")+":/go/pkg/mod",
		"--volume", goEnv(b.t, "GOCACHE")+":/go/build-cache",
		"--tag", imageName, "../..")
}

// copyTool copies a program of this machine with its libraries.
func (b *buildah) copyTool(root, tool string) {
	b.t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		b.t.Fatalf("ldd %s: %v", path, err)
	}
	files := map[string]string{path: "/bin/" + tool}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			files[word] = word
		}
	}
	for from, to := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(root+to), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(root+to, data, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// imageConfig is what an image says of how to run it.
type imageConfig struct {
	User            string
	Env             []string
	Entrypoint, Cmd []string
	Volumes         map[string]struct{}
	ExposedPorts    map[string]struct{}
	Healthcheck     struct{ Test []string }
}

func (b *buildah) config() imageConfig {
	b.t.Helper()
	var image struct {
		Docker struct{ Config imageConfig }
	}
	if err := json.Unmarshal([]byte(b.run("inspect", "--type", "image", imageName)), &image); err != nil {
		b.t.Fatal(err)
	}
	return image.Docker.Config
}

func TestContainer(t *testing.T) {
	t.Parallel()
	b := newBuildah(t)
	b.build()
	c := b.config()
	rootfs := b.run("mount", b.run("from", imageName))
	t.Run("config", func(t *testing.T) { checkImageConfig(t, c) })
	t.Run("files", func(t *testing.T) { checkImageFiles(t, rootfs) })
	t.Run("binary", func(t *testing.T) { checkImageBinary(t, filepath.Join(rootfs, "mtasts-server")) })
	t.Run("examples", func(t *testing.T) { checkContainerExamples(t, c) })
	t.Run("run", func(t *testing.T) { runContainer(t, c, rootfs) })
}

func checkImageConfig(t *testing.T, c imageConfig) {
	if c.User != "65532:65532" {
		t.Errorf("user %q", c.User)
	}
	if want := []string{"/mtasts-server"}; !slices.Equal(c.Entrypoint, want) {
		t.Errorf("entrypoint %q, want %q", c.Entrypoint, want)
	}
	if want := []string{"serve", "--config", "/etc/mtasts-server/mtasts-server.toml"}; !slices.Equal(c.Cmd, want) {
		t.Errorf("command %q, want %q", c.Cmd, want)
	}
	if want := []string{"CMD", "/mtasts-server", "health"}; !slices.Equal(c.Healthcheck.Test, want) {
		t.Errorf("health check %q, want %q", c.Healthcheck.Test, want)
	}
	if _, ok := c.Volumes["/var/lib/mtasts-server"]; !ok || len(c.Volumes) != 1 {
		t.Errorf("volumes %v", c.Volumes)
	}
	if ports, want := slices.Sorted(maps.Keys(c.ExposedPorts)), []string{"25/tcp", "443/tcp", "80/tcp"}; !slices.Equal(ports, want) {
		t.Errorf("ports %q, want %q", ports, want)
	}
	for _, env := range c.Env {
		if !strings.HasPrefix(env, "PATH=") {
			t.Errorf("the image sets %s", env)
		}
	}
}

// checkImageFiles wants the image to hold what it needs and nothing else.
func checkImageFiles(t *testing.T, rootfs string) {
	var files []string
	err := filepath.WalkDir(rootfs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, rootfs))
		}
		return err
	})
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/mtasts-server"}; err != nil || !slices.Equal(files, want) {
		t.Errorf("the image holds %q, %v; want %q", files, err, want)
	}
	if text, err := os.ReadFile(rootfs + "/etc/ssl/certs/ca-certificates.crt"); err != nil || string(text) != standInCA {
		t.Errorf("CA certificates: %q, %v", text, err)
	}
	fi, err := os.Stat(rootfs + "/var/lib/mtasts-server")
	if err != nil {
		t.Fatal(err)
	}
	if st := fi.Sys().(*syscall.Stat_t); st.Uid != imageUser || st.Gid != imageUser {
		t.Errorf("the volume begins with the owner %d:%d", st.Uid, st.Gid)
	}
}

func checkImageBinary(t *testing.T, path string) {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has a segment %v", p.Type)
		}
	}
	if symbols, err := f.Symbols(); !errors.Is(err, elf.ErrNoSymbols) {
		t.Errorf("the program has %d symbols, %v", len(symbols), err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
		t.Errorf("built with %v", settings)
	}
	out, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil || string(out) != "mtasts-server v1.2.3\n" {
		t.Errorf("--version: %q, %v", out, err)
	}
}

// checkContainerExamples compares some of what the examples say with the image.
func checkContainerExamples(t *testing.T, c imageConfig) {
	const toJSON = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
	read := func(name string, to any) {
		t.Helper()
		text, err := os.ReadFile("../../examples/container/" + name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/bin/python3", "-c", toJSON) // of the Debian package postfix-mta-sts-resolver
		cmd.Stdin = bytes.NewReader(text)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s is no YAML, or the Debian package python3-yaml is missing, run: make setup (%v)", name, err)
		}
		if err := json.Unmarshal(out, to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var compose []struct {
		Services map[string]struct {
			ReadOnly    bool     `json:"read_only"`
			CapDrop     []string `json:"cap_drop"`
			SecurityOpt []string `json:"security_opt"`
			Volumes     []string
			Healthcheck struct{ Test []string }
		}
	}
	read("compose.yaml", &compose)
	s := compose[0].Services["mtasts-server"]
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("compose.yaml: the service is not locked up: %+v", s)
	}
	if want := []string{"./etc:/etc/mtasts-server:ro", "state:/var/lib/mtasts-server"}; !slices.Equal(s.Volumes, want) {
		t.Errorf("compose.yaml: volumes %q, want %q", s.Volumes, want)
	}
	if !slices.Equal(s.Healthcheck.Test, c.Healthcheck.Test) {
		t.Errorf("compose.yaml: health check %q, want %q", s.Healthcheck.Test, c.Healthcheck.Test)
	}
	var kubernetes []struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct {
					SecurityContext struct {
						RunAsNonRoot                   bool
						RunAsUser, RunAsGroup, FSGroup int
					}
					Containers []struct {
						SecurityContext struct {
							ReadOnlyRootFilesystem   bool
							AllowPrivilegeEscalation *bool
							Capabilities             struct{ Drop []string }
						}
						VolumeMounts []struct{ MountPath string }
					}
				}
			}
		}
	}
	read("kubernetes.yaml", &kubernetes)
	pod := kubernetes[0].Spec.Template.Spec
	if sc := pod.SecurityContext; !sc.RunAsNonRoot || fmt.Sprintf("%d:%d", sc.RunAsUser, sc.RunAsGroup) != c.User || sc.FSGroup != sc.RunAsGroup {
		t.Errorf("kubernetes.yaml: the pod runs as %+v, want %s", sc, c.User)
	}
	sc := pod.Containers[0].SecurityContext
	if !sc.ReadOnlyRootFilesystem || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || !slices.Equal(sc.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("kubernetes.yaml: the container is not locked up: %+v", sc)
	}
	for volume := range c.Volumes {
		if !slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m struct{ MountPath string }) bool { return m.MountPath == volume }) {
			t.Errorf("kubernetes.yaml mounts nothing at %s", volume)
		}
	}
}
