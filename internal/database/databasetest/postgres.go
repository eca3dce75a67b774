// Package databasetest gives tests an empty database of each kind.
package databasetest

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"mtasts-server/internal/database"
)

// Each runs a test on an empty SQLite and on an empty PostgreSQL.
func Each(t *testing.T, test func(*testing.T, database.Options)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, database.Options{File: filepath.Join(t.TempDir(), "reports.db")})
	})
	t.Run("postgresql", func(t *testing.T) {
		test(t, database.Options{URL: Postgres(t)})
	})
}

var cluster struct {
	sync.Mutex
	dir string
	n   int
	err error
}

// Postgres makes an empty database in a PostgreSQL server of this process, and returns its
// URL. The server ends with the tests of the package if their TestMain calls Stop.
func Postgres(t testing.TB) string {
	t.Helper()
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.dir == "" && cluster.err == nil {
		cluster.dir, cluster.err = start()
	}
	if cluster.err != nil {
		t.Fatalf("PostgreSQL, which `make setup` installs: %v", cluster.err)
	}
	cluster.n++
	name := fmt.Sprintf("test%d", cluster.n)
	db, err := sql.Open("pgx", address(cluster.dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return address(cluster.dir, name)
}

// Main runs the tests of a package, and then ends what Postgres began.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends the server. Another call of Postgres begins a new one.
func Stop() {
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.dir == "" {
		return
	}
	if out, err := command("pg_ctl", "-D", cluster.dir+"/data", "-m", "immediate", "-w", "stop").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "stopping PostgreSQL: %v\n%s", err, out)
	}
	os.RemoveAll(cluster.dir)
	cluster.dir = ""
}

func address(dir, name string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&sslmode=disable", name, dir)
}

// Cluster is a PostgreSQL server of one test, which may be stopped and started.
type Cluster struct {
	t   testing.TB
	dir string
}

// NewCluster starts a server, which ends with the test.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	dir, err := start()
	if err != nil {
		t.Fatalf("PostgreSQL, which `make setup` installs: %v", err)
	}
	c := &Cluster{t, dir}
	t.Cleanup(func() {
		_ = run("pg_ctl", "-D", dir+"/data", "-m", "immediate", "-w", "stop") // it may be stopped already
		os.RemoveAll(dir)
	})
	return c
}

// URL of one of its databases; "postgres" is always there.
func (c *Cluster) URL(name string) string { return address(c.dir, name) }

// Stop ends it as a power cut does.
func (c *Cluster) Stop() {
	c.t.Helper()
	if err := run("pg_ctl", "-D", c.dir+"/data", "-m", "immediate", "-w", "stop"); err != nil {
		c.t.Fatal(err)
	}
}

// Start starts it again.
func (c *Cluster) Start() {
	c.t.Helper()
	if err := serve(c.dir); err != nil {
		c.t.Fatal(err)
	}
}

func start() (string, error) {
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return "", err
	}
	if id := who(); id != nil {
		err = os.Chown(dir, int(id.Uid), int(id.Gid))
	}
	if err == nil {
		// Names are sorted as a dictionary does, without regard to dots and hyphens: as on many
		// systems, and unlike Go.
		err = run("initdb", "-D", dir+"/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US-u-ka-shifted", "--no-sync")
	}
	if err == nil {
		err = serve(dir)
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// serve starts the server on a socket in a directory of its own: there is no port that
// somebody else may have.
func serve(dir string) error {
	return run("pg_ctl", "-D", dir+"/data", "-w", "-t", "60", "-l", dir+"/log", "-o", "-c listen_addresses='' -c unix_socket_directories="+dir, "start")
}

// who PostgreSQL runs as where the tests are root's: it refuses that.
func who() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if uerr != nil || gerr != nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func command(name string, args ...string) *exec.Cmd {
	// Debian keeps the programs of each version in a directory of its own.
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		name = slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who()}
	return cmd
}

func version(path string) int {
	n, err := strconv.Atoi(strings.Split(path, "/")[4])
	if err != nil {
		return 0
	}
	return n
}

func run(name string, args ...string) error {
	cmd := command(name, args...)
	// Not to a pipe: the server that pg_ctl leaves behind would hold it open.
	log, err := os.CreateTemp("", "postgres")
	if err != nil {
		return err
	}
	defer os.Remove(log.Name())
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}
