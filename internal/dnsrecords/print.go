package dnsrecords

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Sheet is what is printed of one domain.
type Sheet struct {
	Domain  string
	Records []Record
	Notes   []string // on records that are not there yet: why, and what comes next
}

// Forms are the ways to print sheets.
var Forms = []string{"zone", "dnscontrol", "octodns"}

// Print writes sheets in one of Forms.
func Print(w io.Writer, form string, sheets []Sheet) error {
	print, ok := map[string]func(Sheet) string{"zone": zoneLines, "dnscontrol": dnsControl, "octodns": octoDNS}[form]
	if !ok {
		return fmt.Errorf("form %q is none of %s", form, strings.Join(Forms, ", "))
	}
	for i, sheet := range sheets {
		if text := print(sheet); text != "" {
			if i > 0 {
				text = "\n" + text
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// String is the record as a line of a master file (RFC 1035 §5.1).
func (r Record) String() string {
	return fmt.Sprintf("%s. %d IN %s %s", r.Name, int(r.TTL.Seconds()), r.Type, r.rdata())
}

// zoneLines is for master files, each name in full.
func zoneLines(s Sheet) string {
	var b strings.Builder
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "; %s\n", note)
	}
	for _, r := range s.Records {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// dnsControl is for DNSControl (dnscontrol.org), where it adds to the domain's zone.
func dnsControl(s Sheet) string {
	var b strings.Builder
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "// %s\n", note)
	}
	fmt.Fprintf(&b, "D_EXTEND(%s", flow(s.Domain))
	for _, r := range s.Records {
		value := r.Value
		if r.Type == "CNAME" {
			value += "."
		}
		args := flow(cmp.Or(r.relative(s.Domain), "@")) + ", "
		if tag, caa, ok := r.caa(); ok {
			args += flow(tag) + ", " + flow(caa)
		} else {
			args += flow(value)
		}
		fmt.Fprintf(&b, ",\n  %s(%s, TTL(%d))", r.Type, args, int(r.TTL.Seconds()))
	}
	b.WriteString(");\n")
	return b.String()
}

// caa splits the value of a CAA record of ours: 0 issue "ca.example".
func (r Record) caa() (tag, value string, ok bool) {
	fields := strings.Fields(r.Value)
	if r.Type != "CAA" || len(fields) != 3 {
		return "", "", false
	}
	return fields[1], strings.Trim(fields[2], `"`), true
}

// octoDNS is for octoDNS's YAML, to be merged into the zone's file. What stands behind a
// name is written in the part of YAML that is JSON.
func octoDNS(s Sheet) string {
	type set struct {
		TTL    int    `json:"ttl"`
		Type   string `json:"type"`
		Value  any    `json:"value,omitempty"`
		Values []any  `json:"values,omitempty"`
	}
	sets := map[string][]*set{}
	var names []string
	for _, r := range s.Records {
		name := r.relative(s.Domain)
		if sets[name] == nil {
			names = append(names, name)
		}
		i := slices.IndexFunc(sets[name], func(o *set) bool { return o.Type == r.Type })
		if i < 0 {
			i = len(sets[name])
			sets[name] = append(sets[name], &set{TTL: int(r.TTL.Seconds()), Type: r.Type})
		}
		if o := sets[name][i]; r.Type == "CNAME" {
			o.Value = octoValue(r)
		} else {
			o.Values = append(o.Values, octoValue(r))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", s.Domain)
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "# %s\n", note)
	}
	for _, name := range names {
		var value any = sets[name]
		if len(sets[name]) == 1 {
			value = sets[name][0]
		}
		fmt.Fprintf(&b, "%s: %s\n", flow(name), flow(value))
	}
	return b.String()
}

// octoValue escapes ";", as octoDNS wants.
func octoValue(r Record) any {
	if tag, value, ok := r.caa(); ok {
		return map[string]any{"flags": 0, "tag": tag, "value": value}
	}
	if r.Type == "CNAME" {
		return r.Value + "."
	}
	return strings.ReplaceAll(r.Value, ";", `\;`)
}

// flow is v as JSON.
func flow(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // what stands here always can be
		panic(err)
	}
	return string(text)
}

// relative is the name below domain, "" for domain itself.
func (r Record) relative(domain string) string {
	if r.Name == domain {
		return ""
	}
	return strings.TrimSuffix(r.Name, "."+domain)
}
