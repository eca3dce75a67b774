package rollout_test

import (
	"testing"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

const day = 24 * time.Hour

// start is the day on which testing begins, or enforce.
var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func after(days float64) time.Time { return start.Add(time.Duration(days * float64(day))) }

func served(mode mtasts.Mode, maxAge time.Duration) rollout.Version {
	return rollout.Version{ID: "id", Mode: mode, MaxAge: maxAge, MX: []mtasts.MXPattern{"mx1.example.org", "*.example.net"}, From: start}
}

// clean is a domain for which all goes well from start until the given time.
func clean(v rollout.Version, now time.Time) rollout.Facts {
	f := rollout.Facts{
		Versions:    []rollout.Version{v},
		Check:       rollout.Check{At: now, OK: true},
		MX:          []rollout.MXSet{{Since: start.Add(-30 * day), Hosts: []string{"mx1.example.org", "a.example.net"}}},
		TLSRPTSince: start.Add(-30 * day),
		RecordTTL:   time.Hour, MXTTL: time.Hour,
	}
	for date := start; date.Before(now); date = date.Add(day) {
		f.Days = append(f.Days, good(date))
	}
	return f
}

// good is a day as one wishes.
func good(date time.Time) rollout.Day {
	return rollout.Day{Date: date, Authenticated: rollout.Evidence{
		Successful: 10, Reporters: []rollout.Reporter{{Domain: "example.com", Current: true}, {Domain: "example.edu"}},
	}}
}

// quiet takes the reports of a day away.
func quiet(f *rollout.Facts, days ...int) {
	for _, n := range days {
		f.Days[n].Authenticated = rollout.Evidence{}
	}
}

func failing(result tlsrpt.ResultType, policy tlsrpt.PolicyType) rollout.Evidence {
	return rollout.Evidence{Failures: []rollout.Failure{{Policy: policy, Result: result, Sessions: 1}}}
}

func gate(t *testing.T, v rollout.Verdict, name string) rollout.Gate {
	t.Helper()
	for _, g := range v.Gates {
		if g.Name == name {
			return g
		}
	}
	t.Fatalf("there is no gate %q in %+v", name, v.Gates)
	return rollout.Gate{}
}

func open(v rollout.Verdict) (names []string) {
	for _, g := range v.Gates {
		if !g.Passed {
			names = append(names, g.Name)
		}
	}
	return names
}

func codes(reasons []rollout.Reason) (all []string) {
	for _, r := range reasons {
		all = append(all, r.Code)
	}
	return all
}
