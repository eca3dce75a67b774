package app

import (
	"context"
	"fmt"
	"os"
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
