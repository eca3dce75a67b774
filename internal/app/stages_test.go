package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

// newHousehold is a year in which nobody lives yet, with a guard.
func newHousehold(t *testing.T, guard string) *year {
	t.Helper()
	t.Chdir(t.TempDir())
	y := &year{
		t: t, byName: map[string]*resident{}, records: map[string]string{}, open: map[string]bool{},
		alerts: map[string]int{}, urgent: map[string]int{}, stepped: map[int]int{}, clock: time.Date(2027, 1, 1, 6, 0, 0, 0, time.UTC),
	}
	y.put("main.toml", "policies = [\"policies/*.toml\"]\nstate = \"state\"\n[certificates]\nsource = \"local\"\n[review]\n[rollout]\nguard = \""+guard+"\"\n")
	y.check(os.Mkdir("policies", 0o750))
	y.restart()
	t.Cleanup(func() { y.app.archive.close() })
	return y
}

// move has a domain move in.
func (y *year) move(name, mode, maxAge string, auto bool) *resident {
	r := &resident{kind: &kind{name: name}, name: name, mode: mode, maxAge: maxAge, auto: auto, enforced: -1, hostsSince: y.clock}
	r.mx, r.hosts = []string{"mx." + name}, []string{"mx." + name}
	y.residents, y.byName[name] = append(y.residents, r), r
	return r
}

// save writes the tables, and has the server look.
func (y *year) save() {
	y.t.Helper()
	for _, r := range y.residents {
		if text := r.text(); text != r.written && !r.absent {
			y.put(r.file(), text)
			r.written = text
		}
	}
	y.app.publisher.look()
	y.see()
}

func (y *year) see() {
	for _, r := range y.residents {
		body, _ := y.app.server.Table().Lookup(mtasts.PolicyHost(r.name))
		r.see(body, y.clock)
	}
}

// days lets so many days pass, on which all goes well.
func (y *year) days(n int) {
	for range n {
		y.clock = y.clock.Add(day)
		for _, r := range y.residents {
			r.age++
			r.yesterday = world{r.now().body, r.trouble, r.hosts, r.forged}
		}
		y.mail(context.Background())
		y.review(context.Background())
	}
}

// is is what is served of r: "testing 1d mx.a.example".
func (y *year) is(r *resident) string {
	body, ok := y.app.server.Table().Lookup(mtasts.PolicyHost(r.name))
	if !ok {
		return ""
	}
	p, err := mtasts.Parse(body)
	y.check(err)
	return fmt.Sprint(p.Mode, " ", inUnits(time.Duration(p.MaxAge)*time.Second))
}

func (y *year) want(r *resident, when, want string) {
	y.t.Helper()
	if got := y.is(r); got != want {
		y.t.Errorf("%s, %s: %q is served, want %q\n%s", r.name, when, got, want, y.log.String())
	}
}

// An edit to enforce, by what was served before, what is known, and what somebody says.
func TestGuard(t *testing.T) {
	const silent, alive, gone = "lacking", "there", "database gone"
	for _, guard := range []string{"off", "warn", "refuse"} {
		for _, evidence := range []string{silent, alive, gone} {
			t.Run(guard+", evidence "+evidence, func(t *testing.T) {
				y := newHousehold(t, guard)
				type one struct {
					*resident
					before, word string
				}
				var all []one
				for i, before := range []string{"new", "testing", "enforce", "none"} {
					for j, word := range []string{"no-word", "valid", "expired"} {
						r := y.move(fmt.Sprintf("%s-%s-%d%d.example", before, word, i, j), "testing", "1d", false)
						r.silent = evidence == silent
						all = append(all, one{r, before, word})
						switch before {
						case "new":
							r.absent = true
						case "enforce":
							r.mode, r.extra = "enforce", overrideUntil("2027-01-02")
						case "none":
							r.mode = "none"
						}
					}
				}
				y.save()
				y.restart() // with a ledger that knows something
				y.days(20)
				for _, x := range all {
					if x.before == "enforce" {
						y.want(x.resident, "before", "enforce 1d")
					}
					x.mode, x.maxAge, x.absent, x.extra = "enforce", "30d", false, ""
					switch x.word {
					case "valid":
						x.extra = overrideUntil("2027-02-01")
					case "expired":
						x.extra = overrideUntil("2027-01-19")
					}
				}
				y.save()
				if evidence == gone {
					y.app.archive.close()
				}
				free := func(x one) bool { return guard != "refuse" || x.word == "valid" || x.before == "enforce" }
				for _, x := range all {
					if free(x) {
						y.want(x.resident, "at once", "enforce 30d")
					} else {
						y.want(x.resident, "at once", "testing 1d")
					}
				}
				for range 2 {
					y.app.steward.attend(t.Context())
				}
				y.app.steward.pace(t.Context())
				for _, x := range all {
					switch ripe := x.before == "testing" && evidence == alive; {
					case free(x) || ripe:
						y.want(x.resident, "later", "enforce 30d")
					default:
						y.want(x.resident, "later", "testing 1d")
						if why := y.app.publisher.stager.lacking()[x.name]; why == "" {
							t.Errorf("%s: nobody says what is missing", x.name)
						}
					}
				}
				for _, x := range all {
					want := guard == "warn" && evidence == silent && x.before == "testing" && x.word != "valid"
					if said := strings.Contains(y.log.String(), "without its evidence\" domain="+x.name); said != want {
						t.Errorf("%s: the log tells of an edit without evidence: %t, want %t", x.name, said, want)
					}
				}
				if trouble := strings.Join(y.app.steward.amiss(), "\n"); strings.Contains(trouble, "cannot be looked at") != (evidence == gone) {
					t.Errorf("amiss: %q", trouble)
				}
				y.restart()
				for _, x := range all { // what was reached stays, whatever becomes of the word
					if free(x) {
						y.want(x.resident, "after a restart", "enforce 30d")
					}
				}
			})
		}
	}
}

func overrideUntil(date string) string {
	return fmt.Sprintf("override = { reason = \"a reason\", author = \"me\", until = %q }\n", date)
}

// The ledger is lost: what DNS announces says how strict the policy was.
func TestAdoption(t *testing.T) {
	for _, c := range []struct {
		dns        string
		age        string // announced, with the mode
		mx         string
		auto, hand string // is served then, with a table that says enforce and 30d
	}{
		{"enforce", "30d", "", "enforce 30d", "enforce 30d"},
		{"enforce", "7d", "", "enforce 1w", "enforce 30d"}, // who enforces is not guarded
		{"enforce", "1d", "", "enforce 1d", "enforce 30d"},
		{"testing", "1d", "", "testing 1d", "testing 1d"},
		{"testing", "30d", "", "testing 30d", "testing 30d"}, // only the mode was edited
		{"testing", "7d", "", "testing 1w", "testing 1w"},
		{"testing", "1d", "mx.other.example", "enforce 30d", "enforce 30d"}, // nobody knows how strict it was
		{"nothing", "", "", "testing 1d", "testing 1d"},
		{"dead", "", "", "", ""},
	} {
		t.Run(c.dns+" "+c.age+" "+c.mx, func(t *testing.T) {
			y := newHousehold(t, "refuse")
			auto, hand, testing := y.move("auto.example", "enforce", "30d", true), y.move("hand.example", "enforce", "30d", false), y.move("testing.example", "testing", "1d", true)
			for _, r := range y.residents {
				if c.age == "" {
					continue
				}
				age, err := time.ParseDuration(strings.ReplaceAll(c.age, "d", "") + "h")
				y.check(err)
				mx := mtasts.MXPattern(r.mx[0])
				if c.mx != "" {
					mx = mtasts.MXPattern(c.mx)
				}
				p := mtasts.Policy{Mode: mtasts.Mode(c.dns), MaxAge: int((24 * age).Seconds()), MX: []mtasts.MXPattern{mx}}
				y.records[r.name] = mtasts.ID(p.Body())
			}
			y.dead = c.dns == "dead"
			y.save()
			y.want(auto, "before DNS was asked", "")
			y.want(hand, "before DNS was asked", "")
			y.want(testing, "before DNS was asked", "testing 1d")
			if known := y.app.publisher.stager.waits; !known(auto.name) || known(testing.name) {
				t.Error("reports on what waits for DNS are not taken")
			}
			y.app.steward.attend(t.Context())
			y.want(auto, "then", c.auto)
			y.want(hand, "then", c.hand)
			y.want(testing, "then", "testing 1d")
			if !y.dead {
				return
			}
			y.dead = false // as nothing is announced, they begin in testing
			y.clock = y.clock.Add(time.Hour)
			y.app.steward.attend(t.Context())
			y.want(auto, "once DNS answers", "testing 1d")
		})
	}
}

// A journal with a damaged line may have lost what was served of a domain: it is no reason to
// serve less.
func TestAdoptionAfterDamage(t *testing.T) {
	y := newHousehold(t, "refuse")
	a := y.move("a.example", "enforce", "30d", false)
	a.extra = overrideUntil("2027-01-02")
	y.save()
	b := y.move("b.example", "testing", "1d", false)
	y.save()
	y.want(a, "at first", "enforce 30d")
	y.records[a.name] = mtasts.ID(a.now().body)
	text, err := os.ReadFile("state/ledger/journal")
	y.check(err)
	y.check(os.WriteFile("state/ledger/journal", []byte(strings.Replace(string(text), "a.example", "x.example", 1)), 0o600))
	y.clock = y.clock.Add(10 * day)
	y.restart()
	if y.app.publisher.ledger.Len() != 1 || len(y.app.publisher.ledger.Damage()) != 1 {
		t.Fatalf("the journal is not damaged as it should be: %v", y.app.publisher.ledger.Damage())
	}
	y.want(b, "with a damaged journal", "testing 1d")
	y.app.steward.attend(t.Context())
	y.want(a, "with a damaged journal", "enforce 30d")
}

// The server takes the steps by itself, as far as the table says.
func TestAutoRungs(t *testing.T) {
	y := newHousehold(t, "off")
	a, low := y.move("a.example", "enforce", "30d", true), y.move("low.example", "enforce", "3d", true)
	y.save()
	var steps []string
	seen := map[string]string{}
	for n := range 80 {
		y.days(1)
		y.app.steward.attend(t.Context())
		y.app.steward.pace(t.Context())
		y.see()
		for _, r := range []*resident{a, low} {
			if is := y.is(r); is != seen[r.name] {
				seen[r.name] = is
				steps = append(steps, fmt.Sprintf("%d %s %s", n+1, r.name, is))
			}
		}
		if n == 30 {
			y.restart()
		}
		for range 3 { // looking again changes nothing
			y.app.publisher.look()
		}
	}
	// One a day, as of two domains 5 % is one at least.
	want := []string{"1 a.example testing 1d", "1 low.example testing 1d", "20 a.example enforce 1d", "21 low.example enforce 1d", "31 a.example enforce 1w", "32 low.example enforce 3d", "63 a.example enforce 30d"}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps\n%s\nwant\n%s", strings.Join(steps, "\n"), strings.Join(want, "\n"))
	}
}

// What was granted is for the policy that the evidence is on.
func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*year, *resident)
		want string
	}{
		{"as it was", func(*year, *resident) {}, "enforce 1d"},
		{"other MX hosts", func(_ *year, r *resident) { r.mx = []string{"mx.other.example"} }, "testing 1d"},
		{"to testing and back", func(y *year, r *resident) {
			r.mode = "testing"
			y.save()
			r.mode = "enforce"
		}, "testing 30d"},
		{"to none and back", func(y *year, r *resident) {
			r.mode = "none"
			y.save()
			r.mode = "enforce"
		}, "testing 1d"},
		{"to testing for good", func(_ *year, r *resident) { r.mode = "testing" }, "testing 30d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			y := newHousehold(t, "off")
			r := y.move("a.example", "enforce", "30d", true)
			y.save()
			y.app.steward.attend(t.Context())
			y.want(r, "at first", "testing 1d")
			e, _ := y.app.publisher.ledger.Lookup(r.name)
			y.clock = y.clock.Add(time.Hour)
			if s := y.app.publisher.stager; !s.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day}) || s.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day}) {
				t.Error("a grant is news once")
			}
			c.edit(y, r)
			y.save()
			y.want(r, "then", c.want)
		})
	}
}

// An edit of the MX hosts in the middle is served at once, in the stage that was reached.
func TestEditsOnTheWay(t *testing.T) {
	y := newHousehold(t, "off")
	r := y.move("a.example", "enforce", "30d", true)
	y.save()
	y.app.steward.attend(t.Context())
	e, _ := y.app.publisher.ledger.Lookup(r.name)
	y.app.publisher.stager.grant(r.name, e.ID, stage{mtasts.ModeEnforce, day})
	y.save()
	y.want(r, "after a step", "enforce 1d")
	r.mx = append(r.mx, "mx.new.example")
	y.save()
	y.want(r, "with another MX host", "enforce 1d")
	if body := string(r.now().body); !strings.Contains(body, "mx.new.example") {
		t.Errorf("the edit is not served:\n%s", body)
	}
	r.maxAge = "1d"
	y.save()
	y.want(r, "with a goal that is reached", "enforce 1d")
	r.mode, r.maxAge = "testing", "7d"
	y.save()
	y.want(r, "back to testing", "testing 1w")
	r.mode = "enforce"
	y.save()
	y.want(r, "and to enforce", "testing 1w")
}

// The verbs beside the server show what is served, and not what the table is on its way to.
func TestVerbsShowStages(t *testing.T) {
	y := newHousehold(t, "refuse")
	auto, hand, plain := y.move("auto.example", "enforce", "30d", true), y.move("hand.example", "testing", "7d", false), y.move("plain.example", "testing", "1d", false)
	y.records[auto.name] = "none-of-ours"
	hand.extra = ""
	y.save()
	y.app.steward.attend(t.Context())
	hand.mode, hand.maxAge = "enforce", "30d"
	y.clock = y.clock.Add(time.Hour)
	y.save()
	y.see()
	v, err := OpenView("main.toml", func(err error) { t.Error(err) })
	y.check(err)
	wants := v.Wants()
	for _, r := range []*resident{auto, hand, plain} {
		body := string(r.now().body)
		p, err := v.Policy(r.name)
		y.check(err)
		if p.Policy != body || p.ID != mtasts.ID([]byte(body)) || !p.Current() {
			t.Errorf("%s: policy shows\n%s (%s), served is\n%s", r.name, p.Policy, p.State, body)
		}
		if said := strings.Contains(fmt.Sprint(p.Why), "on the way to enforce"); said != (r != plain) {
			t.Errorf("%s: %v", r.name, p.Why)
		}
		if w := wants[r.name]; string(w.Body) != body {
			t.Errorf("%s: verify wants\n%s", r.name, w.Body)
		}
		views, err := v.Records(t.Context(), []string{r.name}, RecordsOptions{Offline: true})
		y.check(err)
		if got := fmt.Sprint(views[0].Records); !strings.Contains(got, mtasts.ID([]byte(body))) {
			t.Errorf("%s: records are %s", r.name, got)
		}
	}
}

// Alarms that people were told of end, though the server was started anew meanwhile, and
// though the domain is not configured any more.
func TestAlarmsEndAfterARestart(t *testing.T) {
	y := newHousehold(t, "off")
	a, b := y.move("a.example", "enforce", "1d", false), y.move("b.example", "enforce", "1d", false)
	y.save()
	for _, r := range []*resident{a, b} {
		r.forged = []forgery{{"", 0, 10}}
	}
	y.days(2)
	y.app.steward.pace(t.Context())
	if len(y.open) != 2 {
		t.Fatalf("open: %v", y.open)
	}
	a.forged, b.forged = nil, nil
	y.restart()
	y.check(os.Remove(b.file()))
	b.absent = true
	y.save()
	y.days(12)
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("open still: %v", y.open)
	}
}

// A database that is new knows nothing of who was silent before.
func TestNoAlarmOfSilenceBeforeReportsAreKept(t *testing.T) {
	y := newHousehold(t, "off")
	a := y.move("a.example", "enforce", "1d", false)
	a.silent = true
	other := y.move("b.example", "testing", "1d", false)
	y.save()
	y.clock = y.clock.Add(30 * day)
	y.app.steward.pace(t.Context())
	y.days(6)
	y.app.steward.pace(t.Context())
	if len(y.open) != 0 {
		t.Errorf("alarms: %v", y.open)
	}
	y.days(3)
	y.app.steward.pace(t.Context())
	if !y.open[alarmKey(a.name, "heard")] || len(y.open) != 1 {
		t.Errorf("alarms: %v, want one of silence; %s is not silent", y.open, other.name)
	}
}
