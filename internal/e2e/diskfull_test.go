package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fullDisk is a way for a disk to be full.
type fullDisk interface {
	fill(p *program)
	free(p *program) // undoes it
}

// TestDrillDiskFull lets the disk with the state fill up under a running server. The
// server goes on serving, takes edits in, says in /readyz that it cannot record them, and
// recovers by itself. One that is started on the full disk serves what is configured, and
// what was recorded last where the configuration is broken.
func TestDrillDiskFull(t *testing.T) {
	t.Parallel()
	t.Run("file size", func(t *testing.T) {
		t.Parallel()
		testDiskFull(t, newSite(t), limitedSize{})
	})
	if os.Geteuid() != 0 {
		t.Log("only root can mount a file system to fill it up: the limit on file sizes has to do")
		return
	}
	t.Run("file system", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		testDiskFull(t, s, mountSmall(t, s))
	})
}

func testDiskFull(t *testing.T, s *site, disk fullDisk) {
	e := newEditor(s)
	e.add(3)
	f := e.files[0]
	edit := func(p *program) {
		t.Helper()
		s.replace(f.name, e.next(f))
		p.signal(syscall.SIGHUP)
		e.newest(t, p)
	}
	s.replace(f.name, e.next(f))
	p := s.start()
	e.newest(t, p)
	edit(p)
	ledgerFails(t, p, false)

	disk.fill(p)
	recorded := f.written
	for failing := false; !failing; failing = ledgerState(t, p) {
		if f.written > recorded+100 {
			t.Fatal("the disk does not get full")
		}
		edit(p)
	}
	edit(p)
	const newcomer = "newcomer.example"
	if disk, ok := disk.(smallDisk); ok {
		// It is said of certificates too, and none is ordered that could not be stored.
		disk.fill(p) // what was deleted meanwhile left room
		p.says("certificates cannot be stored, and none is ordered, since ")
		s.replace("policies/newcomer.toml", drillTable(newcomer, 1))
		p.signal(syscall.SIGHUP)
		p.metric(`mtasts_certificates_hosts{state="pending"} 1`, `mtasts_certificates_orders_total{outcome="failed"} 0`)
	}
	p.kill()

	// The files are good and newer than what is recorded.
	p = s.start()
	e.newest(t, p)
	ledgerFails(t, p, true)
	edit(p)
	p.kill()

	// The file is broken: what was recorded last is the last good.
	s.replace(f.name, "[domains.\n")
	p = s.start()
	client := p.client(false)
	for _, domain := range f.domains {
		body, err := getPolicy(client, domain)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := drillNumber(domain, body); err != nil || n < recorded {
			t.Errorf("%s is served edit %d, %v; edit %d was recorded", domain, n, err, recorded)
		}
	}
	s.replace(f.name, e.next(f))
	p.signal(syscall.SIGHUP)
	e.newest(t, p)
	ledgerFails(t, p, true)

	// There is room again.
	disk.free(p)
	p.signal(syscall.SIGHUP)
	p.saysNothing()
	if _, ok := disk.(smallDisk); ok {
		eventually(t, newcomer+" is served", func() error {
			_, err := getPolicy(p.client(true), newcomer)
			return err
		})
	}
	eventually(t, "the ledger is written again", func() error {
		if ledgerState(t, p) {
			return errors.New("it cannot be written")
		}
		return nil
	})
	p.kill()
	s.replace(f.name, "[domains.\n")
	p = s.start()
	e.newest(t, p)
	ledgerFails(t, p, false)
	p.stop()
}

// ledgerState reports whether /readyz says that the ledger cannot be written.
func ledgerState(t *testing.T, p *program) (failing bool) {
	t.Helper()
	text, err := p.readyz()
	if err != nil || !strings.HasPrefix(text, "ready\n") {
		t.Fatalf("/readyz: %v, %q", err, text)
	}
	return strings.Contains(text, "\namiss: the ledger cannot be written: ")
}

func ledgerFails(t *testing.T, p *program, want bool) {
	t.Helper()
	if got := ledgerState(t, p); got != want {
		t.Errorf("that the ledger cannot be written is said: %v, want %v", got, want)
	}
}

// limitedSize is a limit on the size of files, for whoever is not root: no file can
// become larger than the journal is (EFBIG).
type limitedSize struct{}

func (limitedSize) fill(p *program) {
	p.t.Helper()
	fi, err := os.Stat(p.path("state/ledger/journal"))
	if err != nil {
		p.t.Fatal(err)
	}
	limit := fmt.Sprintf("--fsize=%d:", fi.Size()) // the hard limit stays
	prlimit(p, limit)
	p.site.wrapper = []string{"prlimit", limit}
}

func (limitedSize) free(p *program) {
	p.t.Helper()
	prlimit(p, "--fsize=unlimited:")
	p.site.wrapper = nil
}

func prlimit(p *program, limit string) {
	p.t.Helper()
	if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(p.cmd.Process.Pid), limit).CombinedOutput(); err != nil {
		p.t.Fatalf("prlimit: %v: %s", err, out)
	}
}

// smallDisk is a file system of its own for the state.
type smallDisk struct{ filler string }

func mountSmall(t *testing.T, s *site) smallDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system for this")
	}
	state := s.path("state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return smallDisk{state + "/filler"}
}

// remount changes the flags of the file system.
func (d smallDisk) remount(t *testing.T, flags uintptr) {
	t.Helper()
	eventually(t, "the file system is mounted anew", func() error { // not while a file is open to be written
		return syscall.Mount("", filepath.Dir(d.filler), "", syscall.MS_REMOUNT|flags, "")
	})
}

func (d smallDisk) fill(p *program) {
	p.t.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		p.t.Fatal(err)
	}
}

func (d smallDisk) free(p *program) {
	p.t.Helper()
	if err := os.Remove(d.filler); err != nil {
		p.t.Fatal(err)
	}
}
