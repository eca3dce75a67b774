package review_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/database"
	"mtasts-server/internal/database/databasetest"
	"mtasts-server/internal/review"
)

// world is what is out there, and notes who looked when.
type world struct {
	mu      sync.Mutex
	domains []review.Domain
	is      map[string]func(context.Context) (review.Look, error) // good where nil
	looks   map[string][]time.Time
	at      int // looks under way
	most    int
	changes []review.Changes
}

func newWorld(domains ...review.Domain) *world {
	return &world{domains: domains, is: map[string]func(context.Context) (review.Look, error){}, looks: map[string][]time.Time{}}
}

func (w *world) look(ctx context.Context, domain string) (review.Look, error) {
	w.mu.Lock()
	w.looks[domain] = append(w.looks[domain], time.Now())
	w.at++
	w.most = max(w.most, w.at)
	is := w.is[domain]
	if is == nil {
		is = w.is[""]
	}
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.at--; w.mu.Unlock() }()
	if is != nil {
		return is(ctx)
	}
	return good(), nil
}

func (w *world) set(domain string, is func(context.Context) (review.Look, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.is[domain] = is
}

func (w *world) always(domain string, l review.Look) {
	w.set(domain, func(context.Context) (review.Look, error) { return l, nil })
}

// hang takes a look that nobody answers.
func (w *world) hang(domain string) {
	w.set(domain, func(ctx context.Context) (review.Look, error) { <-ctx.Done(); return review.Look{}, nil })
}

func (w *world) configured() []review.Domain {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.domains)
}

// count returns how many looks there were, and starts anew.
func (w *world) count() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.looks {
		n += len(l)
	}
	clear(w.looks)
	return n
}

// gaps returns the shortest and longest times between looks at a domain.
func (w *world) gaps(t *testing.T, domain string) (shortest, longest time.Duration) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	looks := w.looks[domain]
	if len(looks) < 3 {
		t.Fatalf("%s was looked at %d times", domain, len(looks))
	}
	shortest = 1 << 60
	for i, at := range looks[1:] {
		shortest, longest = min(shortest, at.Sub(looks[i])), max(longest, at.Sub(looks[i]))
	}
	return shortest, longest
}

func (w *world) options(s *review.Store) review.Options {
	return review.Options{
		Store: s, Look: w.look, Domains: w.configured, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Codes: []string{"mx-not-in-policy"},
		Changed: func(c []review.Changes) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, c...)
		},
	}
}

// changed returns what looks have changed so far.
func (w *world) changed() []review.Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes)
}

// run has a scheduler work while f runs, in a bubble where time is only waited for.
func run(t *testing.T, o review.Options, f func(*review.Scheduler)) {
	t.Helper()
	s, err := review.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	f(s)
}

// bubble has a test run on a database with a clock of its own.
func bubble(t *testing.T, test func(*testing.T, *review.Store)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, newStore(t, database.Options{File: t.TempDir() + "/reviews.db"}, time.Now))
	})
}

func wait(d time.Duration) { time.Sleep(d); synctest.Wait() } // of a bubble's clock

func names(risk review.Risk, n int) []review.Domain {
	var list []review.Domain
	for i := range n {
		list = append(list, review.Domain{Name: fmt.Sprintf("d%d.example.com", i), Risk: risk})
	}
	return list
}

func TestLongPace(t *testing.T) {
	if raceDetector {
		t.Skip("weeks of a schedule take minutes then; other tests look for races")
	}
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(
			review.Domain{Name: "enforcing", Risk: review.Enforcing}, review.Domain{Name: "testing", Risk: review.Testing}, review.Domain{Name: "quiet", Risk: review.Quiet},
			review.Domain{Name: "lost", Risk: review.Enforcing}, review.Domain{Name: "tested-error", Risk: review.Testing}, review.Domain{Name: "silent", Risk: review.Enforcing},
		)
		w.always("lost", good(lost("mx")))
		w.always("tested-error", good(lost("mx")))
		w.always("silent", review.Look{})
		o := w.options(s)
		o.Pace = review.DefaultPace()
		o.Pace.StableAfter, o.Pace.TestingStable, o.Pace.Testing = 2*day, day, 12*time.Hour
		run(t, o, func(*review.Scheduler) {
			check := func(domain string, low, high time.Duration) {
				t.Helper()
				if short, long := w.gaps(t, domain); short < low || long > high+high/5+2*time.Minute {
					t.Errorf("%s is looked at after %s to %s, want %s to %s", domain, short, long, low, high)
				}
			}
			wait(5 * time.Hour)
			check("lost", 5*time.Minute, 15*time.Minute) // 5 minutes once: was it a mishap?
			check("tested-error", 5*time.Minute, time.Hour)
			check("silent", 15*time.Minute, 150*time.Minute)
			w.count() // the others were looked at too when the silent one was silent first
			wait(2*day + 5*time.Hour)
			check("enforcing", 4*time.Hour, 4*time.Hour)
			check("testing", 12*time.Hour, 12*time.Hour)
			check("quiet", 12*time.Hour, 12*time.Hour)
			wait(2 * day)
			w.count()
			wait(3 * day)
			check("enforcing", 12*time.Hour, 12*time.Hour)
			check("testing", day, day)
			check("lost", 4*time.Hour, 4*time.Hour) // nobody mends it
			check("silent", 6*time.Hour, 6*time.Hour)
		})
	})
}

// 3,000 new domains are spread out, and what is found meanwhile has its turn at once. A
// restart knows all that.
func TestLongSpreadAndRestart(t *testing.T) {
	if raceDetector {
		t.Skip("weeks of a schedule take minutes then; other tests look for races")
	}
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Testing, 3000)...)
		w.always("d7.example.com", good(lost("mx")))
		o := w.options(s)
		run(t, o, func(*review.Scheduler) {
			wait(150 * time.Second)
			if n := len(w.looks); n < 1300 || n > 1700 {
				t.Errorf("%d domains were looked at in half of the time", n)
			}
			wait(155 * time.Second)
			if n := len(w.looks); n != 3000 {
				t.Errorf("%d domains were looked at", n)
			}
			if got := w.count(); got > 3003 {
				t.Errorf("%d looks", got)
			}
			for minute := range 60 {
				wait(time.Minute)
				if n := w.count(); n > 5 {
					t.Errorf("%d looks in minute %d, when all are known", n, minute)
				}
			}
		})
		w.count()
		run(t, o, func(*review.Scheduler) {
			wait(2 * time.Hour)
			if n := w.count(); n > 20 {
				t.Errorf("%d looks after a restart", n)
			}
		})
		// A week off: all are due, and are looked at one by one.
		wait(7 * day)
		run(t, o, func(*review.Scheduler) {
			wait(10 * time.Second)
			if n := w.count(); n > 221 || n < 150 {
				t.Errorf("%d looks in 10 seconds, at 20 a second", n)
			}
			wait(150 * time.Second)
			if n := len(w.looks); n < 2700 {
				t.Errorf("%d domains", n)
			}
		})
	})
}

func TestTouch(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Testing, 3)...)
		w.set("d0.example.com", func(context.Context) (review.Look, error) { time.Sleep(10 * time.Second); return good(), nil })
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(time.Hour)
			w.count()
			r.Touch("d1.example.com")
			r.Touch("stranger.example.net")
			wait(3 * time.Second)
			if n := len(w.looks["d1.example.com"]); n != 1 || len(w.looks) != 1 {
				t.Errorf("looks after a touch: %v", w.looks)
			}
			// Edited again while it is looked at: that look may have seen the old state.
			w.count()
			r.Touch("d0.example.com")
			wait(5 * time.Second)
			r.Touch("d0.example.com")
			wait(time.Minute)
			if n := len(w.looks["d0.example.com"]); n != 2 {
				t.Errorf("%d looks", n)
			}
			w.count()
			wait(time.Hour)
			if n := w.count(); n != 0 {
				t.Errorf("%d looks more", n)
			}
		})
	})
}

// What changed for senders is looked at when resolvers have it, in minutes, not in days.
func TestExpect(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Testing, 3)...)
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(time.Hour)
			w.count()
			r.Expect("d1.example.com")
			wait(4 * time.Minute)
			if n := w.count(); n != 0 {
				t.Errorf("%d looks at once", n)
			}
			wait(2 * time.Minute)
			if n := len(w.looks["d1.example.com"]); n != 1 {
				t.Errorf("%d looks after some minutes", n)
			}
			// It does not put off what somebody asks for.
			w.count()
			r.Touch("d2.example.com")
			r.Expect("d2.example.com")
			wait(3 * time.Second)
			if n := len(w.looks["d2.example.com"]); n != 1 {
				t.Errorf("%d looks after a touch", n)
			}
		})
	})
}

// A provider with 200 domains is dead. The others are looked at as ever.
func TestLongDeadOnesDelayNobody(t *testing.T) {
	if raceDetector {
		t.Skip("weeks of a schedule take minutes then; other tests look for races")
	}
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Enforcing, 400)...)
		for i := range 200 {
			w.hang(fmt.Sprintf("d%d.example.com", i))
		}
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(2 * time.Hour)
			w.count()
			for range 600 {
				wait(time.Minute)
				if lines := r.Trouble(); len(lines) != 0 {
					t.Fatalf("that they do not answer again says nothing of us: %q", lines)
				}
			}
			late := 0
			for i := range 200 {
				if _, long := w.gapsIf(fmt.Sprintf("d%d.example.com", 200+i)); long > 5*time.Hour {
					late++
				}
			}
			if late > 0 {
				t.Errorf("%d domains were looked at late", late)
			}
			if w.most > 16 {
				t.Errorf("%d looks at a time", w.most)
			}
			if lines := r.Trouble(); len(lines) != 0 {
				t.Errorf("%q", lines)
			}
		})
	})
}

// gapsIf is as gaps, for a domain with fewer looks too.
func (w *world) gapsIf(domain string) (looks int, longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.looks[domain]
	if len(list) < 2 {
		return len(list), 1 << 60
	}
	for i, at := range list[1:] {
		longest = max(longest, at.Sub(list[i]))
	}
	return len(list), longest
}

// Our own DNS dies for half a day: no finding opens or closes, one line says so, and
// there is hardly a look. Then everything goes on.
func TestLongOutageOfOurs(t *testing.T) {
	if raceDetector {
		t.Skip("weeks of a schedule take minutes then; other tests look for races")
	}
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Enforcing, 1000)...)
		w.always("d1.example.com", good(lost("mx")))
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(6 * time.Hour)
			before := len(w.changed())
			w.count()
			alone := w.is["d1.example.com"]
			w.set("d1.example.com", nil)
			w.always("", review.Look{Problems: []review.Problem{problem("record-unknown", "x", review.Error)}})
			wait(40 * time.Minute) // there is little to look at: d1, and then those that answered of late
			lines := r.Trouble()
			if len(lines) != 1 || !strings.Contains(lines[0], "reviews see nothing since 2000-01-01T06:") {
				t.Errorf("trouble %q", lines)
			}
			w.count()
			wait(12 * time.Hour)
			if n := w.count(); n > 12*120+1 {
				t.Errorf("%d looks while blind", n)
			}
			if len(w.changed()) != before {
				t.Errorf("the outage changed findings: %s", describe(w.changed()[before]))
			}
			if lines := r.Trouble(); len(lines) != 1 {
				t.Errorf("trouble %q", lines)
			}
			w.set("", nil)
			w.set("d1.example.com", alone)
			w.count()
			wait(5 * time.Minute)
			if lines := r.Trouble(); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "see nothing") }) {
				t.Errorf("trouble %q", lines)
			}
			if n := len(w.looks); n < 900 {
				t.Errorf("%d domains were looked at after the outage", n)
			}
			open, err := s.Open(t.Context(), review.Filter{})
			if err != nil || len(open) != 1 || len(w.changed()) != before {
				t.Errorf("%+v, %v", open, err)
			}
		})
	})
}

// Three domains are not enough to know whose fault it is, but none of them floods.
func TestFewDomainsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Enforcing, 3)...)
		w.always("", review.Look{Problems: []review.Problem{problem("record-unknown", "x", review.Error)}})
		run(t, w.options(s), func(*review.Scheduler) {
			wait(55 * time.Minute)
			if len(w.changed()) != 0 {
				t.Errorf("%s", describe(w.changed()[0]))
			}
			wait(day)
			opened := 0
			for _, c := range w.changed() {
				opened += len(c.Opened)
			}
			if opened != 3 {
				t.Errorf("%d findings opened", opened)
			}
		})
	})
}

// What goes wrong in a look is one domain's.
func TestLooksThatFail(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Enforcing, 6)...)
		w.set("d0.example.com", func(context.Context) (review.Look, error) { panic("index out of range") })
		w.set("d1.example.com", func(context.Context) (review.Look, error) { return good(), errors.New("no") })
		w.always("d2.example.com", good(lost("mx"), problem("strange", "x", review.Warning)))
		w.hang("d3.example.com")
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(10 * time.Minute)
			if len(w.looks) != 6 {
				t.Errorf("%v", slices.Collect(maps.Keys(w.looks)))
			}
			if err := testutil.CollectAndCompare(r, strings.NewReader(`
				# HELP mtasts_review_findings_open Findings that are open, by severity; of all domains in the database.
				# TYPE mtasts_review_findings_open gauge
				mtasts_review_findings_open{severity="error"} 1
				mtasts_review_findings_open{severity="warning"} 1
				# HELP mtasts_review_findings_open_by_code Findings that are open, by code; of all domains in the database.
				# TYPE mtasts_review_findings_open_by_code gauge
				mtasts_review_findings_open_by_code{code="mx-not-in-policy"} 1
				mtasts_review_findings_open_by_code{code="other"} 1
				# HELP mtasts_review_domains_overdue Domains that were to be looked at more than an hour ago.
				# TYPE mtasts_review_domains_overdue gauge
				mtasts_review_domains_overdue 0
			`), "mtasts_review_findings_open", "mtasts_review_findings_open_by_code", "mtasts_review_domains_overdue"); err != nil {
				t.Error(err)
			}
			if n := testutil.CollectAndCount(r, "mtasts_review_looks_total"); n != 4 {
				t.Errorf("%d outcomes", n)
			}
			if err := prometheus.NewPedanticRegistry().Register(r); err != nil {
				t.Error(err)
			}
		})
	})
}

// Domains come and go with the configuration.
func TestDomainsComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Enforcing, 2)...)
		w.always("d1.example.com", good(lost("mx")))
		run(t, w.options(s), func(*review.Scheduler) {
			wait(time.Hour)
			w.mu.Lock()
			w.domains = append(w.domains[:1:1], review.Domain{Name: "new.example.com", Risk: review.Enforcing})
			w.mu.Unlock()
			wait(2 * time.Minute)
			w.count()
			wait(3 * day)
			if len(w.looks["d1.example.com"]) != 0 || len(w.looks["new.example.com"]) == 0 {
				t.Errorf("%v", w.looks)
			}
			if open, err := s.Open(t.Context(), review.Filter{}); err != nil || len(open) != 0 {
				t.Errorf("of a domain that is gone there is open: %+v, %v", open, err)
			}
			w.mu.Lock()
			w.domains = names(review.Enforcing, 2)
			w.mu.Unlock()
			wait(2 * time.Minute)
			if len(w.looks["d1.example.com"]) == 0 {
				t.Error("a domain that came back is not looked at")
			}
		})
	})
}

// The database is away for a while. What was seen is stored when it is back.
func TestDatabaseAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := database.Open(database.Options{File: t.TempDir() + "/reviews.db"})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := review.NewStore(review.StoreOptions{DB: db, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(names(review.Enforcing, 3)...)
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(time.Minute)
			if _, err := db.Exec("ALTER TABLE review_domains RENAME TO away"); err != nil {
				t.Fatal(err)
			}
			wait(5 * time.Hour)
			if lines := r.Trouble(); len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), "which domains are due: review: ") {
				t.Errorf("trouble %q", lines)
			}
			if _, err := db.Exec("ALTER TABLE away RENAME TO review_domains"); err != nil {
				t.Fatal(err)
			}
			w.count()
			wait(2 * time.Minute)
			if lines := r.Trouble(); len(lines) != 0 || len(w.looks) != 3 {
				t.Errorf("trouble %q, looks %v", lines, w.looks)
			}
		})
	})
}

// At a start the database fails for a moment. That the domains are not known yet closes
// nothing, and puts nothing off.
func TestDatabaseAwayAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := database.Open(database.Options{File: t.TempDir() + "/reviews.db"})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s, err := review.NewStore(review.StoreOptions{DB: db, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(names(review.Enforcing, 3)...)
		w.always("d0.example.com", good(lost("mx")))
		run(t, w.options(s), func(*review.Scheduler) { wait(time.Hour) })
		wait(10 * day)
		w.mu.Lock()
		w.domains = append(w.domains, review.Domain{Name: "new.example.com"})
		w.mu.Unlock()
		if _, err := db.Exec("CREATE TRIGGER no BEFORE INSERT ON review_domains BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
			t.Fatal(err)
		}
		w.count()
		run(t, w.options(s), func(r *review.Scheduler) {
			wait(3 * time.Minute)
			if lines := r.Trouble(); !strings.Contains(strings.Join(lines, "\n"), "domains are not put on the schedule: ") {
				t.Errorf("trouble %q", lines)
			}
			if open, err := s.Open(t.Context(), review.Filter{}); err != nil || len(open) != 1 {
				t.Errorf("%+v, %v", open, err)
			}
			if _, err := db.Exec("DROP TRIGGER no"); err != nil {
				t.Fatal(err)
			}
			wait(3 * time.Minute)
			if len(w.looks) != 4 {
				t.Errorf("%v", w.looks)
			}
			if open, err := s.Open(t.Context(), review.Filter{}); err != nil || len(open) != 1 {
				t.Errorf("%+v, %v", open, err)
			}
		})
	})
}

// Several processes share one database: together they look at each domain once.
func TestReplicasShare(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, o database.Options) {
		const n = 300
		w := newWorld(names(review.Testing, n)...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		all := make(chan struct{})
		var once sync.Once
		for range 3 {
			options := w.options(newStore(t, o, time.Now))
			options.Rate = 10_000
			options.Look = func(ctx context.Context, domain string) (review.Look, error) {
				l, err := w.look(ctx, domain)
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(w.looks) == n {
					once.Do(func() { close(all) })
				}
				return l, err
			}
			s, err := review.New(options)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := s.Run(ctx); err != nil {
					t.Error(err)
				}
				if lines := s.Trouble(); len(lines) != 0 {
					t.Errorf("%q", lines)
				}
			})
		}
		<-all
		cancel()
		wg.Wait()
		if got := w.count(); got != n {
			t.Errorf("%d looks at %d domains", got, n)
		}
	})
}

func TestOptions(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld()
		for _, change := range []func(*review.Options){
			func(o *review.Options) { o.Store = nil }, func(o *review.Options) { o.Look = nil }, func(o *review.Options) { o.Domains = nil },
			func(o *review.Options) { o.Now = nil }, func(o *review.Options) { o.Parallel = -1 }, func(o *review.Options) { o.Rate = -1 },
		} {
			o := w.options(s)
			change(&o)
			if _, err := review.New(o); err == nil {
				t.Errorf("%+v: no error", o)
			}
		}
	})
}

// Who could not be looked at is known, so that he can be at once when somebody asks.
func TestUnseen(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Testing, 2)...)
		dead := w.domains[1].Name
		w.always(dead, review.Look{})
		run(t, w.options(s), func(sch *review.Scheduler) {
			wait(10 * time.Minute)
			if unseen, err := s.Unseen(t.Context(), 10); err != nil || !slices.Equal(unseen, []string{dead}) {
				t.Error(unseen, err)
			}
			w.always(dead, good())
			sch.Touch(dead)
			wait(time.Second)
			if unseen, err := s.Unseen(t.Context(), 10); err != nil || len(unseen) > 0 {
				t.Error(unseen, err)
			}
		})
	})
}

// A process that does not know a domain gives it up when nobody could look at it for days.
// One that knows it has it looked at on.
func TestGivenUpByAnother(t *testing.T) {
	bubble(t, func(t *testing.T, s *review.Store) {
		w := newWorld(names(review.Testing, 1)...)
		w.always(w.domains[0].Name, review.Look{})
		run(t, w.options(s), func(*review.Scheduler) {
			wait(3 * 24 * time.Hour)
			if err := s.Tidy(t.Context(), func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
			if w.count(); len(w.configured()) != 1 {
				t.Fatal("it is not configured")
			}
			wait(3 * time.Hour)
			if w.count() == 0 {
				t.Error("nobody looks at it any more")
			}
		})
	})
}
