package sendercheck_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mtasts-server/internal/lookup"
	"mtasts-server/internal/sendercheck"
	"mtasts-server/internal/sendercheck/sendertest"
)

// town is n domains, d0.example and so on, whose policies one host serves, and whose
// mail goes to two hosts.
func town(t *testing.T, n int, change func(*scene)) (*scene, []sendercheck.Job) {
	s := newScene(t)
	s.policy = strings.ReplaceAll(good, "mx1.", "*.mx.")
	s.policyLeaf.Names = nil
	s.mxLeaf.Names = []string{"*.mx.example.com"}
	s.zone = []string{"a.mx.example.com. A " + s.mx.String(), "b.mx.example.com. A " + s.mx.String()}
	var jobs []sendercheck.Job
	for i := range n {
		d := fmt.Sprintf("d%d.example", i)
		jobs = append(jobs, sendercheck.Job{Domain: d})
		s.policyLeaf.Names = append(s.policyLeaf.Names, "mta-sts."+d)
		s.zone = append(s.zone, d+". MX 10 a.mx.example.com.", d+". MX 20 b.mx.example.com.", "mta-sts."+d+". A "+s.host.String(),
			fmt.Sprintf("_mta-sts.%s. TXT \"v=STSv1; id=1;\"", d), fmt.Sprintf("_smtp._tls.%s. TXT \"v=TLSRPTv1; rua=mailto:r@example.com\"", d))
	}
	if change != nil {
		change(s)
	}
	return s, jobs
}

// Domains that share MX hosts have them looked at once, are told of in their order, and
// no address has to bear more than it should.
func TestCheckAll(t *testing.T) {
	var at, most atomic.Int32
	s, jobs := town(t, 60, func(s *scene) {
		s.options.PerTarget = 3
		s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			now := at.Add(1)
			defer at.Add(-1)
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
			sendertest.Text(s.policy)(w, r)
		})
	})
	run := s.checker().NewRun()
	var order []string
	run.CheckAll(t.Context(), slices.Values(jobs), 16, func(r *sendercheck.Report) {
		order = append(order, r.Domain)
		if r.Verdict != sendercheck.Protected || len(r.MX.Hosts) != 2 {
			t.Errorf("%s: %s %+v", r.Domain, r.Verdict, r.Findings)
		}
	})
	for i, job := range jobs {
		if i >= len(order) || order[i] != job.Domain {
			t.Fatalf("order %q", order)
		}
	}
	if n := s.mail.Sessions.Load(); n != 2 {
		t.Errorf("%d sessions with the mail server, want one for each of its two names", n)
	}
	if most.Load() > 3 || s.mail.Most() > 3 {
		t.Errorf("%d and %d connections at the same time to one address", most.Load(), s.mail.Most())
	}
	if run.Port25Closed() {
		t.Error("port 25 counts as closed")
	}
}

// Where no MX host answers, it is this machine that may not connect.
func TestPort25Closed(t *testing.T) {
	s, jobs := town(t, 12, func(s *scene) {
		s.noMail = true
		for i := range 12 {
			s.Withdraw(fmt.Sprintf("d%d.example.", i))
			s.zone = append(s.zone, fmt.Sprintf("d%d.example. MX 5 x%d.mx.example.com.", i, i), fmt.Sprintf("x%d.mx.example.com. A %s", i, s.Address()))
		}
	})
	run := s.checker().NewRun()
	run.CheckAll(t.Context(), slices.Values(jobs), 1, func(r *sendercheck.Report) {
		if r.Verdict != sendercheck.Undecided || r.Count(sendercheck.Error) > 0 {
			t.Errorf("%s: %s %+v", r.Domain, r.Verdict, r.Findings)
		}
	})
	if !run.Port25Closed() {
		t.Error("port 25 does not count as closed")
	}
}

// A run that is ended ends.
func TestCheckAllEnds(t *testing.T) {
	s, jobs := town(t, 30, nil)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	s.checker().NewRun().CheckAll(ctx, slices.Values(jobs), 2, func(r *sendercheck.Report) {
		if n++; n == 2 {
			cancel()
		}
		if n > 2 && r.Count(sendercheck.Error) > 0 {
			t.Errorf("%s is blamed: %+v", r.Domain, r.Findings)
		}
	})
	if n == 0 || n == len(jobs) {
		t.Errorf("%d reports", n)
	}
}

// Fetch is what publication asks before it announces an id.
func TestFetch(t *testing.T) {
	s := newScene(t)
	other := s.Address()
	c := s.checker()
	h := c.Fetch(t.Context(), "example.com")
	if err := h.Same([]byte(good)); err != nil {
		t.Error(err)
	}
	wantError(t, h.Same([]byte(strings.ReplaceAll(good, "enforce", "testing"))), `at `+s.host.String()+` serves another policy: line 2 is "mode: enforce\r\n", should be "mode: testing\r\n"`)
	wantError(t, h.Same([]byte(good+"x: y\r\n")), `line 5 should be`)
	wantError(t, h.Same([]byte("version: STSv1\r\n")), `line 2 is "mode: enforce\r\n", where nothing should be`)
	wantError(t, c.Fetch(t.Context(), "example.org").Same([]byte(good)), "mta-sts.example.org has no address")

	check(t, s.Publish("mta-sts.example.com. A "+other.String()))
	c = again(t, s)
	h = c.Fetch(t.Context(), "example.com")
	wantError(t, h.Same([]byte(good)), "mta-sts.example.com at "+other.String()+": the policy host takes no connection: connection refused")
	if fe, ok := errors.AsType[*sendercheck.FetchError](h.Fetches[1].Err); !ok || fe.Code != sendercheck.PolicyConnectFailed || h.Fetches[1].Result == "" {
		t.Errorf("%+v", h.Fetches[1])
	}
	s.at(other, sendertest.Text(good))
	if err := again(t, s).Fetch(t.Context(), "example.com").Same([]byte(good)); err != nil {
		t.Error(err)
	}

	check(t, s.Publish("mta-sts.example.com. A 255.255.255.255"))
	if err := again(t, s).Fetch(t.Context(), "example.com").Same([]byte(good)); !errors.Is(err, sendercheck.ErrNoRoute) {
		t.Errorf("an address that this machine cannot reach: %v", err)
	}
	check(t, s.Publish("SERVFAIL mta-sts.example.com. A"))
	wantError(t, again(t, s).Fetch(t.Context(), "example.com").Same([]byte(good)), "nobody knows all addresses of mta-sts.example.com")
	for i := range 40 {
		check(t, s.Publish(fmt.Sprintf("mta-sts.many.example. A 127.78.0.%d", i)))
	}
	h = again(t, s).Fetch(t.Context(), "many.example")
	wantError(t, h.Same([]byte(good)), "has 40 addresses, of which 32 are looked at")
}

// again is a checker that remembers nothing of DNS.
func again(t *testing.T, s *scene) *sendercheck.Checker {
	s.options.Resolver = lookup.New([]string{s.Resolver}, nil)
	c, err := sendercheck.New(s.options)
	check(t, err)
	return c
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want %q", err, part)
	}
}

func TestNew(t *testing.T) {
	r := lookup.New(nil, nil)
	for _, c := range []struct {
		o    sendercheck.Options
		want string
	}{
		{sendercheck.Options{}, "there is no resolver"},
		{sendercheck.Options{Resolver: r, SMTPPort: 70000}, "70000 is no port"},
		{sendercheck.Options{Resolver: r, HTTPSPort: -1}, "-1 is no port"},
		{sendercheck.Options{Resolver: r, PerTarget: -1}, "a limit is negative"},
		{sendercheck.Options{Resolver: r, Hello: "a b"}, "our name"},
	} {
		_, err := sendercheck.New(c.o)
		wantError(t, err, c.want)
	}
}

// What strangers say comes out on one line, printable and bounded, and machines can
// read all of it.
func TestReportsAreSafe(t *testing.T) {
	const evil = "\x1b[31m\r\n::error::<script>\u202e\x07\xff"
	s := newScene(t)
	s.absent = []string{"txt", "tlsrpt"}
	s.zone = []string{
		`_mta-sts.example.com. TXT "v=STSv1; id=\027[31m\013\010evil\255"`, `_smtp._tls.example.com. TXT "v=TLSRPTv1; rua=\027[31m"`,
		`example.com. MX 20 a\027b.example.com.`, "_mta-sts.example.com. TXT \"v=STSv1; id=\u202e\"",
	}
	s.policyLeaf.Names = []string{"mta-sts.example.com", "x\x1b[31m.example.com"}
	s.handler = answers(200, map[string]string{"Content-Type": "text/" + strings.ReplaceAll(evil, "\r\n", "")}, good+"x: "+evil+":\r\n"+evil)
	s.mail.Greeting = "554 " + strings.ReplaceAll(evil, "\r\n", "")
	r := s.look()
	for _, f := range r.Findings {
		checkFinding(t, f)
	}
	text, err := json.Marshal(r)
	check(t, err)
	for _, c := range bytes.Runes(text) { // also what a terminal would obey, or turn round
		if c < ' ' || c == 0x7f || c > '~' && c != '§' {
			t.Fatalf("%q in %s", c, text)
		}
	}
	var again struct {
		Findings []sendercheck.Finding `json:"findings"`
	}
	check(t, json.Unmarshal(text, &again))
	if len(again.Findings) != len(r.Findings) || len(r.Findings) < 4 {
		t.Errorf("%d findings: %s", len(again.Findings), text)
	}
}
