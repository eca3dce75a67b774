package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// Each gate between testing and enforce, on both sides of its boundary. Day 17 is the first
// on which 14 whole days have been waited for, three days each.
func TestGatesOfTesting(t *testing.T) {
	for _, c := range []struct {
		name     string
		gate     string
		at       float64 // days after start
		change   func(*rollout.Facts)
		passed   bool
		have     string
		earliest float64 // days after start; 0 for none
	}{
		{"14 windows", rollout.GateWindows, 17, nil, true, "14", 0},
		{"13 windows", rollout.GateWindows, 16.99, nil, false, "13", 17},
		{"a moment after midnight", rollout.GateWindows, 17, func(f *rollout.Facts) { f.Versions[0].From = start.Add(time.Second) }, false, "13", 18},
		{"the first day", rollout.GateWindows, 0, nil, false, "0", 17},

		{"7 active", rollout.GateSessions, 17, func(f *rollout.Facts) { quiet(f, 0, 2, 4, 6, 8, 10, 12) }, true, "7", 0},
		{"6 active", rollout.GateSessions, 17, func(f *rollout.Facts) { quiet(f, 0, 2, 4, 6, 8, 10, 12, 13) }, false, "6", 18},
		{"6 active, the oldest leaving", rollout.GateSessions, 17, func(f *rollout.Facts) { quiet(f, 6, 7, 8, 9, 10, 11, 12, 13) }, false, "6", 24},
		{"those that were not waited for do not count", rollout.GateSessions, 17, func(f *rollout.Facts) { quiet(f, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13) }, false, "0", 24},
		{"sessions that failed are none", rollout.GateSessions, 17, func(f *rollout.Facts) {
			for i := range f.Days {
				f.Days[i].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
			}
		}, false, "0", 24},
		{"sessions by nobody known are none", rollout.GateSessions, 17, func(f *rollout.Facts) {
			for i := range f.Days {
				f.Days[i].Authenticated, f.Days[i].Unauthenticated = rollout.Evidence{}, f.Days[i].Authenticated
			}
		}, false, "0", 24},

		{"2 reporters", rollout.GateReporters, 17, nil, true, "2", 0},
		{"1 reporter", rollout.GateReporters, 17, func(f *rollout.Facts) {
			for i := range f.Days {
				f.Days[i].Authenticated.Reporters = f.Days[i].Authenticated.Reporters[:1]
			}
		}, false, "1", 18},
		{"the second one on one day", rollout.GateReporters, 17, func(f *rollout.Facts) {
			for i := range f.Days[1:] {
				f.Days[i+1].Authenticated.Reporters = f.Days[i].Authenticated.Reporters[:1]
			}
		}, true, "2", 0},
		{"1 shows the policy", rollout.GateCurrent, 17, nil, true, "1", 0},
		{"none shows the policy", rollout.GateCurrent, 17, func(f *rollout.Facts) {
			for i := range f.Days {
				f.Days[i].Authenticated.Reporters[0].Current = false
			}
		}, false, "0", 18},
		{"one that showed it too late", rollout.GateCurrent, 17, func(f *rollout.Facts) {
			for i := range f.Days[:14] {
				f.Days[i].Authenticated.Reporters[0].Current = false
			}
		}, false, "0", 18},

		{"no failure", rollout.GateFailures, 17, nil, true, "0", 0},
		{"one failure", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, false, "1", 23},
		{"a failure of today counts at once", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[16].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, false, "1", 34},
		{"a failure 14 days ago", rollout.GateFailures, 30, func(f *rollout.Facts) {
			f.Days[13].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, false, "1", 31},
		{"a failure 15 days ago", rollout.GateFailures, 31, func(f *rollout.Facts) {
			f.Days[13].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, true, "0", 0},
		{"a failure before testing", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days = append(f.Days, rollout.Day{Date: start.Add(-day), Authenticated: failing(tlsrpt.ValidationFailure, tlsrpt.PolicySTS)})
		}, true, "0", 0},
		{"a resolved one", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
			f.Resolved = []rollout.Resolution{{Result: tlsrpt.CertificateExpired, Before: after(6), Note: "renewed"}}
		}, true, "0", 0},
		{"one after it was said to be resolved", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[6].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
			f.Resolved = []rollout.Resolution{{Result: tlsrpt.CertificateExpired, Before: after(6)}}
		}, false, "1", 24},
		{"another one than was resolved", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.CertificateNotTrusted, tlsrpt.PolicySTS)
			f.Resolved = []rollout.Resolution{{Result: tlsrpt.CertificateExpired, Before: after(6)}}
		}, false, "1", 23},
		{"one resolved ahead of time", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
			f.Resolved = []rollout.Resolution{{Before: after(100)}}
		}, false, "1", 23},
		{"of DANE", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicyTLSA)
			f.Days[6].Authenticated = failing(tlsrpt.TLSAInvalid, tlsrpt.PolicySTS)
		}, true, "0", 0},
		{"of our host, under any policy", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.STSPolicyFetchError, tlsrpt.PolicyNone)
		}, false, "1", 23},
		{"no STARTTLS, before the policy was seen", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing(tlsrpt.StartTLSNotSupported, tlsrpt.PolicyNone)
		}, false, "1", 23},
		{"of a new kind", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Authenticated = failing("quantum-computer", tlsrpt.PolicySTS)
		}, false, "1", 23},
		{"a forged one", rollout.GateFailures, 17, func(f *rollout.Facts) {
			f.Days[5].Unauthenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, true, "0", 0},
		{"a forged one holds", rollout.GateUnsigned, 17, func(f *rollout.Facts) {
			f.Days[5].Unauthenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, false, "1", 23},
		{"a forged one is acknowledged", rollout.GateUnsigned, 17, func(f *rollout.Facts) {
			f.Days[5].Unauthenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
			f.Resolved = []rollout.Resolution{{Before: after(17), Note: "forged"}}
		}, true, "0", 0},

		{"heard within 7 days", rollout.GateHeard, 16.99, func(f *rollout.Facts) { f.Days = f.Days[:10] }, true, "2026-03-10", 0},
		{"not heard for 7 days", rollout.GateHeard, 17, func(f *rollout.Facts) { f.Days = f.Days[:10] }, false, "2026-03-10", 0},
		{"never heard", rollout.GateHeard, 17, func(f *rollout.Facts) { f.Days = nil }, false, "never", 0},

		{"a look a day ago", rollout.GateCheck, 17, func(f *rollout.Facts) { f.Check.At = after(16) }, true, "green", 0},
		{"a look more than a day ago", rollout.GateCheck, 17, func(f *rollout.Facts) { f.Check.At = after(16).Add(-time.Second) }, false, "old", 0},
		{"a look tomorrow", rollout.GateCheck, 17, func(f *rollout.Facts) { f.Check.At = after(18) }, false, "old", 0},
		{"something is wrong", rollout.GateCheck, 17, func(f *rollout.Facts) {
			f.Check = rollout.Check{At: after(17), Findings: []string{"mx-cert-expired"}}
		}, false, "red", 0},
		{"no look", rollout.GateCheck, 17, func(f *rollout.Facts) { f.Check = rollout.Check{} }, false, "never", 0},

		{"MX as at the start", rollout.GateMXStable, 17, func(f *rollout.Facts) { f.MX[0].Since = start }, true, "2026-03-01", 0},
		{"MX of after the start", rollout.GateMXStable, 17, func(f *rollout.Facts) { f.MX[0].Since = start.Add(time.Second) }, false, "2026-03-01", 18},
		{"MX seen again", rollout.GateMXStable, 17, func(f *rollout.Facts) {
			f.MX = append(f.MX, rollout.MXSet{Since: after(9), Hosts: []string{"a.example.net", "mx1.example.org"}})
		}, true, "2026-01-30", 0},
		{"MX changed, and back", rollout.GateMXStable, 17, func(f *rollout.Facts) {
			f.MX = append(f.MX, rollout.MXSet{Since: after(9), Hosts: []string{"a.example.net"}}, rollout.MXSet{Since: after(10), Hosts: f.MX[0].Hosts})
		}, false, "2026-03-11", 27},
		{"no MX known", rollout.GateMXStable, 17, func(f *rollout.Facts) { f.MX = nil }, false, "unknown", 0},
		{"MX in the policy", rollout.GateMXAllowed, 17, nil, true, "2 of 2", 0},
		{"MX not in the policy", rollout.GateMXAllowed, 17, func(f *rollout.Facts) { f.MX[0].Hosts = []string{"mx1.example.org", "mx2.example.org"} }, false, "1 of 2", 0},
		{"MX two labels below", rollout.GateMXAllowed, 17, func(f *rollout.Facts) { f.MX[0].Hosts = []string{"a.b.example.net"} }, false, "0 of 1", 0},
		{"no MX known, allowed", rollout.GateMXAllowed, 17, func(f *rollout.Facts) { f.MX = nil }, false, "unknown", 0},
		{"the TLSRPT record is gone", rollout.GateTLSRPT, 17, func(f *rollout.Facts) { f.TLSRPTSince = time.Time{} }, false, "none", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := clean(served(mtasts.ModeTesting, day), after(c.at))
			if c.change != nil {
				c.change(&f)
			}
			v := rollout.Default().Judge(f, after(c.at))
			g := gate(t, v, c.gate)
			want := time.Time{}
			if c.earliest > 0 {
				want = after(c.earliest)
			}
			if g.Passed != c.passed || g.Have != c.have || !g.EarliestAt.Equal(want) {
				t.Errorf("have %+v, want passed %t with %s, earliest %s", g, c.passed, c.have, want)
			}
			if v.Ready && !g.Passed || v.Step != rollout.Testing || g.Want == "" || g.Evidence == "" {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestGatesBeforeTesting(t *testing.T) {
	now := after(1)
	for _, c := range []struct {
		name  string
		facts rollout.Facts
		open  []string
	}{
		{"nothing is known", rollout.Facts{}, []string{rollout.GateTLSRPT, rollout.GateCheck}},
		{"the record for a day", rollout.Facts{TLSRPTSince: start, Check: rollout.Check{At: now, OK: true}}, nil},
		{"the record for less", rollout.Facts{TLSRPTSince: start.Add(time.Second), Check: rollout.Check{At: now, OK: true}}, []string{rollout.GateTLSRPT}},
		{"something is wrong", rollout.Facts{TLSRPTSince: start, Check: rollout.Check{At: now}}, []string{rollout.GateCheck}},
	} {
		v := rollout.Default().Judge(c.facts, now)
		if !slices.Equal(open(v), c.open) || v.Ready != (c.open == nil) || v.Step != rollout.Announced {
			t.Errorf("%s: %+v", c.name, v)
		}
		if v.Next != (rollout.Next{Mode: mtasts.ModeTesting, MaxAge: day}) {
			t.Errorf("%s: next is %+v", c.name, v.Next)
		}
	}
}

// Under enforce each rung has its clean days, and three more for late reports.
func TestLadder(t *testing.T) {
	for _, c := range []struct {
		maxAge time.Duration
		days   float64 // until the next rung
		next   time.Duration
		step   rollout.Step
	}{
		{12 * time.Hour, 17, day, rollout.EnforceShort}, // as after testing
		{day, 10, 7 * day, rollout.EnforceShort},
		{7 * day, 31, 30 * day, rollout.EnforceShort},
		{14*day - time.Second, 31, 30 * day, rollout.EnforceShort},
		{14 * day, 31, 30 * day, rollout.EnforceLong},
		{30 * day, 0, 0, rollout.EnforceLong},
		{365 * day, 0, 0, rollout.EnforceLong},
	} {
		v := rollout.Default().Judge(clean(served(mtasts.ModeEnforce, c.maxAge), after(c.days)), after(c.days))
		if v.Ready != (c.next > 0) || v.Next.MaxAge != c.next || v.Step != c.step || len(v.Hold) > 0 || len(v.Alarms) > 0 {
			t.Errorf("%s: %+v", c.maxAge, v)
		}
		if c.next == 0 {
			continue
		}
		early := after(c.days).Add(-time.Second)
		v = rollout.Default().Judge(clean(served(mtasts.ModeEnforce, c.maxAge), early), early)
		if v.Ready || !v.NotBefore.Equal(after(c.days)) {
			t.Errorf("%s, a second early: %+v", c.maxAge, v)
		}
	}
}

// What counts as one time with the same policy.
func TestSince(t *testing.T) {
	was := func(mode mtasts.Mode, maxAge time.Duration, from, until float64, mx ...mtasts.MXPattern) rollout.Version {
		v := served(mode, maxAge)
		v.From, v.Until = after(from), after(until)
		if mx != nil {
			v.MX = mx
		}
		return v
	}
	now := func(mode mtasts.Mode, maxAge time.Duration) rollout.Version {
		v := served(mode, maxAge)
		v.From = after(10)
		return v
	}
	for _, c := range []struct {
		name string
		old  rollout.Version
		now  rollout.Version
		want float64
	}{
		{"testing, another max_age", was(mtasts.ModeTesting, 2*day, 0, 10), now(mtasts.ModeTesting, day), 0},
		{"a shorter max_age", was(mtasts.ModeEnforce, 7*day, 0, 10), now(mtasts.ModeEnforce, day), 0},
		{"the same again", was(mtasts.ModeEnforce, 7*day, 0, 10), now(mtasts.ModeEnforce, 7*day), 0},
		{"a longer max_age", was(mtasts.ModeEnforce, day, 0, 10), now(mtasts.ModeEnforce, 7*day), 10},
		{"from testing", was(mtasts.ModeTesting, 7*day, 0, 10), now(mtasts.ModeEnforce, 7*day), 10},
		{"back to testing", was(mtasts.ModeEnforce, 7*day, 0, 10), now(mtasts.ModeTesting, 7*day), 10},
		{"a break", was(mtasts.ModeTesting, day, 0, 9), now(mtasts.ModeTesting, day), 10},
		{"other MX patterns", was(mtasts.ModeTesting, day, 0, 10, "mx1.example.org"), now(mtasts.ModeTesting, day), 10},
		{"the same in another order", was(mtasts.ModeTesting, day, 0, 10, "*.example.net", "mx1.example.org"), now(mtasts.ModeTesting, day), 0},
	} {
		f := clean(c.now, after(12))
		f.Versions = []rollout.Version{c.old, c.now}
		if v := rollout.Default().Judge(f, after(12)); !v.Since.Equal(after(c.want)) {
			t.Errorf("%s: since %s", c.name, v.Since)
		}
	}
}

func TestHoldAndAlarm(t *testing.T) {
	for _, c := range []struct {
		name                   string
		change                 func(*rollout.Facts)
		hold, testing, enforce []string // held by, and alarms of
	}{
		{"all is well", func(*rollout.Facts) {}, nil, nil, nil},
		{"silence", func(f *rollout.Facts) { f.Days = nil }, []string{rollout.GateHeard}, nil, []string{rollout.GateHeard}},
		{"the checker is red", func(f *rollout.Facts) { f.Check.OK = false }, []string{rollout.GateCheck}, nil, []string{rollout.GateCheck}},
		{"nobody looked", func(f *rollout.Facts) { f.Check = rollout.Check{} }, []string{rollout.GateCheck}, nil, nil},
		{"failures", func(f *rollout.Facts) {
			f.Days[39].Authenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, []string{rollout.GateFailures}, nil, []string{rollout.GateFailures}},
		{"forged ones", func(f *rollout.Facts) {
			f.Days[39].Unauthenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
		}, []string{rollout.GateUnsigned}, nil, []string{rollout.GateUnsigned}},
		{"another MX", func(f *rollout.Facts) {
			f.MX = append(f.MX, rollout.MXSet{Since: after(39), Hosts: []string{"b.example.net"}})
		}, []string{rollout.GateMXStable}, nil, nil},
		{"an MX that is not allowed", func(f *rollout.Facts) {
			f.MX = append(f.MX, rollout.MXSet{Since: after(39), Hosts: []string{"mx.example.com"}})
		}, []string{rollout.GateMXStable, rollout.GateMXAllowed}, nil, []string{rollout.GateMXAllowed}},
		{"a TLSRPT record since an hour", func(f *rollout.Facts) { f.TLSRPTSince = after(40).Add(-time.Hour) }, nil, nil, nil},
		{"no TLSRPT record", func(f *rollout.Facts) { f.TLSRPTSince = time.Time{} }, []string{rollout.GateTLSRPT}, nil, nil},
	} {
		for mode, alarms := range map[mtasts.Mode][]string{mtasts.ModeTesting: c.testing, mtasts.ModeEnforce: c.enforce} {
			f := clean(served(mode, 30*day), after(40))
			c.change(&f)
			v := rollout.Default().Judge(f, after(40))
			if !slices.Equal(codes(v.Hold), c.hold) || !slices.Equal(codes(v.Alarms), alarms) {
				t.Errorf("%s, %s: hold %+v, alarms %+v", c.name, mode, v.Hold, v.Alarms)
			}
		}
	}
}

// Forged failures that do not hold are told of all the same.
func TestForgedFailuresMayPass(t *testing.T) {
	g := rollout.Default()
	g.UnauthenticatedHolds = false
	f := clean(served(mtasts.ModeEnforce, day), after(10))
	f.Days[5].Unauthenticated = failing(tlsrpt.CertificateExpired, tlsrpt.PolicySTS)
	v := g.Judge(f, after(10))
	if !v.Ready || len(v.Hold) > 0 || !slices.Equal(codes(v.Alarms), []string{rollout.GateUnsigned}) {
		t.Errorf("%+v", v)
	}
}

// The policy of yesterday, which senders still enforce, does not allow the MX of today.
func TestDriftFromAnOldPolicy(t *testing.T) {
	old := served(mtasts.ModeEnforce, 7*day)
	old.Until = after(20)
	now := served(mtasts.ModeTesting, day)
	now.MX, now.From = []mtasts.MXPattern{"mx.example.com"}, after(20)
	for at, want := range map[float64]int{26.9: 1, 27: 0} {
		f := clean(now, after(at))
		f.Versions = []rollout.Version{old, now}
		f.MX = []rollout.MXSet{{Since: start, Hosts: []string{"mx.example.com"}}}
		if v := rollout.Default().Judge(f, after(at)); len(v.Alarms) != want {
			t.Errorf("after %v days: %+v", at, v.Alarms)
		}
	}
}

// Who follows ids has forgotten the policy of yesterday by the day that plan-mx names.
func TestFollowed(t *testing.T) {
	old := served(mtasts.ModeEnforce, 7*day)
	old.Until = after(20)
	now := served(mtasts.ModeEnforce, 7*day)
	now.MX, now.From = append(now.MX, "mx.example.com"), after(20)
	for at, want := range map[float64]bool{20.5: false, 21: false, 21.05: true} {
		f := clean(now, after(at))
		f.Versions = []rollout.Version{old, now}
		f.MX = []rollout.MXSet{{Since: after(20), Hosts: []string{"mx.example.com"}}}
		if got := rollout.Default().Followed(f, after(at)); got != want {
			t.Errorf("after %v days: %t", at, got)
		}
		if v := rollout.Default().Judge(f, after(at)); !slices.Contains(codes(v.Alarms), rollout.GateMXAllowed) {
			t.Errorf("after %v days nobody is told: %+v", at, v.Alarms)
		}
	}
	f := clean(now, after(40))
	f.MX = []rollout.MXSet{{Since: after(20), Hosts: []string{"mx.elsewhere.example"}}}
	if rollout.Default().Followed(f, after(40)) {
		t.Error("what the policy of now does not allow is no matter of time")
	}
}

// Silence counts from when reports are kept: before that nobody could have heard.
func TestSilenceBeforeReportsAreKept(t *testing.T) {
	for since, want := range map[float64]bool{33.5: false, 33: true, 0: true} {
		f := clean(served(mtasts.ModeEnforce, 30*day), after(40))
		f.Days, f.ReportsSince = nil, after(since)
		v := rollout.Default().Judge(f, after(40))
		if got := slices.Contains(codes(v.Alarms), rollout.GateHeard); got != want {
			t.Errorf("reports are kept since day %v: alarms %+v", since, v.Alarms)
		}
	}
	f := clean(served(mtasts.ModeTesting, day), after(40))
	f.Days, f.ReportsSince = nil, after(39)
	if v := rollout.Default().Judge(f, after(40)); v.Ready {
		t.Error("silence opens a gate")
	}
}

func TestStrangersWordsAreBounded(t *testing.T) {
	f := clean(served(mtasts.ModeTesting, day), after(17))
	f.Check = rollout.Check{At: after(17), Findings: []string{"<script>", "a\nb"}}
	f.MX[0].Hosts = []string{"x\x1b[31m.example", "1.example", "2.example", "3.example", "4.example", "5.example"}
	f.Days[3].Authenticated.Failures = []rollout.Failure{{Result: "<script>\n", Sessions: 1 << 62}, {Result: "<b>", Sessions: 1 << 62}, {Result: "<i>", Sessions: 1 << 62}}
	for n := range 1000 {
		f.Days[4].Authenticated.Reporters = append(f.Days[4].Authenticated.Reporters, rollout.Reporter{Domain: fmt.Sprintf("%d.example", n)})
	}
	for _, g := range rollout.Default().Judge(f, after(17)).Gates {
		if len(g.Evidence) > 600 || slices.ContainsFunc([]rune(g.Evidence), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%s: %q", g.Name, g.Evidence)
		}
		if g.Name == rollout.GateFailures && (g.Passed || g.Have[0] == '-') {
			t.Errorf("%+v", g)
		}
	}
}

func TestNumbers(t *testing.T) {
	if err := rollout.Default().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*rollout.Gates){
		"no windows":            func(g *rollout.Gates) { g.Windows = 0 },
		"too many windows":      func(g *rollout.Gates) { g.Windows = 367 },
		"more active than all":  func(g *rollout.Gates) { g.ActiveWindows = 15 },
		"more current than all": func(g *rollout.Gates) { g.CurrentReporters = 3 },
		"no ladder":             func(g *rollout.Gates) { g.Ladder = nil },
		"a ladder down":         func(g *rollout.Gates) { g.Ladder[1].MaxAge = day },
		"a rung without days":   func(g *rollout.Gates) { g.Ladder[1].Clean = 0 },
		"a max_age over a year": func(g *rollout.Gates) { g.Ladder[2].MaxAge = 366 * day },
		"a lag before":          func(g *rollout.Gates) { g.Lag = -1 },
		"no silence":            func(g *rollout.Gates) { g.Silence = 0 },
		"no age of a check":     func(g *rollout.Gates) { g.CheckAge = 0 },
		"a queue of years":      func(g *rollout.Gates) { g.Queue = 1000 * day },
	} {
		g := rollout.Default()
		if change(&g); g.Validate() == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
