package mtasts

import (
	"errors"
	"fmt"
	"strings"
)

// Record is the TXT record at _mta-sts.<domain> that announces a policy (RFC 8461 §3.1).
type Record struct {
	ID         string  // 1 to 32 letters and digits
	Extensions []Field // unknown fields, in the order written; never printed
}

// String prints the record as it is published.
func (r Record) String() string { return "v=" + Version + "; id=" + r.ID + ";" }

// What a look-up may yield instead of one record. With either, a sender "MUST
// assume the recipient domain does not have an available MTA-STS Policy" (RFC 8461 §3.1).
var (
	ErrNoRecord        = errors.New("no TXT record begins with \"v=STSv1;\"")
	ErrMultipleRecords = errors.New("more than one TXT record begins with \"v=STSv1;\"")
)

// SelectRecord finds the record among all TXT records at _mta-sts.<domain>, each
// with its strings joined: those that do not begin with "v=STSv1;" are discarded,
// and exactly one must be left (RFC 8461 §3.1).
func SelectRecord(txts []string) (Record, error) {
	found := ""
	for _, txt := range txts {
		if !strings.HasPrefix(txt, "v="+Version+";") {
			continue
		}
		if found != "" {
			return Record{}, ErrMultipleRecords
		}
		found = txt
	}
	if found == "" {
		return Record{}, ErrNoRecord
	}
	return ParseRecord(found)
}

// ParseRecord reads one TXT record, its strings joined. Unknown fields are kept
// in Extensions; of two fields of a name the first one counts.
func ParseRecord(txt string) (Record, error) {
	rest, ok := strings.CutPrefix(txt, "v="+Version)
	fields := strings.Split(rest, ";")
	if !ok || strings.Trim(fields[0], " \t") != "" {
		return Record{}, fmt.Errorf("record %s: does not begin with \"v=STSv1;\"", quote(txt))
	}
	fields = fields[1:]
	if n := len(fields); n > 0 && strings.Trim(fields[n-1], " \t") == "" {
		fields = fields[:n-1] // the final delimiter is optional
	}
	var r Record
	for _, f := range fields {
		name, value, ok := strings.Cut(strings.Trim(f, " \t"), "=")
		switch {
		case !ok || !isFieldName(name) || !isRecordValue(value):
			return Record{}, fmt.Errorf("record %s: want \"name=value\", have %s", quote(txt), quote(f))
		case name != "id":
			r.Extensions = append(r.Extensions, Field{name, value})
		case r.ID != "": // "all entries except for the first SHALL be ignored" (§3.2)
		case !isID(value):
			return Record{}, fmt.Errorf("record %s: id %s is not 1 to 32 letters and digits", quote(txt), quote(value))
		default:
			r.ID = value
		}
	}
	if r.ID == "" {
		return Record{}, fmt.Errorf("record %s: has no id", quote(txt))
	}
	return r, nil
}

func isID(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 32
}

// isRecordValue checks 1*(%x21-3A / %x3C / %x3E-7E): visible, without "=" and ";".
func isRecordValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == ';' || c == '=' {
			return false
		}
	}
	return s != ""
}
