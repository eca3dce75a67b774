package certs

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxFiles bounds what is read: a pair for each of 100,000 hosts, and some.
	maxFiles = 500_000

	// maxDirs bounds what is offered to be watched; whoever has more directories
	// than this waits for the poll.
	maxDirs = 4096
)

// files is a directory of PEM files that somebody else keeps fresh, as certbot or
// a Kubernetes secret. How the files are called and spread means nothing:
// certificate and key belong together when their public keys are the same, and a
// certificate is for the hosts that it names.
type files struct {
	dir    string
	log    *slog.Logger
	now    func() time.Time
	shared *interner

	reading sync.Mutex          // held while the disk is waited for
	read    map[string]*pemFile // by path
	said    map[string]string   // by path: what was logged last

	mu       sync.Mutex // never held while the disk is waited for
	dirs     []string
	pairs    map[string][]*pair // by name in the certificate: "mta-sts.example.com", "*.example.com"
	keyless  map[string]string  // the same for certificates whose key is missing: their path
	problems map[string]string  // by host
}

// pair is a certificate with its key, and where it was found.
type pair struct {
	*certificate
	path string
}

// openFiles reads dir. One that is not there, as it is not mounted yet, is read when
// it is.
func openFiles(dir string, log *slog.Logger, now func() time.Time) *files {
	f := &files{dir: dir, log: log, now: now, shared: newInterner(), read: map[string]*pemFile{}, said: map[string]string{}}
	f.reload()
	return f
}

// reload reads what changed in the directory. A file that cannot be used is told
// once, and costs nothing but itself.
func (f *files) reload() {
	f.reading.Lock()
	defer f.reading.Unlock()
	read := make(map[string]*pemFile, len(f.read))
	dirs := []string{f.dir}
	var fresh []newFile
	seen := 0
	root, err := filepath.EvalSymlinks(f.dir) // which WalkDir would not follow
	if err != nil {
		root = f.dir
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			f.warn(path, err)
			return nil
		case strings.HasPrefix(d.Name(), ".") && path != root:
			// Kubernetes' ..data and its kin are reached by the links beside
			// them; editors and writers hide what is not ready.
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			if path != root && len(dirs) < maxDirs {
				dirs = append(dirs, path)
			}
			return nil
		}
		info, err := os.Stat(path) // through links, as certbot's
		if err != nil || !info.Mode().IsRegular() {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				f.warn(path, err)
			}
			return nil
		}
		if seen++; seen > maxFiles {
			return fmt.Errorf("more than %d files: those after %q are not read", maxFiles, path)
		}
		old := f.read[path]
		if old != nil && old.unchanged(info) {
			read[path] = old
			return nil
		}
		fresh = append(fresh, newFile{path, info})
		return nil
	})
	if err != nil {
		f.warn(f.dir, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirs = dirs
	for i, file := range f.readAll(fresh) {
		path := fresh[i].path
		read[path] = file
		if file.err != nil {
			f.warn(path, file.err)
		} else {
			delete(f.said, path)
		}
	}
	if len(fresh) == 0 && len(read) == len(f.read) && f.pairs != nil {
		return
	}
	f.read = read
	f.match()
}

// newFile is one to read.
type newFile struct {
	path string
	info os.FileInfo
}

// readAll reads files side by side: a start with 100,000 is bound by processors.
func (f *files) readAll(fresh []newFile) []*pemFile {
	read := make([]*pemFile, len(fresh))
	now := f.now()
	var eg errgroup.Group
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range fresh {
		eg.Go(func() error {
			read[i] = readPEM(file.path, file.info, now, f.shared)
			return nil
		})
	}
	_ = eg.Wait() // none of them fails
	return read
}

// warn logs what is wrong with a file, once for each kind of trouble.
func (f *files) warn(path string, err error) {
	if text := errorText(err); f.said[path] != text {
		f.said[path] = text
		f.log.Warn("a certificate file is not usable", "file", path, "err", text)
	}
}

// match finds the key of each certificate.
func (f *files) match() {
	keys := make(map[publicKey]privateKey, len(f.read))
	for _, file := range f.read {
		for _, key := range file.keys {
			keys[key.pub] = key.privateKey
		}
	}
	f.pairs, f.keyless = make(map[string][]*pair, len(f.read)), map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(f.read)) {
		cert := f.read[path].cert
		if cert == nil || f.read[path].err != nil {
			continue
		}
		var p *pair
		if key, ok := keys[cert.pub]; ok {
			if !cert.hasKey() { // else it may be handed out already
				with := *cert.certificate
				with.key = key
				cert.certificate = &with
			}
			p = &pair{cert.certificate, path}
		}
		for _, name := range cert.names {
			if p == nil {
				f.keyless[name] = path
			} else {
				f.pairs[name] = append(f.pairs[name], p)
			}
		}
	}
}

// issuerName is how the certificate's issuer calls itself. It is from outside.
func issuerName(leaf *x509.Certificate) string {
	return errorText(errors.New(cmp.Or(leaf.Issuer.CommonName, strings.Join(leaf.Issuer.Organization, " "), leaf.Issuer.String())))
}

// pick gives each host of t the best certificate for it. Where the files have none
// that is good now, a host keeps what it has.
func (f *files) pick(t table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	problems := map[string]string{}
	for host, s := range t {
		cur := s.cert.Load()
		best := f.best(host, now)
		usable := best != nil && !best.expired(now) && !best.notBefore().After(now)
		if best != nil && (usable || cur == nil || cur.expired(now)) {
			s.cert.Store(best.certificate)
		}
		s.looked.Store(true)
		if !usable {
			problems[host] = f.explain(host, best, cur, now)
			if f.problems[host] != problems[host] {
				f.log.Warn("no good certificate file for a host", "host", host, "err", problems[host])
			}
		}
	}
	f.problems = problems
}

// best is the pair to use for host, nil for none: one that is valid now before one
// that is not, the youngest before others, and the one with the longer chain where
// there are several copies.
func (f *files) best(host string, now time.Time) *pair {
	var best *pair
	rank := func(p *pair) int {
		if p.expired(now) || p.notBefore().After(now) {
			return 0
		}
		return 1
	}
	_, parent, _ := strings.Cut(host, ".")
	for _, name := range []string{host, "*." + parent} {
		for _, p := range f.pairs[name] {
			if best == nil || cmp.Or(cmp.Compare(rank(p), rank(best)), p.notBefore().Compare(best.notBefore()), len(p.authority.chain)-len(best.authority.chain)) > 0 {
				best = p
			}
		}
	}
	return best
}

// explain says why host has no good certificate in the files.
func (f *files) explain(host string, best *pair, cur *certificate, now time.Time) string {
	var why string
	_, parent, _ := strings.Cut(host, ".")
	switch {
	case best != nil && best.expired(now):
		why = fmt.Sprintf("the certificate in %q expired on %s", best.path, best.notAfter().UTC().Format(time.RFC3339))
	case best != nil:
		why = fmt.Sprintf("the certificate in %q is not valid before %s", best.path, best.notBefore().UTC().Format(time.RFC3339))
	case f.keyless[host] != "" || f.keyless["*."+parent] != "":
		why = fmt.Sprintf("no file has the private key of the certificate in %q", cmp.Or(f.keyless[host], f.keyless["*."+parent]))
	default:
		why = fmt.Sprintf("no certificate below %q names %q or %q", f.dir, host, "*."+parent)
	}
	if cur != nil && !cur.expired(now) {
		why += "; the one in use stays"
	}
	return why
}

// problem is what is wrong with host's files, "" for nothing.
func (f *files) problem(host string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problems[host]
}

// Reload reads the directory of the source files again, where it changed. For other
// sources it does nothing.
func (m *Manager) Reload() {
	if m.files == nil {
		return
	}
	m.files.reload()
	m.repick(context.Background())
}

// repick gives each host the certificate that is best now.
func (m *Manager) repick(context.Context) {
	m.manage.Lock()
	defer m.manage.Unlock()
	m.files.pick(*m.hosts.Load())
}

// WatchDirs lists the directories whose changes call for a Reload.
func (m *Manager) WatchDirs() []string {
	if m.files == nil {
		return nil
	}
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	return slices.Clone(m.files.dirs)
}
