package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The policies of the drills carry a number in each of their fields. A body tells of
// itself which edit it comes from, and that it is not made of two of them.

const drillAge = 86_400

func drillMX(domain string, n int) [3]string {
	return [3]string{
		fmt.Sprintf("a%d.mx.%s", n, domain),
		fmt.Sprintf("b%d.mx.%s", n, domain),
		fmt.Sprintf("c%d.mx.%s", n, domain),
	}
}

// drillBody is the policy as it must be served.
func drillBody(domain string, n int) string {
	mx := drillMX(domain, n)
	return fmt.Sprintf("version: STSv1\r\nmode: enforce\r\nmx: %s\r\nmx: %s\r\nmx: %s\r\nmax_age: %d\r\n", mx[0], mx[1], mx[2], drillAge+n)
}

// drillTable is the policy as a file has it. What it cannot do without comes last, so
// that no piece of it is a valid policy.
func drillTable(domain string, n int) string {
	mx := drillMX(domain, n)
	return fmt.Sprintf("[domains.%q]\nmax_age = %d\nmode = \"enforce\"\nmx = [%q, %q, %q]\n", domain, drillAge+n, mx[0], mx[1], mx[2])
}

var drillMaxAge = regexp.MustCompile(`max_age: ([0-9]+)\r\n$`)

// drillNumber is the number of a body, which must be the whole and pure policy of it.
func drillNumber(domain, body string) (int, error) {
	m := drillMaxAge.FindStringSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("%s is served %q", domain, body)
	}
	age, err := strconv.Atoi(m[1])
	if err != nil || body != drillBody(domain, age-drillAge) {
		return 0, fmt.Errorf("%s is served a mixture: %q", domain, body)
	}
	return age - drillAge, nil
}

// drillFile is a policy file that is edited again and again.
type drillFile struct {
	name    string
	domains []string
	written int // number of the newest edit; 0 for none
}

func (f *drillFile) text(n int) string {
	var b strings.Builder
	for _, domain := range f.domains {
		b.WriteString(drillTable(domain, n))
	}
	return b.String()
}

// editor edits the policy files of a site in every way that people and their tools have,
// also in the bad ones.
type editor struct {
	s *site

	mu      sync.Mutex
	files   []*drillFile
	begun   map[string]int // by domain: number of the newest edit that was begun
	seen    map[string]int // by domain: the newest that was seen served
	edits   int
	process *os.Process // to be told of edits by SIGHUP, now and then
}

func newEditor(s *site) *editor {
	if err := os.MkdirAll(s.path("policies"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return &editor{s: s, begun: make(map[string]int), seen: make(map[string]int)}
}

// add begins a file with domains.
func (e *editor) add(domains int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := &drillFile{name: fmt.Sprintf("policies/f%d.toml", len(e.files))}
	for i := range domains {
		f.domains = append(f.domains, fmt.Sprintf("d%d.f%d.example", i, len(e.files)))
	}
	e.files = append(e.files, f)
}

// next begins an edit of f and returns its text.
func (e *editor) next(f *drillFile) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.written++
	e.edits++
	for _, domain := range f.domains {
		e.begun[domain] = f.written
	}
	return f.text(f.written)
}

// run edits until stop is closed, and leaves every file whole.
func (e *editor) run(stop <-chan struct{}) {
	newcomers := time.Tick(150 * time.Millisecond)
	for {
		select {
		case <-stop:
			for _, f := range e.files {
				e.s.replace(f.name, e.next(f))
			}
			return
		case <-newcomers:
			e.add(1)
		case <-time.After(rand.N(50 * time.Millisecond)):
		}
		e.mu.Lock()
		f := e.files[rand.N(len(e.files))]
		if e.files[len(e.files)-1].written == 0 {
			f = e.files[len(e.files)-1]
		}
		process := e.process
		e.mu.Unlock()
		e.edit(f)
		if process != nil && rand.N(3) == 0 {
			_ = process.Signal(syscall.SIGHUP) // it may be dead already
		}
	}
}

// edit makes one edit, in a way chosen by chance.
func (e *editor) edit(f *drillFile) {
	path := e.s.path(f.name)
	pause := func() { time.Sleep(rand.N(20 * time.Millisecond)) }
	switch rand.N(6) {
	case 0: // in place at once
		e.s.write(f.name, e.next(f))
	case 1: // in place, in pieces
		e.pieces(path, e.next(f), pause)
	case 2: // away, and back again as it was
		aside := path + ".aside"
		if os.Rename(path, aside) == nil {
			pause()
			e.must(os.Rename(aside, path))
		}
	case 3: // broken, then gone, then good
		e.s.write(f.name, "[domains.\n")
		pause()
		e.must(os.Remove(path))
		pause()
		e.s.replace(f.name, e.next(f))
	default: // by a rename
		e.s.replace(f.name, e.next(f))
	}
}

func (e *editor) pieces(path, text string, pause func()) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	e.must(err)
	for text != "" {
		n := min(len(text), 1+rand.N(120))
		_, err := f.WriteString(text[:n])
		e.must(err)
		text = text[n:]
		pause()
	}
	e.must(f.Close())
}

// must is for file operations of the test, in a goroutine of its own.
func (e *editor) must(err error) {
	if err != nil {
		panic(err)
	}
}

// domains lists all that were seen served, or all there are.
func (e *editor) domains(all bool) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, f := range e.files {
		for _, domain := range f.domains {
			if all && e.begun[domain] > 0 || e.seen[domain] > 0 {
				names = append(names, domain)
			}
		}
	}
	return names
}

// fetch gets the policy of a domain. It must be one of those that the editor wrote, and
// none that is older than one seen before. known tells whether there was one.
func (e *editor) fetch(c *http.Client, domain string) (n int, known bool, err error) {
	e.mu.Lock()
	seen := e.seen[domain]
	e.mu.Unlock()
	body, err := getPolicy(c, domain)
	if err != nil {
		return 0, seen > 0, fmt.Errorf("%s, which was served edit %d: %w", domain, seen, err)
	}
	if n, err = drillNumber(domain, body); err != nil {
		return 0, true, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case n < seen:
		return n, true, fmt.Errorf("%s is served edit %d, after edit %d", domain, n, seen)
	case n > e.begun[domain]:
		return n, true, fmt.Errorf("%s is served edit %d, which nobody wrote", domain, n)
	}
	e.seen[domain] = max(n, e.seen[domain])
	return n, true, nil
}

// newest waits until every domain is served as it was last written.
func (e *editor) newest(t *testing.T, p *program) {
	t.Helper()
	client := p.client(true)
	for _, domain := range e.domains(true) {
		e.mu.Lock()
		want := e.begun[domain]
		e.mu.Unlock()
		eventually(t, fmt.Sprintf("%s is served edit %d", domain, want), func() error {
			n, _, err := e.fetch(client, domain)
			if err == nil && n != want {
				err = fmt.Errorf("edit %d", n)
			}
			return err
		})
	}
}

// changes waits until a directory tree changes, or a while has passed. It is for killing
// a process while it writes.
func changes(patterns ...string) {
	look := func() string {
		var b strings.Builder
		for _, pattern := range patterns {
			paths, _ := filepath.Glob(pattern) // the patterns are good
			for _, path := range paths {
				if fi, err := os.Stat(path); err == nil {
					fmt.Fprintln(&b, path, fi.Size(), fi.ModTime().UnixNano())
				}
			}
		}
		return b.String()
	}
	first := look()
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline) && look() == first; {
		time.Sleep(50 * time.Microsecond)
	}
}
