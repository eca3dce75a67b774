package rollout_test

import (
	"fmt"
	"time"

	"mtasts-server/internal/rollout"
	"mtasts-server/mtasts"
	"mtasts-server/tlsrpt"
)

// A domain has been in testing for 12 days. Everything is well, and it takes time.
func ExampleGates_Judge() {
	now := start.Add(12 * day)
	facts := clean(served(mtasts.ModeTesting, day), now)

	v := rollout.Default().Judge(facts, now)
	fmt.Println(v.Step, "since", v.Since.Format(time.DateOnly))
	fmt.Println("next:", v.Next.Mode, v.Next.MaxAge, "not before", v.NotBefore.Format(time.DateOnly))
	for _, gate := range v.Gates {
		fmt.Printf("%-5t %-24s %s of %s\n", gate.Passed, gate.Name, gate.Have, gate.Want)
	}
	// Output:
	// testing since 2026-03-01
	// next: enforce 24h0m0s not before 2026-03-18
	// false windows                  9 of 14
	// true  sessions                 9 of 7
	// true  reporters                2 of 2
	// true  current-policy           1 of 1
	// true  failures                 0 of 0
	// true  unauthenticated-failures 0 of 0
	// true  heard                    2026-03-12 of within 7 d
	// true  checker                  green of green, within 1 d
	// true  mx-stable                2026-01-30 of since 2026-03-01
	// true  mx-allowed               2 of 2 of all
	// true  tlsrpt-record            2026-01-30 of for 1 d
}

// A certificate of an MX host expired under enforce. The domain is held where it is, and
// somebody is told; it does not go back to testing.
func ExampleGates_Judge_failures() {
	now := start.Add(30 * day)
	facts := clean(served(mtasts.ModeEnforce, 7*day), now)
	facts.Days[29].Authenticated.Failures = []rollout.Failure{{Policy: tlsrpt.PolicySTS, Result: tlsrpt.CertificateExpired, Sessions: 40}}

	v := rollout.Default().Judge(facts, now)
	fmt.Println(v.Step, "ready:", v.Ready)
	for _, alarm := range v.Alarms {
		fmt.Println("alarm:", alarm.Code+":", alarm.Text)
	}
	fmt.Println("next:", v.Next.Mode, v.Next.MaxAge, "not before", v.NotBefore.Format(time.DateOnly))

	facts.Resolved = []rollout.Resolution{{Result: tlsrpt.CertificateExpired, Before: now, Note: "renewed, and the renewal mended"}}
	v = rollout.Default().Judge(facts, now)
	fmt.Println("resolved:", len(v.Alarms), "alarms, not before", v.NotBefore.Format(time.DateOnly))
	// Output:
	// enforce-short ready: false
	// alarm: failures: failed sessions since 2026-03-01, the last ones on 2026-03-30: 40 certificate-expired
	// next: enforce 720h0m0s not before 2026-05-01
	// resolved: 0 alarms, not before 2026-04-01
}

// Mail moves to another provider.
func ExampleGates_PlanMX() {
	policy := served(mtasts.ModeEnforce, 30*day)
	policy.MX = []mtasts.MXPattern{"mx.example.org"}
	facts := rollout.Facts{Versions: []rollout.Version{policy}, RecordTTL: time.Hour, MXTTL: time.Hour}

	now := start.Add(100 * day)
	for _, s := range rollout.Default().PlanMX(facts, []string{"mx.example.org"}, []string{"in.example.net"}, now) {
		fmt.Printf("%s %-13s %v\n", s.NotBefore.Format("2006-01-02 15:04"), s.Kind, s.MX)
	}
	// Output:
	// 2026-06-09 00:00 widen-policy  [mx.example.org in.example.net]
	// 2026-06-10 01:00 change-mx     [in.example.net]
	// 2026-06-15 02:00 narrow-policy [in.example.net]
}

// A policy with a month of max_age was replaced by one with a day, and that one by none.
func ExampleEarliestRemoval() {
	at, ok := rollout.EarliestRemoval([]rollout.Version{
		{Mode: mtasts.ModeEnforce, MaxAge: 30 * day, From: start, Until: start.Add(10 * day)},
		{Mode: mtasts.ModeEnforce, MaxAge: day, From: start.Add(10 * day), Until: start.Add(12 * day)},
		{Mode: mtasts.ModeNone, MaxAge: day, From: start.Add(12 * day)},
	})
	fmt.Println(at.Format(time.DateOnly), ok)
	// Output: 2026-04-10 true
}
