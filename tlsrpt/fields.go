package tlsrpt

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// text reads a string. One that is wanted and not there is noted.
func (p *reportParser) text(o object, key, path string, wanted bool) string {
	raw, ok := o[key]
	var s string
	switch {
	case !ok:
		if wanted {
			p.note(NoteMissing, path)
		}
	case isNull(raw):
		p.note(NoteNull, path)
	case json.Unmarshal(raw, &s) != nil:
		p.note(NoteWrongType, path)
	default:
		return p.cut(s, path, maxText)
	}
	return ""
}

// cut bounds a text, at the start of a character, and rids it of U+0000.
func (p *reportParser) cut(s, path string, most int) string {
	if len(s) > most {
		p.note(NoteTooLong, path)
		s = bound(s, most)
	}
	if strings.Contains(s, "\x00") {
		p.note(NoteNUL, path)
		s = bound(strings.ReplaceAll(s, "\x00", "\uFFFD"), most)
	}
	return s
}

// lower bounds once more: some letters are longer in lower case.
func lower(s string) string { return bound(strings.ToLower(s), maxText) }

// bound cuts valid UTF-8 at the start of a character.
func bound(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// list reads an array of strings, also where it is one string, or an array in a string.
func (p *reportParser) list(o object, key, path string, most int) []string {
	raw, ok := o[key]
	if !ok {
		return nil
	}
	if isNull(raw) {
		p.note(NoteNull, path)
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		p.note(NoteTextForList, path)
		return p.inner(unjoin(one), path, most)
	}
	all, ok := p.array(raw, path, min(maxLines, maxAllLines-p.nLines))
	if !ok {
		p.note(NoteWrongType, path)
		return nil
	}
	var list []string
	for _, raw := range all {
		var s string
		if json.Unmarshal(raw, &s) != nil || isNull(raw) {
			p.note(NoteWrongType, path)
			continue
		}
		list = append(list, s)
	}
	return p.inner(list, path, most)
}

// unjoin takes apart what should have been an array: lines, or TLSA records with ";"
// between them. JSON in a string is for inner.
func unjoin(s string) []string {
	if strings.HasPrefix(strings.TrimSpace(s), "[") {
		return []string{s}
	}
	var list []string
	for part := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == ';' || c == '\n' }) {
		if part = strings.TrimSpace(part); part != "" && len(list) <= maxLines {
			list = append(list, part)
		}
	}
	return list
}

// inner undoes what one large reporter does to TLSA records: all of them as JSON, in one
// string.
func (p *reportParser) inner(list []string, path string, most int) []string {
	if len(list) == 1 && strings.HasPrefix(strings.TrimSpace(list[0]), "[") {
		var in []string
		if json.Unmarshal([]byte(list[0]), &in) == nil {
			p.note(NoteListInText, path)
			list = in
		}
	}
	if most := min(maxLines, maxAllLines-p.nLines); len(list) > most {
		p.note(NoteTooMany, path)
		list = list[:most]
	}
	p.nLines += len(list)
	for i, s := range list {
		list[i] = p.cut(s, path, most)
	}
	return list
}

// domain reads the policy domain, as it is written in DNS.
func (p *reportParser) domain(o object, path string) string {
	s := p.text(o, "policy-domain", path, false)
	if s == "" {
		p.note(NoteNoDomain, path)
		return ""
	}
	name := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(s), "."))
	if !isHostName(name) {
		p.note(NoteNoDomain, path)
		return ""
	}
	if name != s {
		p.note(NoteDomainForm, path)
	}
	return name
}

// isHostName reports whether s is made of labels as those of policy domains, in lower
// case.
func isHostName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// address reads an IP address. Some reporters leave it empty on purpose.
func (p *reportParser) address(o object, key, path string) string {
	s := strings.Trim(p.text(o, key, path, false), " []")
	if s == "" {
		return ""
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		p.note(NoteBadAddress, path)
		return ""
	}
	return addr.Unmap().String()
}

// count reads a number of sessions. One that is negative, or above what JSON holds
// exactly, makes the whole report useless: it would spoil every sum.
func (p *reportParser) count(o object, key, path string) int64 {
	raw, ok := o[key]
	if !ok {
		p.note(NoteMissing, path)
		return 0
	}
	if isNull(raw) {
		p.note(NoteNull, path)
		return 0
	}
	s := string(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil {
		p.note(NoteNumberForm, path)
		s = strings.TrimSpace(text)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != float64(int64(f)) {
			p.fail("bad-count", "%s is %s", path, clean(s, 60))
			return 0
		}
		p.note(NoteNumberForm, path)
		n, err = int64(f), nil
	}
	if err != nil || n < 0 || n > MaxSessions {
		p.fail("bad-count", "%s is %s", path, clean(s, 60))
		return 0
	}
	return n
}
