package review_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/review"
)

func TestMain(m *testing.M) { databasetest.Main(m) }

const day = 24 * time.Hour

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time  { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) set(t time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.t = t }

func newStore(t testing.TB, o database.Options, now func() time.Time) *review.Store {
	t.Helper()
	db, err := database.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := review.NewStore(review.StoreOptions{DB: db, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scene is a store with looks at one domain.
type scene struct {
	*testing.T
	*review.Store
	clock clock
}

func each(t *testing.T, test func(*scene)) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		s := &scene{T: t}
		s.clock.set(start)
		s.Store = newStore(t, o, s.clock.now)
		test(s)
	})
}

func problem(code, subject string, severity review.Severity) review.Problem {
	return review.Problem{Code: code, Subject: subject, Severity: severity, Owner: review.MXOwner, Text: "it is wrong", Evidence: "seen", Fix: "mend it", Rule: "RFC 8461 §4.1"}
}

// lost is an error.
func lost(subject string) review.Problem { return problem("mx-not-in-policy", subject, review.Error) }

func good(problems ...review.Problem) review.Look {
	return review.Look{Known: true, Problems: problems, MX: []string{"mx1.example.net"}, TLSRPT: true}
}

// look takes a look some time after start, and returns what it changed as "+code subject".
func (s *scene) look(after time.Duration, l review.Look) string {
	s.Helper()
	s.clock.set(start.Add(after))
	l.At = start.Add(after)
	c, err := s.Record(s.Context(), "example.com", l)
	if err != nil {
		s.Fatal(err)
	}
	return describe(c)
}

func describe(c review.Changes) string {
	var words []string
	for _, part := range []struct {
		sign string
		list []review.Finding
	}{{"+", c.Opened}, {"again ", c.Reopened}, {"confirmed ", c.Confirmed}, {"worse ", c.Worsened}, {"-", c.Closed}} {
		for _, f := range part.list {
			words = append(words, part.sign+f.Code+" "+f.Subject)
		}
	}
	if c.MX {
		words = append(words, "mx")
	}
	if c.Left > 0 {
		words = append(words, fmt.Sprint("left ", c.Left))
	}
	return strings.Join(words, ", ")
}

func (s *scene) want(got, want string) {
	s.Helper()
	if got != want {
		s.Errorf("changes %q, want %q", got, want)
	}
}

func (s *scene) open() []review.Finding {
	s.Helper()
	list, err := s.Open(s.Context(), review.Filter{Domain: "example.com"})
	if err != nil {
		s.Fatal(err)
	}
	return list
}

func TestFindingsOpenPersistAndClose(t *testing.T) {
	each(t, func(s *scene) {
		a, b := lost("a.example.net"), problem("policy-differs", "mta-sts.example.com", review.Warning)
		s.want(s.look(0, good(a, b)), "+mx-not-in-policy a.example.net, +policy-differs mta-sts.example.com")
		s.want(s.look(time.Hour, good(a, b)), "confirmed mx-not-in-policy a.example.net, confirmed policy-differs mta-sts.example.com")
		newer := a
		newer.Evidence = "another host"
		s.want(s.look(2*time.Hour, good(newer)), "")
		s.want(s.look(3*time.Hour, good(newer)), "-policy-differs mta-sts.example.com")
		want := []review.Finding{{Domain: "example.com", Problem: newer, FirstSeen: start, LastSeen: start.Add(3 * time.Hour), Looks: 4}}
		if diff := cmp.Diff(want, s.open()); diff != "" {
			s.Error(diff)
		}
		all, err := s.Findings(s.Context(), "example.com", start)
		if err != nil || len(all) != 2 || !all[1].Closed.Equal(start.Add(2*time.Hour)) {
			s.Errorf("it closed when it was not seen first: %+v, %v", all, err)
		}
		if all, err := s.Findings(s.Context(), "example.com", start.Add(2*time.Hour+1*time.Second)); err != nil || len(all) != 1 {
			s.Errorf("closed before: %+v, %v", all, err)
		}
	})
}

// One good look proves nothing; nor do two within minutes, of one cache.
// Somebody asks again and again while an edit makes its way: that confirms nothing.
func TestConfirmingTakesTime(t *testing.T) {
	each(t, func(s *scene) {
		a := lost("a.example.net")
		s.want(s.look(0, good(a)), "+mx-not-in-policy a.example.net")
		for at := time.Second; at < 4*time.Minute; at += 30 * time.Second {
			s.want(s.look(at, good(a)), "")
		}
		s.want(s.look(4*time.Minute, good(a)), "confirmed mx-not-in-policy a.example.net")
	})
}

func TestClosingTakesTwoLooks(t *testing.T) {
	each(t, func(s *scene) {
		a := lost("a.example.net")
		unknown, unseen := review.Look{}, good()
		unseen.Unseen = []string{a.Code}
		for i, step := range []struct {
			after time.Duration
			look  review.Look
			want  string
		}{
			{0, good(a), "+mx-not-in-policy a.example.net"},
			{1 * time.Minute, good(), ""},
			{10 * time.Minute, good(), ""}, // 9 minutes apart
			{10*time.Minute + 30*time.Second, good(a), "confirmed mx-not-in-policy a.example.net"}, // there it is
			{20 * time.Minute, good(), ""},
			{40 * time.Minute, unknown, ""},
			{3 * time.Hour, unseen, ""},
			{4 * time.Hour, good(), "-mx-not-in-policy a.example.net"},
		} {
			if got := s.look(step.after, step.look); got != step.want {
				s.Errorf("look %d: %q, want %q", i, got, step.want)
			}
		}
	})
}

func TestUnknownClosesNothing(t *testing.T) {
	each(t, func(s *scene) {
		s.look(0, good(lost("a.example.net")))
		for i := range 50 {
			s.want(s.look(time.Duration(i+1)*time.Hour, review.Look{}), "")
		}
		state, err := s.State(s.Context(), "example.com")
		if err != nil || len(s.open()) != 1 {
			s.Fatalf("%+v, %v", s.open(), err)
		}
		want := review.State{Domain: "example.com", Looked: start, MX: []review.MXSet{{Since: start, Hosts: []string{"mx1.example.net"}}}, TLSRPTSince: start, UnknownSince: start.Add(time.Hour)}
		if diff := cmp.Diff(want, state); diff != "" {
			s.Error(diff)
		}
	})
}

// An hour without DNS opens nothing; a day without it does.
func TestUnknownOpensLate(t *testing.T) {
	each(t, func(s *scene) {
		dead := review.Look{Problems: []review.Problem{problem("record-unknown", "_mta-sts.example.com", review.Error)}}
		s.look(0, good())
		s.want(s.look(time.Hour, dead), "")
		s.want(s.look(time.Hour+59*time.Minute, dead), "")
		s.want(s.look(2*time.Hour, dead), "+record-unknown _mta-sts.example.com")
		s.want(s.look(3*time.Hour, good()), "")
		s.want(s.look(4*time.Hour, good()), "-record-unknown _mta-sts.example.com")
		s.want(s.look(5*time.Hour, dead), "") // unknown since now
	})
}

func TestFlapIsOneFinding(t *testing.T) {
	each(t, func(s *scene) {
		a := lost("a.example.net")
		s.want(s.look(0, good(a)), "+mx-not-in-policy a.example.net")
		for i := 1; i <= 10; i++ {
			at := time.Duration(i) * day
			s.want(s.look(at, good()), "")
			s.want(s.look(at+time.Hour, good()), "-mx-not-in-policy a.example.net")
			s.want(s.look(at+2*time.Hour, good(a)), "again mx-not-in-policy a.example.net")
		}
		open := s.open()
		if len(open) != 1 || open[0].Times != 10 || !open[0].FirstSeen.Equal(start) || open[0].Looks != 1 {
			s.Errorf("%+v", open)
		}
		// Weeks later it is a new one, and the old one is remembered.
		s.look(11*day, good())
		s.look(12*day, good())
		s.want(s.look(19*day, good(a)), "+mx-not-in-policy a.example.net")
		all, err := s.Findings(s.Context(), "example.com", start)
		if err != nil || len(all) != 2 || all[0].Times != 0 || all[1].Times != 10 {
			s.Errorf("%+v, %v", all, err)
		}
	})
}

func TestWorsened(t *testing.T) {
	each(t, func(s *scene) {
		p := problem("policy-cert-expires-soon", "mta-sts.example.com", review.Warning)
		s.look(0, good(p))
		p.Severity = review.Error
		s.want(s.look(time.Hour, good(p)), "confirmed policy-cert-expires-soon mta-sts.example.com, worse policy-cert-expires-soon mta-sts.example.com")
		p.Severity = review.Warning
		s.want(s.look(2*time.Hour, good(p)), "")
		if open := s.open(); open[0].Severity != review.Warning {
			s.Errorf("%+v", open)
		}
	})
}

func TestOlderLookChangesNothing(t *testing.T) {
	each(t, func(s *scene) {
		s.look(time.Hour, good(lost("a.example.net")))
		s.want(s.look(time.Minute, good(lost("b.example.net"))), "")
		if open := s.open(); len(open) != 1 || !open[0].LastSeen.Equal(start.Add(time.Hour)) {
			s.Errorf("%+v", open)
		}
	})
}

func TestState(t *testing.T) {
	each(t, func(s *scene) {
		if state, err := s.State(s.Context(), "example.com"); err != nil || !cmp.Equal(state, review.State{Domain: "example.com"}) {
			s.Errorf("never looked at: %+v, %v", state, err)
		}
		s.look(0, good())
		moved, blind, gone, unsure := good(), good(), good(), good()
		moved.MX = []string{"a.example.net", "b.example.net"}
		blind.MX = nil
		gone.MX, gone.TLSRPT = moved.MX, false
		unsure.MX, unsure.TLSRPT, unsure.TLSRPTUnseen = moved.MX, false, true
		s.want(s.look(1*day, moved), "mx")
		s.want(s.look(2*day, blind), "")
		s.want(s.look(3*day, unsure), "")
		state, err := s.State(s.Context(), "example.com")
		want := review.State{
			Domain: "example.com", Looked: start.Add(3 * day), OK: true, TLSRPTSince: start,
			MX: []review.MXSet{{Since: start, Hosts: []string{"mx1.example.net"}}, {Since: start.Add(day), Hosts: moved.MX}},
		}
		if diff := cmp.Diff(want, state); diff != "" || err != nil {
			s.Error(diff, err)
		}
		s.look(4*day, gone)
		s.look(5*day, moved)
		states, err := s.States(s.Context(), []string{"example.com", "example.org"})
		if err != nil || len(states) != 1 || !states["example.com"].TLSRPTSince.Equal(start.Add(5*day)) {
			s.Errorf("%+v, %v", states, err)
		}
		// A domain is not well while an error may be there that nobody could look for.
		s.look(6*day, good(lost("a.example.net")))
		unseen := good()
		unseen.Unseen = []string{"mx-not-in-policy"}
		s.look(7*day, unseen)
		if state, _ := s.State(s.Context(), "example.com"); state.OK {
			s.Errorf("%+v", state)
		}
	})
}

// Everything has an end, though a stranger writes DNS.
func TestBounds(t *testing.T) {
	each(t, func(s *scene) {
		var many []review.Problem
		for i := range 300 {
			many = append(many, problem("policy-differs", fmt.Sprintf("w%d.example.net", i), review.Warning))
		}
		for i := range 50 {
			many = append(many, lost(fmt.Sprintf("e%d.example.net", i)))
		}
		l := good(many...)
		for i := range 500 {
			l.MX = append(l.MX, strings.Repeat("x", 300)+fmt.Sprint(i))
		}
		if got := s.look(0, l); !strings.HasSuffix(got, "left 250") {
			s.Errorf("%s", got)
		}
		open := s.open()
		if len(open) != 100 || open[49].Severity != review.Error {
			s.Errorf("%d are open: %+v", len(open), open)
		}
		for i := range 200 {
			l.MX = []string{fmt.Sprintf("mx%d.example.net", i)}
			l.Problems = []review.Problem{{Code: "c\x00\xff", Subject: "s\u202e\n", Text: strings.Repeat("ä", 1000), Evidence: "a\x1b[2Jb", Fix: strings.Repeat("x", 1<<20), Owner: "o", Rule: "r"}, {}}
			s.look(time.Duration(i)*time.Minute, l)
		}
		state, err := s.State(s.Context(), "example.com")
		if err != nil || len(state.MX) != 50 || state.MX[49].Hosts[0] != "mx199.example.net" {
			s.Errorf("%+v, %v", state.MX, err)
		}
		open, err = s.Open(s.Context(), review.Filter{Code: "c??"})
		if err != nil || len(open) != 1 {
			s.Fatalf("%+v, %v", open, err)
		}
		f := open[0]
		if f.Subject != "s? " || len(f.Text) > 500 || !utf8.ValidString(f.Text) || !strings.HasSuffix(f.Text, "ä...") || f.Evidence != "a?[2Jb" || len(f.Fix) != 500 || f.Severity != review.Warning {
			s.Errorf("%+v", f)
		}
	})
}

// Who names other hosts each day fills nothing.
func TestLongClosedOnesAreBounded(t *testing.T) {
	if raceDetector {
		t.Skip("weeks of a schedule take minutes then; other tests look for races")
	}
	each(t, func(s *scene) {
		for i := range 60 {
			var many []review.Problem
			for n := range 50 {
				many = append(many, lost(fmt.Sprintf("h%d-%d.example.net", i, n)))
			}
			s.look(time.Duration(i)*time.Hour, good(many...))
			s.look(time.Duration(i)*time.Hour+20*time.Minute, good())
			s.look(time.Duration(i)*time.Hour+40*time.Minute, good())
		}
		all, err := s.Findings(s.Context(), "example.com", start)
		if err != nil || len(all) > 1000 || len(all) < 700 || all[0].Subject[:3] != "h59" {
			s.Errorf("%d findings, %+v, %v", len(all), all[0], err)
		}
	})
}

func TestOpenFilter(t *testing.T) {
	each(t, func(s *scene) {
		dns := problem("record-missing", "_mta-sts.example.org", review.Warning)
		dns.Owner = review.DNSOwner
		s.look(0, good(lost("a.example.net"), dns))
		s.clock.set(start.Add(time.Hour))
		if _, err := s.RecordAll(s.Context(), []review.Seen{
			{Domain: "example.org", Look: review.Look{At: start.Add(time.Hour), Known: true, Problems: []review.Problem{dns, lost("b.example.net")}}},
			{Domain: "example.net", Look: review.Look{At: start.Add(time.Hour), Known: true}},
		}); err != nil {
			s.Fatal(err)
		}
		for _, c := range []struct {
			filter review.Filter
			want   []string
		}{
			{review.Filter{}, []string{"example.com a.example.net", "example.org b.example.net", "example.com _mta-sts.example.org", "example.org _mta-sts.example.org"}},
			{review.Filter{Limit: 1}, []string{"example.com a.example.net"}},
			{review.Filter{Severity: review.Error, Domain: "example.org"}, []string{"example.org b.example.net"}},
			{review.Filter{Owner: review.DNSOwner, Code: "record-missing"}, []string{"example.com _mta-sts.example.org", "example.org _mta-sts.example.org"}},
			{review.Filter{Domain: "example.net"}, nil},
		} {
			list, err := s.Open(s.Context(), c.filter)
			if err != nil {
				s.Fatal(err)
			}
			var got []string
			for _, f := range list {
				got = append(got, f.Domain+" "+f.Subject)
			}
			if !slices.Equal(got, c.want) {
				s.Errorf("%+v: %q, want %q", c.filter, got, c.want)
			}
		}
		counts, err := s.Counts(s.Context())
		if err != nil || fmt.Sprint(counts) != "[{error mx-not-in-policy 2} {warning record-missing 2}]" {
			s.Errorf("%v, %v", counts, err)
		}
	})
}

func TestEach(t *testing.T) {
	each(t, func(s *scene) {
		var all []review.Seen
		const n = 2500 // more than one page
		for i := range n {
			all = append(all, review.Seen{Domain: fmt.Sprintf("d%d.example.com", i), Look: review.Look{At: start, Known: true, Problems: []review.Problem{lost("a"), lost("b")}}})
		}
		if _, err := s.RecordAll(s.Context(), all); err != nil {
			s.Fatal(err)
		}
		states, fail := s.EachState(s.Context())
		names := map[string]bool{}
		for state := range states {
			names[state.Domain] = true
		}
		if err := fail(); err != nil || len(names) != n {
			s.Errorf("%d states, %v", len(names), err)
		}
		findings, fail := s.EachFinding(s.Context(), start)
		keys := map[string]bool{}
		for f := range findings {
			keys[f.Domain+f.Subject] = true
		}
		if err := fail(); err != nil || len(keys) != 2*n {
			s.Errorf("%d findings, %v", len(keys), err)
		}
	})
}

func TestTidy(t *testing.T) {
	each(t, func(s *scene) {
		moved := good(lost("a.example.net"))
		moved.MX = []string{"b.example.net"}
		s.look(0, good(lost("a.example.net"), lost("b.example.net")))
		s.look(day, moved)
		s.look(2*day, moved) // b closes
		tidy := func(after time.Duration, known bool) {
			s.Helper()
			s.clock.set(start.Add(after))
			if err := s.Tidy(s.Context(), func(string) bool { return known }); err != nil {
				s.Fatal(err)
			}
		}
		all := func() []review.Finding {
			list, err := s.Findings(s.Context(), "example.com", time.Unix(0, 0))
			if err != nil {
				s.Fatal(err)
			}
			return list
		}
		tidy(700*day, true)
		state, _ := s.State(s.Context(), "example.com")
		if len(all()) != 2 || len(state.MX) != 2 {
			s.Errorf("%+v %+v", all(), state)
		}
		tidy(732*day, true)
		if state, _ = s.State(s.Context(), "example.com"); len(all()) != 1 || len(state.MX) != 1 || state.MX[0].Hosts[0] != "b.example.net" {
			s.Errorf("%+v %+v", all(), state)
		}
		// The domain goes. Another process that has an older configuration has no say at once.
		s.look(800*day, moved)
		tidy(801*day, false)
		if len(s.open()) != 1 {
			s.Errorf("it was given up after a day: %+v", all())
		}
		tidy(803*day, false)
		if len(s.open()) != 0 || len(all()) != 1 {
			s.Errorf("%+v", all())
		}
		tidy(1600*day, false)
		if states, err := s.States(s.Context(), []string{"example.com"}); err != nil || len(states)+len(all()) != 0 {
			s.Errorf("%+v %+v %v", states, all(), err)
		}
	})
}

// Two processes look at one domain: it is one finding, which opens once.
func TestTwoProcesses(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		now := func() time.Time { return start }
		var wg sync.WaitGroup
		var mu sync.Mutex
		opened := map[string]int{}
		for range 4 {
			s := newStore(t, o, now)
			wg.Go(func() {
				for i := range 20 {
					var all []review.Seen
					for n := range 10 {
						all = append(all, review.Seen{Domain: fmt.Sprintf("d%d.example.com", (i+n)%20), Look: review.Look{At: start, Known: true, Problems: []review.Problem{lost("a")}}})
					}
					changes, err := s.RecordAll(t.Context(), all)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					for _, c := range changes {
						opened[c.Domain] += len(c.Opened)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for d, n := range opened {
			if n != 1 {
				t.Errorf("%s opened %d times", d, n)
			}
		}
		if len(opened) != 20 {
			t.Errorf("%d domains", len(opened))
		}
	})
}

func TestNotStorable(t *testing.T) {
	each(t, func(s *scene) {
		for _, all := range [][]review.Seen{{{Domain: ""}}, {{Domain: "a\x00b"}}, {{Domain: "a"}, {Domain: "a"}}} {
			if _, err := s.RecordAll(s.Context(), all); err == nil || !strings.Contains(err.Error(), "cannot be stored") {
				s.Errorf("%q: %v", all[0].Domain, err)
			}
		}
	})
}
