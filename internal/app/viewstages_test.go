package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mtasts-server/mtasts"
)

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
