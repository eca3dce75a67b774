package dnsrecords

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mtasts-server/mtasts"
)

// ExportOptions say what zone files hold.
type ExportOptions struct {
	TTL    time.Duration
	Target []string // where policy hosts lead to; empty: their records are left out
	Zone   string   // below which the names are, for domains that delegate; "" for their own
}

// exportHead is the first line of each file.
const exportHead = "; Written by mtasts-server, and written anew at each change: for $INCLUDE, not for editing.\n"

// WriteZoneFile writes the records of all sets to the file at path, names in full. The file
// is replaced in one step, and left alone where it would be the same.
func WriteZoneFile(path string, sets iter.Seq[Set], o ExportOptions) error {
	return replace(path, func(w io.Writer) error {
		for s := range sets {
			if err := writeSet(w, s, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// WriteDomainFile writes the records of one domain to its file in dir, domain.zone. A
// domain that announces nothing has an empty one: whoever includes it must find it.
func WriteDomainFile(dir, domain string, set Set, announced bool, o ExportOptions) error {
	if name, err := mtasts.ParseDomain(domain); err != nil || name != domain {
		return fmt.Errorf("domain %q names no file", domain)
	}
	return replace(filepath.Join(dir, domain+".zone"), func(w io.Writer) error {
		if !announced {
			return nil
		}
		return writeSet(w, set, o)
	})
}

func writeSet(w io.Writer, s Set, o ExportOptions) error {
	for _, r := range Wanted(s, o.Target, o.TTL) {
		if o.Zone != "" {
			r.Name += "." + o.Zone
		}
		if _, err := fmt.Fprintln(w, r); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file in one step that survives a crash. What is there already is left
// as it is: after a start that is each of 100,000 files.
func replace(path string, write func(io.Writer) error) (err error) {
	text := bytes.NewBufferString(exportHead)
	if err := write(text); err != nil {
		return err
	}
	if same(path, text.Bytes()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// A name that stays the same: what a crash leaves behind is written over.
	name := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	_ = os.Remove(name)
	tmp, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(text.Bytes())
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	_ = dir.Sync() // some file systems cannot
	return nil
}

// same reports whether the file at path has that text.
func same(path string, text []byte) bool {
	if fi, err := os.Stat(path); err != nil || fi.Size() != int64(len(text)) {
		return false
	}
	there, err := os.ReadFile(path)
	return err == nil && bytes.Equal(there, text)
}

// WrittenDomains lists the domains that WriteDomainFile has written a file for in dir.
func WrittenDomains(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // then there is none
	}
	var domains []string
	for _, e := range entries {
		domain, ok := strings.CutSuffix(e.Name(), ".zone")
		if ok && isWritten(filepath.Join(dir, e.Name())) {
			domains = append(domains, domain)
		}
	}
	return domains
}

// isWritten reports whether the file at path begins as ours do.
func isWritten(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(exportHead))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == exportHead
}
