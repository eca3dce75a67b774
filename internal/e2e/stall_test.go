package e2e_test

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// stallingDisk is a file system that can stop to answer, as a network file system does
// whose server is gone: whoever asks it waits, and can be ended by a signal only. While it
// does, the test itself must stay away from it.
type stallingDisk struct {
	fuse.RawFileSystem

	mu      sync.Mutex
	answers chan struct{} // closed: it answers
	names   string        // those that begin with it are not found out; "" for none
	shown   chan struct{} // closed: they are
}

// mountStalling has dir on such a file system, until the test ends. It needs root.
func mountStalling(t *testing.T, dir string) *stallingDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system that hangs")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("a file system that hangs needs FUSE: %v", err)
	}
	root, err := fs.NewLoopbackRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &stallingDisk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), answers: make(chan struct{})}
	close(d.answers)
	server, err := fuse.NewServer(d, dir, &fuse.MountOptions{DirectMountStrict: true, FsName: "stalling", MaxBackground: 64})
	if err != nil {
		t.Fatalf("mounting a FUSE file system: %v", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.answer()
		d.show()
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// stall lets it answer nobody.
func (d *stallingDisk) stall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = make(chan struct{})
}

// answer undoes it. Who waits gets his answer.
func (d *stallingDisk) answer() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.answers:
	default:
		close(d.answers)
	}
}

// hide lets nobody find out about files whose names begin with prefix, until show.
func (d *stallingDisk) hide(prefix string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names, d.shown = prefix, make(chan struct{})
}

func (d *stallingDisk) show() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names != "" {
		d.names = ""
		close(d.shown)
	}
}

// wait waits until the disk answers. Who is killed meanwhile goes, as with network file
// systems.
func (d *stallingDisk) wait(cancel <-chan struct{}) fuse.Status {
	d.mu.Lock()
	answers := d.answers
	d.mu.Unlock()
	select {
	case <-answers:
		return fuse.OK
	case <-cancel:
		return fuse.EINTR
	}
}

func (d *stallingDisk) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	hidden, shown := d.names != "" && strings.HasPrefix(name, d.names), d.shown
	d.mu.Unlock()
	if hidden {
		select {
		case <-shown:
		case <-cancel:
			return fuse.EINTR
		}
	}
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.Lookup(cancel, header, name, out)
}

func (d *stallingDisk) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.GetAttr(cancel, in, out)
}

func (d *stallingDisk) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.Open(cancel, in, out)
}

func (d *stallingDisk) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.OpenDir(cancel, in, out)
}

func (d *stallingDisk) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.Create(cancel, in, name, out)
}

func (d *stallingDisk) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if st := d.wait(cancel); !st.Ok() {
		return nil, st
	}
	return d.RawFileSystem.Read(cancel, in, buf)
}

func (d *stallingDisk) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if st := d.wait(cancel); !st.Ok() {
		return 0, st
	}
	return d.RawFileSystem.Write(cancel, in, data)
}

func (d *stallingDisk) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.Fsync(cancel, in)
}

func (d *stallingDisk) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	if st := d.wait(cancel); !st.Ok() {
		return st
	}
	return d.RawFileSystem.Rename(cancel, in, oldName, newName)
}
