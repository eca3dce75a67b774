package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"mtasts-server/mtasts"
)

// source is the text of one TOML file while it is read: it collects problems and
// knows where each key stands.
type source struct {
	name     string // as shown to people
	text     []byte
	pos      *positions // made when the first problem needs it
	lines    []int      // where each line begins, likewise
	located  int        // problems whose place was looked for
	problems []Problem
}

// parse reads the file as a tree. If it is not TOML, that is its one problem.
func (s *source) parse() (root *table, ok bool) {
	if line := tooDeep(s.text); line > 0 {
		s.problems = append(s.problems, Problem{
			File: s.name, Line: line, Column: 1, Severity: mtasts.Error,
			Message: fmt.Sprintf("nested more than %d levels deep", maxDepth), Fix: "mend the brackets or the dotted key in this line",
		})
		return nil, false
	}
	tree := make(map[string]any)
	if _, err := toml.Decode(string(s.text), &tree); err != nil {
		p := Problem{File: s.name, Severity: mtasts.Error, Rule: "TOML 1.0", Message: "not TOML: " + err.Error()}
		if pe, isParse := errors.AsType[toml.ParseError](err); isParse {
			p.Line, p.Column = pe.Position.Line, max(pe.Position.Col, 1)
			p.Message = "not TOML: " + pe.Message
			p.Fix = pe.Usage
			if strings.Contains(pe.Message, "already been defined") {
				p.Fix = "write each table and key once; a domain is named once in all files"
			}
		}
		p.Fix = cmp.Or(firstLine(p.Fix), "mend the syntax at this place")
		s.problems = append(s.problems, p)
		return nil, false
	}
	return &table{src: s, values: tree}, true
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// report adds a problem about the key at path; element, if not empty, is the
// text of one array element, which is then pointed at instead of the key.
func (s *source) report(p Problem, path []string, element string) {
	p.File = s.name
	if len(path) > 0 && p.Line == 0 {
		p.Line, p.Column = s.position(path, element)
		p.Key = toml.Key(path).String()
	}
	s.problems = append(s.problems, p)
}

// maxLocated is how many problems of a file are told with their place. The decoder takes
// the whole text apart to tell one, and a mistake in a profile may be one of 30,000
// domains.
const maxLocated = 500

// maxArray is how far an element of an array is looked for, to point at it.
const maxArray = 64 << 10

// position returns where the key at path has its value, or where the element of
// its array stands.
func (s *source) position(path []string, element string) (line, column int) {
	if s.located++; s.located > maxLocated {
		return 0, 0
	}
	if s.pos == nil {
		s.pos = newPositions(s.text)
	}
	at := s.pos.find(path)
	if at.Line == 0 {
		return 0, 0
	}
	// The decoder points behind the bracket of a table and the quote of a string.
	start := min(s.lineOffset(at.Line)+max(at.Col, 1)-1, len(s.text))
	for start > 0 && bytes.IndexByte([]byte(`"'[`), s.text[start-1]) >= 0 {
		start--
	}
	for _, q := range []string{`"` + element + `"`, `'` + element + `'`} {
		if i := bytes.Index(s.text[start:min(len(s.text), start+maxArray)], []byte(q)); element != "" && i >= 0 {
			start += i
			break
		}
	}
	return s.lineColumn(start)
}

// lineColumn counts both from 1.
func (s *source) lineColumn(offset int) (line, column int) {
	s.indexLines()
	line, found := slices.BinarySearch(s.lines, offset)
	if !found {
		line--
	}
	return line + 1, offset - s.lines[line] + 1
}

// lineOffset returns where a line, counted from 1, begins.
func (s *source) lineOffset(line int) int {
	s.indexLines()
	return s.lines[min(max(line, 1), len(s.lines))-1]
}

// indexLines notes once where lines begin: a file may have a problem on each.
func (s *source) indexLines() {
	if s.lines != nil {
		return
	}
	s.lines = []int{0}
	for i, c := range s.text {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
}

// positions finds out where keys stand. BurntSushi/toml tells a position only in
// an error, so the text is decoded once more, into Primitives, and the wanted one
// is then decoded into a value that always fails.
type positions struct {
	md   toml.MetaData
	maps map[string]map[string]toml.Primitive // by the path above, dotted
}

func newPositions(text []byte) *positions {
	root := make(map[string]toml.Primitive)
	md, err := toml.Decode(string(text), &root)
	if err != nil {
		root = nil // it was broken meanwhile: no key is anywhere
	}
	return &positions{md: md, maps: map[string]map[string]toml.Primitive{"": root}}
}

// find returns where the key at path has its value. A table that exists only by
// the tables below it is where the first of them is.
func (p *positions) find(path []string) toml.Position {
	prim, ok := p.table(path[:len(path)-1])[path[len(path)-1]]
	if !ok {
		return toml.Position{}
	}
	err := p.md.PrimitiveDecode(prim, &failing{})
	if pe, ok := errors.AsType[toml.ParseError](err); ok && pe.Position.Line > 0 {
		return pe.Position
	}
	var first toml.Position
	for _, key := range sortedKeys(p.table(path)) {
		at := p.find(append(slices.Clip(path), key))
		if at.Line > 0 && (first.Line == 0 || at.Line < first.Line) {
			first = at
		}
	}
	return first
}

func (p *positions) table(path []string) map[string]toml.Primitive {
	key := toml.Key(path).String()
	if len(path) == 0 {
		key = ""
	}
	if m, ok := p.maps[key]; ok {
		return m
	}
	if prim, ok := p.table(path[:len(path)-1])[path[len(path)-1]]; ok {
		m := make(map[string]toml.Primitive)
		if p.md.PrimitiveDecode(prim, &m) == nil {
			p.maps[key] = m
			return m
		}
	}
	return nil
}

// failing is decoded into only to learn a position from the error.
type failing struct{}

func (*failing) UnmarshalTOML(any) error { return errors.New("position") }

// table is one TOML table while it is read. Each key that is asked for counts as
// known; what was never asked for is reported by unknown.
type table struct {
	src    *source
	path   []string
	values map[string]any
	known  []string
	domain string // for problems: the policy domain that this table is about
	failed bool   // an error was reported
	whole  bool   // it is one of an array of tables: problems are shown where that begins
}

func (t *table) key(name string) []string {
	if t.whole {
		return t.path
	}
	return append(slices.Clip(t.path), name)
}

// errorf reports an error about one key ("" for the table itself).
func (t *table) errorf(name, rule, fix, format string, args ...any) {
	t.report(name, "", Problem{Severity: mtasts.Error, Rule: rule, Fix: fix, Message: fmt.Sprintf(format, args...)})
}

func (t *table) report(name, element string, p Problem) {
	path := t.path
	if name != "" {
		path = t.key(name)
	}
	if p.Severity == mtasts.Error {
		t.failed = true
	}
	p.Domain = t.domain
	t.src.report(p, path, element)
}

func (t *table) get(name string) (any, bool) {
	t.known = append(t.known, name)
	v, ok := t.values[name]
	return v, ok
}

func (t *table) string(name, example string) (string, bool) {
	return scalar[string](t, name, "a string", example)
}

func (t *table) bool(name string) (bool, bool) { return scalar[bool](t, name, "true or false", "true") }

func (t *table) int(name, example string) (int64, bool) {
	return scalar[int64](t, name, "a whole number", example)
}

func scalar[T any](t *table, name, want, example string) (T, bool) {
	v, ok := t.get(name)
	if !ok {
		var zero T
		return zero, false
	}
	x, ok := v.(T)
	if !ok {
		t.errorf(name, "", fmt.Sprintf("write %s = %s", name, example), "%s is %s, want %s", name, kind(v), want)
	}
	return x, ok
}

// strings reads an array of strings; present tells an empty array from none.
func (t *table) strings(name, example string) (list []string, present bool) {
	v, ok := t.get(name)
	if !ok {
		return nil, false
	}
	fix := fmt.Sprintf("write %s = [%s]", name, example)
	array, ok := v.([]any)
	if !ok {
		t.errorf(name, "", fix, "%s is %s, want an array of strings", name, kind(v))
		return nil, false
	}
	list = make([]string, 0, len(array))
	for i, e := range array {
		s, ok := e.(string)
		if !ok {
			t.errorf(name, "", fix, "%s[%d] is %s, want a string", name, i, kind(e))
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// sub opens a table below this one; nil where there is none.
func (t *table) sub(name string) *table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		t.errorf(name, "", fmt.Sprintf("write [%s]", toml.Key(t.key(name))), "%s is %s, want a table", name, kind(v))
		return nil
	}
	return &table{src: t.src, path: t.key(name), values: m, domain: t.domain}
}

// unknown reports every key that was never asked for.
func (t *table) unknown() {
	for _, name := range sortedKeys(t.values) {
		if slices.Contains(t.known, name) {
			continue
		}
		fix := "remove it; possible here: " + strings.Join(t.known, ", ")
		if near := nearest(name, t.known); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		t.errorf(name, "", fix, "unknown key %q", name)
	}
}

func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a point"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// nearest returns the known word that is at most two edits away from name.
func nearest(name string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
