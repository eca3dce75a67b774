package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mtasts-server/internal/alert"
	"mtasts-server/internal/lookup"
	"mtasts-server/mtasts"
)

// year is a year in the life of a server, on real files, a real ledger and a real database;
// time, DNS, the world of mail and the people are made up. Nothing waits, and nothing is
// asked over a network.
type year struct {
	t         *testing.T
	app       *App
	log       bytes.Buffer
	clock     time.Time
	day       int
	residents []*resident
	byName    map[string]*resident

	records map[string]string // domain -> id in DNS
	dead    bool              // DNS does not answer

	open    map[string]bool // alerts that are open
	alerts  map[string]int  // by domain
	urgent  map[string]int  // those of them that are told at once
	stopped []int           // days on which the rollout stood still

	stepped map[int]int // by day: steps that the server took by itself
}

// TestYear: every domain ends where it should, none steps too early, and no attack steps
// anything down. The table of outcomes is kept in testdata.
func TestYear(t *testing.T) {
	size := 1000
	if testing.Short() || raceDetector {
		size = 40
	}
	t.Chdir(t.TempDir())
	y := newYear(t, size)
	for y.day = range 365 {
		y.clock = time.Date(2027, 1, 1, 6, 0, 0, 0, time.UTC).AddDate(0, 0, y.day)
		y.live()
		if t.Failed() {
			break
		}
	}
	y.app.archive.close()
	y.wantEnds()
	y.wantTable(fmt.Sprintf("year-%d.txt", size))
}

func newYear(t *testing.T, size int) *year {
	y := &year{
		t: t, residents: settle(size), byName: map[string]*resident{}, records: map[string]string{},
		open: map[string]bool{}, alerts: map[string]int{}, urgent: map[string]int{}, stepped: map[int]int{},
		clock: time.Date(2027, 1, 1, 6, 0, 0, 0, time.UTC),
	}
	for _, r := range y.residents {
		y.byName[r.name] = r
		r.hostsSince = y.clock
	}
	y.put("main.toml", `policies = ["policies/*.toml"]
state = "state"
[log]
level = "error"
[certificates]
source = "local"
[review]
[rollout]
guard = "refuse"
percent_a_day = 5
`)
	y.check(os.Mkdir("policies", 0o750))
	y.restart()
	return y
}

func (y *year) check(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatalf("day %d: %v\n%s", y.day, err, y.log.String())
	}
}

// put writes a file as if some time ago, so that it is believed at once.
func (y *year) put(name, text string) {
	y.t.Helper()
	y.check(os.WriteFile(name, []byte(text), 0o600))
	old := time.Now().Add(-time.Minute)
	y.check(os.Chtimes(name, old, old))
}

// restart starts the program anew on the same disk.
func (y *year) restart() {
	y.t.Helper()
	if y.app != nil {
		y.app.archive.close()
	}
	now := func() time.Time { return y.clock }
	var err error
	y.app, err = New(Options{ConfigFile: "main.toml", Stdout: &y.log, Stderr: &y.log, Now: now})
	y.check(err)
	y.app.alerting.tell = y.tell
	y.app.steward.open = y.kept
	y.app.steward.resolver = lookup.Over(y.answer, now)
	y.app.publisher.look()
}

// answer is the world's DNS.
func (y *year) answer(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
	if y.dead {
		return nil, context.DeadlineExceeded
	}
	name := q.Question[0].Name
	m := new(dns.Msg).SetReply(q)
	if id := y.records[strings.TrimSuffix(strings.TrimPrefix(name, "_mta-sts."), ".")]; id != "" {
		rr, err := dns.NewRR(fmt.Sprintf("%s 300 IN TXT %q", name, mtasts.Record{ID: id}))
		if err != nil {
			return nil, err
		}
		m.Answer = append(m.Answer, rr)
	} else {
		m.Rcode = dns.RcodeNameError
	}
	return m, nil
}

// tell counts what people are told of: each trouble once, when it opens.
func (y *year) tell(_ context.Context, alerts ...alert.Alert) error {
	for _, a := range alerts {
		switch {
		case a.Closed:
			delete(y.open, a.Key)
		case a.Event: // it is told once, and never over
			y.alerts[a.Domain]++
		case !y.open[a.Key]:
			y.open[a.Key] = true
			y.alerts[a.Domain]++
			if a.Urgent {
				y.urgent[a.Domain]++
			}
		}
	}
	return nil
}

// kept are the keys that begin so of what people were told of.
func (y *year) kept(_ context.Context, beginning string) (keys []string, err error) {
	for key := range y.open {
		if strings.HasPrefix(key, beginning) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
