package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"mtasts-server/mtasts"
)

// lastGood is the copy of the main file in the state directory.
const lastGood = "main-file-last-good.toml"

// stateLine finds the state directory in a main file that cannot be read otherwise.
var stateLine = regexp.MustCompile(`(?m)^[ \t]*state[ \t]*=[ \t]*["']([^"'\n]+)["']`)

// defaultState is where state is kept unless the main file says otherwise.
const defaultState = "/var/lib/mtasts-server"

// parseMain reads the main file's text. ok is false where it has errors, unless the
// Loader advises a person.
func (l *Loader) parseMain(src *source) (settings *Settings, g globals, ok bool) {
	root, ok := src.parse()
	if !ok {
		return nil, g, false
	}
	s := readSettings(l.main, root)
	var profiles map[string]fields
	g.defaults, profiles = readShared(root)
	if _, has := root.values["domains"]; has {
		root.get("domains")
		root.errorf("domains", "", "move the table to a policy file, such as policies/example.com.toml", "domains stand in policy files, not in the main file")
	}
	root.unknown()
	if slices.ContainsFunc(src.problems, isError) && !l.advise {
		return nil, g, false
	}
	g.profiles = make(map[string]profile)
	for name, f := range profiles {
		g.profiles[name] = profile{fields: f, file: src.name}
	}
	return &s, g, true
}

// recall takes the last good main file, as Remember kept it, in place of one that has
// errors at a start: all policies that it published would be off the air otherwise.
func (l *Loader) recall(broken []byte) {
	if l.settings != nil || l.advise {
		return
	}
	state := defaultState
	if m := stateLine.FindSubmatch(broken); m != nil {
		state = string(m[1])
	}
	path := filepath.Join(absolute(filepath.Dir(l.main), state), lastGood)
	_, text, err := readContent(path, l.now())
	if err != nil {
		return
	}
	settings, shared, ok := l.parseMain(&source{name: show(path), text: text})
	if !ok {
		return
	}
	l.settings, l.shared, l.dirty, l.good = settings, shared, true, text
	l.mainErrs = append(l.mainErrs, Problem{
		File: show(l.main), Severity: mtasts.Error,
		Message: fmt.Sprintf("until it is mended, the last good main file is in force: %s", show(path)), Fix: "mend the errors above",
	})
}

// MainText returns the text of the main file that is in force, nil for none.
func (l *Loader) MainText() []byte { return l.good }

// Remember keeps the text of a good main file in the state directory, readable for the
// owner only, as it may hold the key of an account.
func Remember(state string, text []byte) error {
	path := filepath.Join(state, lastGood)
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a copy of the main file: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("keeping a copy of the main file: %w", err)
	}
	return nil
}
