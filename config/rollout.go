package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mtasts-server/tlsrpt"
)

// Rollout says how far the server has a say in how policies tighten.
type Rollout struct {
	Guard   Guard
	Percent int // of the domains with Plan.Auto that take a step in a day, at most; one at least
}

// Guard is what becomes of an edit to enforce that lacks its evidence.
type Guard string

// The guards.
const (
	GuardOff    Guard = "off"
	GuardWarn   Guard = "warn"   // it is served, and told of
	GuardRefuse Guard = "refuse" // the policy before is served on
)

// Plan is how a domain comes from testing to a long enforce. Domains share it.
type Plan struct {
	Auto  bool // the server takes the steps by itself; the table says how far
	Gates Gates
}

// Gates are the numbers of a Plan; nil and zero where the advised ones hold.
type Gates struct {
	Windows, ActiveWindows, Reporters, CurrentReporters *int
	Ladder                                              []Rung
	Lag, Silence, TLSRPTLive, CheckAge                  *time.Duration
	Refresh, Queue                                      *time.Duration
	UnauthenticatedHolds                                *bool
}

// Rung is one max_age of enforce, and how many clean days the one before takes.
type Rung struct {
	MaxAge time.Duration
	Clean  int
}

// Care is what somebody said of one domain, for a time.
type Care struct {
	Override *Override // of the guard
	Resolved []Resolved
	Silences []Silence
}

// Override lets an edit through that lacks its evidence.
type Override struct {
	Reason, Author string
	Until          time.Time
}

// Resolved says that failures in reports are understood and mended.
type Resolved struct {
	Result string // "" for any
	Before time.Time
	Note   string
}

// Silence has findings of the review not told of until then.
type Silence struct {
	Code, Subject  string // "" for any
	Reason, Author string
	Until          time.Time
}

var guards = []string{string(GuardOff), string(GuardWarn), string(GuardRefuse)}

func readRollout(t *table) Rollout {
	r := Rollout{Guard: GuardWarn, Percent: 5}
	if t == nil {
		return r
	}
	if s, ok := t.string("guard", `"refuse"`); ok {
		t.oneOf("guard", s, guards)
		r.Guard = Guard(s)
	}
	if n, ok := t.int("percent_a_day", "5"); ok {
		if n < 1 || n > 100 {
			t.errorf("percent_a_day", "", "write percent_a_day = 5", "percent_a_day: %d is out of range, 1 to 100", n)
		}
		r.Percent = int(n)
	}
	t.unknown()
	return r
}

// readPlan reads rollout of a domain, a profile or defaults; nil where it is not there.
func readPlan(t *table) *Plan {
	r := t.sub("rollout")
	if r == nil {
		return nil
	}
	p := &Plan{}
	p.Auto, _ = r.bool("auto")
	g := &p.Gates
	for _, f := range []struct {
		name string
		to   **int
	}{{"windows", &g.Windows}, {"active_windows", &g.ActiveWindows}, {"reporters", &g.Reporters}, {"current_reporters", &g.CurrentReporters}} {
		if n, ok := r.int(f.name, "14"); ok {
			if n < 0 || n > mostDays {
				r.errorf(f.name, "", "write "+f.name+" = 14", "%s: %d is out of range, 0 to %d", f.name, n, mostDays)
			}
			v := int(n)
			*f.to = &v
		}
	}
	for _, f := range []struct {
		name string
		to   **time.Duration
	}{
		{"lag", &g.Lag}, {"silence", &g.Silence}, {"tlsrpt_live", &g.TLSRPTLive}, {"check_age", &g.CheckAge}, {"refresh", &g.Refresh}, {"queue", &g.Queue},
	} {
		if d, ok := r.duration(f.name, "3d"); ok {
			if d < 0 || d > mostDays*day {
				r.errorf(f.name, "", "write "+f.name+` = "3d"`, "%s: %s is out of range, nothing to a year", f.name, d)
			}
			*f.to = &d
		}
	}
	if b, ok := r.bool("unauthenticated_holds"); ok {
		g.UnauthenticatedHolds = &b
	}
	for _, rung := range r.tables("ladder") {
		age, _ := rung.duration("max_age", "1d")
		clean, _ := rung.int("clean", "7")
		g.Ladder = append(g.Ladder, Rung{age, int(clean)})
		rung.unknown()
		r.failed = r.failed || rung.failed
	}
	r.unknown()
	if key, why := g.misfit(); key != "" && !r.failed {
		r.errorf(key, "", "leave it out for the advised number, or see docs/rollout.md", "%s", why)
	}
	t.failed = t.failed || r.failed
	return p
}

// readCare reads what is said of a domain for a time; nil for nothing.
func readCare(t *table) *Care {
	var c Care
	if o := t.sub("override"); o != nil {
		c.Override = &Override{}
		c.Override.Reason, c.Override.Author, c.Override.Until = readWord(o)
		o.unknown()
		t.failed = t.failed || o.failed
	}
	for _, r := range t.tables("resolved") {
		var x Resolved
		x.Result, _ = r.text("result", `"certificate-expired"`)
		if x.Result != "" && !tlsrpt.ResultType(x.Result).Known() {
			var known []string
			for _, k := range tlsrpt.ResultTypes() {
				known = append(known, string(k))
			}
			r.oneOf("result", x.Result, known)
		}
		x.Note, _ = r.text("note", `"the certificate was renewed"`)
		if end := r.date("before", true); !end.IsZero() {
			x.Before = end.AddDate(0, 0, -1) // the start of that day: its own failures are none of these
		}
		if x.Note == "" {
			r.errorf("", "", `write note = "what was done about them"`, "resolved has no note")
		}
		r.unknown()
		t.failed = t.failed || r.failed
		c.Resolved = append(c.Resolved, x)
	}
	for _, s := range t.tables("silence") {
		var x Silence
		x.Code, _ = s.text("code", `"mx-unmatched"`)
		x.Subject, _ = s.text("subject", `"mx1.example.com"`)
		x.Reason, x.Author, x.Until = readWord(s)
		s.unknown()
		t.failed = t.failed || s.failed
		c.Silences = append(c.Silences, x)
	}
	if c.Override == nil && c.Resolved == nil && c.Silences == nil {
		return nil
	}
	return &c
}

// readWord reads why something is so for a time, who says so, and until when.
func readWord(t *table) (why, author string, until time.Time) {
	why, _ = t.text("reason", `"why it is right all the same"`)
	author, _ = t.text("author", `"who says so"`)
	until = t.date("until", true)
	if strings.TrimSpace(why) == "" || strings.TrimSpace(author) == "" {
		t.errorf("", "", `write { reason = "...", author = "...", until = "2026-12-31" }`, "%s needs reason and author", t.path[len(t.path)-1])
	}
	return why, author, until
}

// date reads a day, as a TOML date or a string. It ends with the day, UTC.
func (t *table) date(name string, required bool) time.Time {
	v, ok := t.get(name)
	if !ok {
		if required {
			t.errorf("", "", fmt.Sprintf(`write %s = "2026-12-31"`, name), "%s has no %s", t.path[len(t.path)-1], name)
		}
		return time.Time{}
	}
	at, ok := v.(time.Time)
	if s, text := v.(string); text {
		var err error
		at, err = time.Parse(time.DateOnly, s)
		ok = err == nil
	}
	if !ok {
		t.errorf(name, "", fmt.Sprintf(`write %s = "2026-12-31"`, name), "%s is no day", name)
		return time.Time{}
	}
	return time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, time.UTC)
}

// tables reads an array of tables.
func (t *table) tables(name string) []*table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	var list []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		list = v
	case []any:
		for _, e := range v {
			m, ok := e.(map[string]any)
			if !ok {
				list = nil
				break
			}
			list = append(list, m)
		}
	}
	if list == nil {
		t.errorf(name, "", "write an array of tables: "+name+" = [{ ... }]", "%s is %s, want an array of tables", name, kind(v))
		return nil
	}
	tables := make([]*table, len(list))
	for i, m := range list {
		// Problems of its keys are shown where the array begins: positions inside are not known.
		tables[i] = &table{src: t.src, path: slices.Clone(t.key(name)), values: m, domain: t.domain, whole: true}
	}
	return tables
}

// text reads a string, and lets go of the file that it is a part of.
func (t *table) text(name, example string) (string, bool) {
	s, ok := t.string(name, example)
	return strings.Clone(s), ok
}
