package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What happens to machines, done to a running server: policies are served on, /readyz
// says why, and all is well again when the machine is.

// quickly is how long the admin listener and senders may take while something is wrong.
// It is no measurement: what hangs, hangs for ever.
const quickly = 10 * time.Second

// says waits until /readyz tells of all of words as amiss. The server must stay ready and
// answer quickly.
func (p *program) says(words ...string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("/readyz says %q", words), func() error {
		text := p.ready()
		for _, w := range words {
			if !strings.Contains(text, "\namiss: "+w) {
				return fmt.Errorf("it says %q", text)
			}
		}
		return nil
	})
}

// saysNothing waits until nothing is amiss.
func (p *program) saysNothing() {
	p.t.Helper()
	eventually(p.t, "nothing is amiss", func() error {
		if text := p.ready(); strings.Contains(text, "amiss") {
			return fmt.Errorf("/readyz says %q", text)
		}
		return nil
	})
}

// ready is what /readyz says.
func (p *program) ready() string {
	p.t.Helper()
	text, err := p.ask("/readyz")
	if err != nil || !strings.HasPrefix(text, "ready\n") {
		p.t.Fatalf("/readyz: %q, %v", text, err)
	}
	return text
}

// ask gets a page of the admin listener, quickly.
func (p *program) ask(path string) (string, error) {
	client := &http.Client{Timeout: quickly, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + p.admin + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(text), err
}

// metric waits until the metrics have each of lines.
func (p *program) metric(lines ...string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("the metrics have %q", lines), func() error {
		text, err := p.ask("/metrics")
		for _, line := range lines {
			if err == nil && !strings.Contains(text, "\n"+line+"\n") {
				err = fmt.Errorf("they do not have %q", line)
			}
		}
		return err
	})
}

// faulty is a server that senders fetch from, while its machine gets worse and better.
type faulty struct {
	*program
	test   *testing.T
	e      *editor
	client *http.Client
	load   *senders
}

// startFaulty starts a server with a few domains, which all are served.
func startFaulty(t *testing.T, s *site, e *editor) *faulty {
	t.Helper()
	for _, f := range e.files {
		s.replace(f.name, e.next(f))
	}
	f := &faulty{program: s.start(), test: t, e: e}
	e.newest(t, f.program)
	f.saysNothing()
	f.client = f.program.client(true)
	f.client.Timeout = quickly
	f.load = e.senders(t, f.program, 1)
	return f
}

// edit edits a policy and waits until it is served.
func (f *faulty) edit() {
	f.t.Helper()
	file := f.e.files[0]
	f.site.replace(file.name, f.e.next(file))
	f.signal(syscall.SIGHUP)
	for _, domain := range file.domains {
		eventually(f.t, fmt.Sprintf("edit %d of %s is served", file.written, domain), func() error {
			n, _, err := f.e.fetch(f.client, domain)
			if err == nil && n != file.written {
				err = fmt.Errorf("edit %d", n)
			}
			return err
		})
	}
}

// fetched waits until senders have fetched some more.
func (f *faulty) fetched() {
	f.t.Helper()
	before := f.load.fetched.Load()
	eventually(f.t, "senders fetch on", func() error {
		if f.load.fetched.Load() < before+20 {
			return errors.New("they do not")
		}
		return nil
	})
}

// recorded checks by a restart that the last edit was recorded.
func (f *faulty) recorded() {
	f.t.Helper()
	f.load.expectEnd()
	f.kill()
	f.load.wait()
	file := f.e.files[0]
	f.site.replace(file.name, "[domains.\n")
	p := f.site.start()
	f.e.newest(f.test, p)
	p.stop()
}

// TestFaultReadOnly has the file system with the state become read-only.
func TestFaultReadOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := newEditor(s)
	e.add(3)
	disk := mountSmall(t, s)
	f := startFaulty(t, s, e)
	disk.remount(t, syscall.MS_RDONLY)
	// Nothing is to be written, and still it is found out.
	f.says("the ledger cannot be written: ledger: open ", "certificates cannot be stored, and none is ordered, since ")
	f.metric("mtasts_ledger_writable 0", "mtasts_certificates_storable 0")
	f.edit()
	f.says("the ledger cannot be written: ledger: open ")

	// A new host waits for its certificate until it can be stored.
	e.add(1)
	newcomer := e.files[1]
	s.replace(newcomer.name, e.next(newcomer))
	f.signal(syscall.SIGHUP)
	f.metric(`mtasts_certificates_hosts{state="pending"} 1`, `mtasts_certificates_orders_total{outcome="failed"} 0`)
	f.edit()
	f.fetched()

	disk.remount(t, 0)
	f.saysNothing()
	e.newest(t, f.program)
	f.metric("mtasts_ledger_writable 1", "mtasts_certificates_storable 1")
	f.recorded()
}

// TestFaultStorageHangs has the file system with the state stop to answer.
func TestFaultStorageHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := newEditor(s)
	e.add(3)
	disk := mountStalling(t, s.path("state"))
	f := startFaulty(t, s, e)
	disk.stall()
	f.edit()
	f.says("the ledger cannot be written: ledger: storage does not answer since ",
		"certificates cannot be stored, and none is ordered, since ",
		"storage does not answer since ")
	f.metric("mtasts_ledger_writable 0", "mtasts_certificates_storable 0", "mtasts_storage_answers 0")
	f.edit()
	f.fetched()

	disk.answer()
	f.saysNothing()
	f.metric("mtasts_ledger_writable 1", "mtasts_certificates_storable 1", "mtasts_storage_answers 1")
	f.edit()

	// A stop does not wait for it for ever.
	disk.stall()
	f.edit()
	f.says("the ledger cannot be written: ledger: storage does not answer since ")
	f.load.expectEnd()
	f.program.stop()
	f.load.wait()
	disk.answer()
	p := s.start()
	undamaged(t, p)
	e.newest(t, p)
	p.stop()
}

// TestFaultPoliciesHang has the file system with the policy files stop to answer.
func TestFaultPoliciesHang(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	disk := mountStalling(t, s.path("policies"))
	s.write("mtasts-server.toml", strings.Replace(siteConfig, "[log]", "[log]\nlevel = \"debug\"", 1))
	e := newEditor(s)
	e.add(3)
	f := startFaulty(t, s, e)
	disk.stall()
	f.signal(syscall.SIGHUP)
	f.says("storage does not answer since ")
	f.signal(syscall.SIGHUP)
	f.fetched()
	f.metric("mtasts_storage_answers 0", "mtasts_ledger_writable 1")

	disk.answer()
	f.saysNothing()
	f.edit()

	disk.stall()
	f.signal(syscall.SIGHUP)
	f.load.expectEnd()
	f.program.stop()
	f.load.wait()
}

// TestFaultCertificatesHang starts a server for which the certificates of some hosts
// cannot be read, as storage does not answer. Those who ask for them wait for nothing
// but their own answer.
func TestFaultCertificatesHang(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := newEditor(s)
	e.add(3)
	const cold = 100
	var text strings.Builder
	for i := range cold {
		text.WriteString(drillTable(fmt.Sprintf("cold%d.example", i), 1))
	}
	s.replace("policies/cold.toml", text.String())
	disk := mountStalling(t, s.path("state"))
	for _, f := range e.files {
		s.replace(f.name, e.next(f))
	}
	p := s.start()
	e.newest(t, p)
	p.metric(fmt.Sprintf(`mtasts_certificates_hosts{state="ok"} %d`, cold+3))
	p.stop()

	disk.hide("mta-sts.cold")
	p = s.start()
	for _, domain := range e.domains(true) { // before the others are asked for
		if _, _, err := e.fetch(p.client(false), domain); err != nil {
			t.Error(err)
		}
	}
	f := &faulty{program: p, test: t, e: e, client: p.client(true), load: e.senders(t, p, 1)}
	impatient := p.client(false)
	impatient.Timeout = quickly
	asked := make(chan error, cold)
	for i := range cold {
		go func() {
			_, err := getPolicy(impatient, fmt.Sprintf("cold%d.example", i))
			asked <- err
		}()
	}
	f.says("certificates cannot be read from storage: ")
	f.fetched()
	for range cold {
		if err := <-asked; err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("a host whose certificate cannot be read: %v", err)
		}
	}
	f.edit()

	disk.show()
	for i := range cold {
		domain := fmt.Sprintf("cold%d.example", i)
		eventually(t, domain+" is served", func() error {
			_, err := getPolicy(f.client, domain)
			return err
		})
	}
	f.saysNothing()
	f.load.wait()
	p.stop()
}

// TestFaultNoDescriptors has strangers, and the system, take the file descriptors away.
func TestFaultNoDescriptors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	e := newEditor(s)
	e.add(3)
	const files = 300
	s.wrapper = []string{"prlimit", fmt.Sprintf("--nofile=%d", files)}
	f := startFaulty(t, s, e)

	// Strangers get what there is, and leave enough for files.
	strangers := f.strangers(files)
	f.metric("mtasts_connections_open " + fmt.Sprint(files-128))
	f.edit()
	f.fetched()
	f.metric(`mtasts_accept_errors_total{listener="https"} 0`)
	f.saysNothing()
	f.load.wait()

	// The system takes most of that back. Now strangers make way when somebody comes.
	prlimit(f.program, "--nofile=60:")
	f.says("connections have to wait, last at ")
	for _, domain := range e.domains(false) {
		eventually(t, domain+" is served on", func() error {
			_, _, err := e.fetch(f.program.client(false), domain)
			return err
		})
	}

	// There are none at all: a reload reads nothing, and orders get no certificate.
	prlimit(f.program, "--nofile=3:")
	e.add(1)
	for _, file := range e.files {
		s.replace(file.name, e.next(file))
	}
	f.signal(syscall.SIGHUP)
	eventually(t, "the log says why", func() error {
		for _, line := range f.lines() {
			if strings.Contains(line, "ledger") && strings.Contains(line, "too many open files") {
				return nil
			}
		}
		return errors.New("it does not")
	})

	prlimit(f.program, fmt.Sprintf("--nofile=%d:", files))
	strangers.leave()
	e.newest(t, f.program)
	eventually(t, "nothing is amiss", func() error {
		text, err := f.ask("/readyz")
		if err == nil && strings.Contains(text, "amiss") {
			err = errors.New(text)
		}
		return err
	})
	f.program.stop()
}

// strangers connect, say nothing, and come again when they are sent away.
type strangers struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// strangers lets n of them come, from many addresses.
func (p *program) strangers(n int) *strangers {
	x := &strangers{stop: make(chan struct{})}
	for i := range n {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%250))}}
		x.wg.Go(func() {
			// One after the other: in a rush they could end who has just come.
			wait := time.After(time.Duration(i) * 10 * time.Millisecond)
			for {
				select {
				case <-x.stop:
					return
				case <-wait:
				}
				wait = time.After(time.Second)
				c, err := d.Dial("tcp", p.https)
				if err == nil {
					gone := make(chan struct{})
					go func() { _, _ = c.Read(make([]byte, 1)); close(gone) }()
					select {
					case <-gone:
					case <-x.stop:
					}
					c.Close()
					<-gone
				}
			}
		})
	}
	p.t.Cleanup(x.leave)
	return x
}

func (x *strangers) leave() {
	select {
	case <-x.stop:
	default:
		close(x.stop)
	}
	x.wg.Wait()
}
