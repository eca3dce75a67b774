package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"mtasts-server/mtasts"
)

const (
	// maxFileSize bounds one file. A hundred thousand domains, each with all its
	// fields, come to about 30 MiB.
	maxFileSize = 64 << 20

	// maxFiles bounds how many policy files are read: more than one for each of a
	// hundred thousand domains is a mistaken pattern.
	maxFiles = 200_000

	// settle is how long a file must have been left alone before an edit of it is
	// believed: a file that is written in pieces can be valid TOML in between.
	settle = 300 * time.Millisecond
)

// Snapshot is what all files together say at one moment. It is never changed.
type Snapshot struct {
	Settings Settings
	Domains  []*Domain         // valid ones, each once, in the order of files and keys
	Refused  map[string]string // domain -> what is wrong with its configuration
	Broken   map[string]string // file -> why none of its domains can be known
	Problems []Problem         // sorted by place
	Files    int               // policy files that the patterns matched
	Profiles map[string]string // profile -> file that defines it, "" if built in
}

// Loader reads the configuration again and again, each time only the files that
// changed. Its methods must not be called at the same time.
type Loader struct {
	main   string // absolute
	advise bool
	now    func() time.Time

	settings *Settings // of the last main file without errors
	good     []byte    // its text
	shared   globals   // [defaults] and profiles of that main file
	mainSeen content
	mainErrs []Problem
	files    map[string]*loaded
	last     globals // what the files were resolved with

	snap      *Snapshot // of the last Load
	dirty     bool      // something is not as it was for snap
	listErrs  []Problem
	unsettled bool
}

// loaded is a policy file as last read.
type loaded struct {
	content
	profiles map[string]fields
	claims   []claim // of the last content that was TOML
	resolved
	problems []Problem
	broken   string
	file     *policyFile // between reading and resolving only
	touched  bool        // the last read found something new
}

// claim is a domain that a file names.
type claim struct{ name, key string }

// LoaderOptions are the options of NewLoader.
type LoaderOptions struct {
	Advise bool             // to advise a person: report warnings too, go on after errors in the main file, believe files that are just being written
	Now    func() time.Time // nil for time.Now
}

// NewLoader returns a Loader for the main file at path.
func NewLoader(path string, o LoaderOptions) (*Loader, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("configuration %q: %w", path, err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Loader{main: abs, advise: o.Advise, now: o.Now, files: make(map[string]*loaded)}, nil
}

// Settings reads the main file alone.
func (l *Loader) Settings() (s Settings, ok bool) {
	l.loadMain()
	if l.settings == nil {
		return s, false
	}
	return *l.settings, true
}

// Load reads what changed since the last Load and returns what the files say now:
// the same Snapshot as before if that is the same. A main file with errors leaves
// the settings, defaults and profiles of the last good one in force; if there
// never was one, ok is false and only Problems count.
func (l *Loader) Load() (snap *Snapshot, ok bool) {
	l.dirty, l.unsettled = l.snap == nil, false
	l.loadMain()
	if l.settings == nil {
		return &Snapshot{Problems: l.mainErrs}, false
	}
	changed := l.readChanged(l.list())
	if !l.dirty {
		return l.snap, true
	}
	snap = &Snapshot{Settings: *l.settings, Files: len(l.files), Refused: make(map[string]string), Broken: make(map[string]string)}
	snap.Problems = slices.Concat(l.mainErrs, l.listErrs)
	if g := l.gather(snap); !reflect.DeepEqual(g, l.last) {
		l.last = g
		changed = append(changed, l.rest()...)
	}
	l.forEach(changed, func(path string) { l.files[path].resolve(&l.last, path, l.advise) })
	l.combine(snap)
	sortProblems(snap.Problems)
	l.snap = snap
	return snap, true
}

// Unsettled reports whether the last Load left out a file because it is just being
// written; wait is how long to wait before loading again.
func (l *Loader) Unsettled() (wait time.Duration, yes bool) { return settle, l.unsettled }

// loadMain reads the main file if it changed.
func (l *Loader) loadMain() {
	seen, err := stampOf(l.main)
	switch {
	case err == nil && l.mainSeen.same(seen):
		return
	case err == nil && l.settings != nil && l.fresh(seen):
		l.unsettled = true
		return
	}
	before := l.mainErrs
	defer func() { l.dirty = l.dirty || !reflect.DeepEqual(before, l.mainErrs) }()
	src := &source{name: show(l.main)}
	read, text, err := readContent(l.main, l.now())
	if err == nil && read.hash == l.mainSeen.hash {
		l.mainSeen = read
		return
	}
	l.mainSeen, src.text = read, text
	if err != nil {
		l.mainErrs = []Problem{{File: src.name, Severity: mtasts.Error, Message: "reading the main file: " + reason(err), Fix: "name it with --config FILE"}}
		l.recall(nil)
		return
	}
	settings, shared, ok := l.parseMain(src)
	l.mainErrs = src.problems
	if !ok {
		l.recall(text)
		return
	}
	l.settings, l.shared, l.dirty, l.good = settings, shared, true, text
}

func isError(p Problem) bool { return p.Severity == mtasts.Error }

// list returns the policy files that the patterns match, sorted, each once.
func (l *Loader) list() []string {
	var paths []string
	var problems []Problem
	for _, pattern := range l.settings.Policies {
		found, err := filepath.Glob(pattern)
		if err == nil && len(found) == 0 {
			problems = append(problems, Problem{
				File: show(l.main), Severity: mtasts.Warning, Key: "policies",
				Message: fmt.Sprintf("policies: no file matches %q", show(pattern)), Fix: "write a policy file, or mend the pattern",
			})
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == l.main })
	if len(paths) > maxFiles {
		problems = append(problems, Problem{
			File: show(l.main), Severity: mtasts.Error, Key: "policies",
			Message: fmt.Sprintf("policies: the patterns match %d files, at most %d are read", len(paths), maxFiles), Fix: "put more domains into each file",
		})
		paths = paths[:maxFiles]
	}
	l.dirty = l.dirty || !reflect.DeepEqual(problems, l.listErrs)
	l.listErrs = problems
	return paths
}

// readChanged drops files that are gone, reads those that are new or changed, and
// returns the paths of those with another content than before.
func (l *Loader) readChanged(paths []string) []string {
	present := make(map[string]bool, len(paths))
	var look []string
	for _, path := range paths {
		present[path] = true
		old := l.files[path]
		seen, err := stampOf(path)
		switch {
		case err == nil && old != nil && old.same(seen):
		case err == nil && l.fresh(seen) && l.snap != nil:
			l.unsettled = true
		case old == nil:
			l.files[path] = &loaded{}
			look = append(look, path)
		default: // read says what is wrong
			look = append(look, path)
		}
	}
	for path := range l.files {
		if !present[path] {
			delete(l.files, path)
			l.dirty = true
		}
	}
	changed := l.read(look, false)
	l.dirty = l.dirty || slices.ContainsFunc(look, func(path string) bool { return l.files[path].touched })
	return changed
}

// fresh reports whether a file may still be being written.
func (l *Loader) fresh(s stamp) bool {
	age := l.now().Sub(time.Unix(0, s.modified))
	return !l.advise && age >= 0 && age < settle
}

// rest reads the files that were not read just now, except those that are just being
// written: they keep what they had until they are quiet.
func (l *Loader) rest() []string {
	var paths []string
	for _, path := range sortedKeys(l.files) {
		f := l.files[path]
		if seen, err := stampOf(path); f.file != nil || err == nil && !f.same(seen) && l.fresh(seen) && l.snap != nil {
			continue
		}
		paths = append(paths, path)
	}
	return l.read(paths, true)
}

// read reads and checks files side by side, and returns the paths of those to
// resolve. Without force a file whose content is what it was is left as it is.
func (l *Loader) read(paths []string, force bool) []string {
	l.forEach(paths, func(path string) { l.files[path].read(path, show(path), l.now(), force) })
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return l.files[path].file == nil })
}

func (l *Loader) forEach(paths []string, do func(path string)) {
	var eg errgroup.Group
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, path := range paths {
		eg.Go(func() error { do(path); return nil })
	}
	_ = eg.Wait() // none of them fails
}

// read reads one file. What cannot be read or is not TOML leaves the claims of
// the last good content, so that no other file takes its domains unnoticed.
func (f *loaded) read(path, name string, now time.Time, force bool) {
	c, text, err := readContent(path, now)
	f.touched = force || c.hash != f.hash || err != nil && f.broken != "reading: "+reason(err)
	f.content = c
	if !f.touched {
		return
	}
	f.problems, f.broken, f.file, f.resolved = nil, "", nil, resolved{}
	fail := func(ps ...Problem) {
		f.problems = ps
		f.broken = ps[slices.IndexFunc(ps, isError)].Message
		// Its profiles have no meaning now, but they exist: whoever uses one is
		// refused, and does not fall back to another of that name.
		for name := range f.profiles {
			f.profiles[name] = fields{failed: true}
		}
	}
	if err != nil {
		fail(Problem{File: name, Severity: mtasts.Error, Message: "reading: " + reason(err), Fix: "make the file readable for the server"})
		return
	}
	src := &source{name: name, text: text}
	pf, ok := readPolicyFile(src)
	if !ok {
		fail(src.problems...)
		return
	}
	if pf.failed {
		// A table that is not understood may be the defaults of all others.
		fail(src.problems...)
		f.claim(pf)
		return
	}
	f.file, f.profiles = pf, pf.profiles
	f.claims = f.claims[:0:0]
	f.claim(pf)
}

// claim notes the domains that the file names, each mention of them. What was claimed
// before and is not understood now stays claimed.
func (f *loaded) claim(pf *policyFile) {
	before := make(map[string]bool, len(f.claims))
	for _, c := range f.claims {
		before[c.name] = true
	}
	add := func(name, key string) {
		if name != "" && !before[name] {
			f.claims = append(f.claims, claim{name, key})
		}
	}
	for _, d := range pf.domains {
		add(d.name, d.key)
		for _, a := range d.aliases {
			add(a, d.key)
		}
	}
}

// resolve turns the tables into domains, and lets go of the text.
func (f *loaded) resolve(g *globals, path string, advise bool) {
	if f.file == nil {
		return
	}
	f.resolved = g.resolve(f.file, path, advise)
	f.problems = f.file.src.problems
	f.file = nil
}

// reason is an I/O error without the path, which the problem names already.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
