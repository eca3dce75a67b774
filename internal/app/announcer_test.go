package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mtasts-server/config"
	"mtasts-server/internal/dnsrecords"
	"mtasts-server/internal/ledger"
	"mtasts-server/mtasts"
)

// rig is an announcer whose world is made of functions.
type rig struct {
	t *testing.T
	a *announcer
	l *ledger.Ledger

	mu     sync.Mutex
	served map[string]string // domain -> id that the world sees
	did    []string
	fails  error
	stop   context.CancelFunc
	ended  chan struct{}
}

func newRig(t *testing.T, dir string, d config.DNS) *rig {
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d.TTL == 0 {
		d.TTL = time.Hour
	}
	r := &rig{t: t, l: l, served: map[string]string{}}
	r.a = &announcer{
		settings: d, ledger: l, log: slog.New(slog.DiscardHandler), now: time.Now,
		tasks: map[string]*announcement{}, wake: make(chan struct{}, 1), ways: []way{r},
	}
	r.a.see = func(_ context.Context, domain string, body []byte) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.served[domain] != mtasts.ID(body) {
			return errors.New("not served yet")
		}
		return nil
	}
	return r
}

func (r *rig) name() string { return "the rig" }

func (r *rig) apply(_ context.Context, want, before dnsrecords.Set) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails != nil {
		return r.fails
	}
	r.did = append(r.did, fmt.Sprintf("%s %s>%s %s", want.Domain, short(before.ID), short(want.ID), strings.Join(want.RUA, ",")))
	return nil
}

func (r *rig) covers(domain string) bool { return domain != "elsewhere.example" }

func (r *rig) withdraw(_ context.Context, before dnsrecords.Set) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, fmt.Sprintf("%s %s withdrawn", before.Domain, short(before.ID)))
	return r.fails
}

func (r *rig) leave(_ context.Context, domain string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, domain+" left")
	return r.fails
}

// short is the name of a version in these tests.
func short(id string) string {
	for _, name := range []string{"one", "two", "none"} {
		if id == mtasts.ID(version(name)) {
			return name
		}
	}
	return id
}

func version(name string) []byte {
	p := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []mtasts.MXPattern{mtasts.MXPattern(name + ".example.com")}, MaxAge: 86400}
	return p.Body()
}

func (r *rig) start() {
	r.a.begin()
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan struct{})
	go func() { r.a.run(ctx); close(r.ended) }()
}

func (r *rig) end() {
	r.stop()
	<-r.ended
}

// publish is an edit of the domain, which reports to rua.
func (r *rig) publish(domain, name string, rua ...string) {
	body := version(name)
	if err := r.l.Publish(time.Now(), []ledger.Publication{{Domain: domain, ID: mtasts.ID(body), Body: body}}); err != nil {
		r.t.Fatal(err)
	}
	r.a.touch(map[string]*config.Domain{domain: {Name: domain, Body: body, ID: mtasts.ID(body), TLSRPT: rua}}, nil)
}

func (r *rig) serve(domain, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.served[domain] = mtasts.ID(version(name))
}

func (r *rig) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = err
}

// did says what was done since the last time.
func (r *rig) want(why string, steps ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.did, steps) {
		r.t.Errorf("%s: %q, want %q", why, r.did, steps)
	}
	r.did = nil
}

// The body is seen first, then the id is announced; where to report to is told at once.
func TestAnnounceWhatWasSeen(t *testing.T) {
	const d, rua, other = "example.com", "mailto:a@example.com", "https://b.example/"
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		r.start()
		defer r.end()
		r.publish(d, "one", rua)
		r.want("a new domain", "example.com > "+rua)
		time.Sleep(time.Hour)
		r.want("nobody serves it")
		if p := r.a.progress(nil); len(p) != 1 || p[0].Next != stepSee || p[0].Error != "not served yet" || p[0].Failures < troubled || len(r.a.amiss()) != 1 {
			t.Errorf("progress is %+v, amiss %q", p, r.a.amiss())
		}
		r.serve(d, "one")
		time.Sleep(2 * time.Hour)
		r.want("it is served", "example.com >one "+rua)
		r.publish(d, "two", rua)
		r.want("an edit that is not served yet")
		r.publish(d, "one", rua)
		time.Sleep(2 * time.Hour)
		r.want("an edit that was taken back")
		r.publish(d, "two", rua)
		r.serve(d, "two")
		time.Sleep(time.Minute)
		r.want("an edit that is served", "example.com one>two "+rua)
		r.publish(d, "two", rua, other)
		r.want("reports go elsewhere", "example.com two>two "+rua+","+other)
		time.Sleep(48 * time.Hour)
		r.want("nothing is done without need")
		if len(r.a.tasks) != 0 || len(r.a.amiss()) != 0 {
			t.Errorf("still at work: %v", r.a.tasks)
		}
		if a, ok := r.l.Announced(d); !ok || short(a.ID) != "two" || a.RUA != rua+","+other {
			t.Errorf("the ledger says %+v", a)
		}
	})
}

// With a delay the policy is looked at once more after it.
func TestAnnounceAfterDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{IDDelay: time.Hour})
		r.start()
		defer r.end()
		r.serve("example.com", "one")
		r.publish("example.com", "one")
		r.want("before the delay", "example.com > ")
		time.Sleep(59 * time.Minute)
		r.want("in the delay")
		r.serve("example.com", "two") // a replica that fell behind
		time.Sleep(2 * time.Minute)
		r.want("it is not served any more")
		r.serve("example.com", "one")
		time.Sleep(50 * time.Minute)
		r.want("the delay begins anew")
		time.Sleep(time.Hour)
		r.want("after it", "example.com >one ")
	})
}

// What is no longer served leaves in order: the id first, the host when no cache can have
// the id any more (RFC 8461 §8.3). A restart in between changes nothing.
func TestAnnounceWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, dir, config.DNS{})
		r.start()
		for _, d := range []string{"stays.example", "goes.example"} {
			r.serve(d, "one")
			r.publish(d, "one", "mailto:a@"+d)
			time.Sleep(time.Minute)
		}
		r.want("two domains", "stays.example > mailto:a@stays.example", "stays.example >one mailto:a@stays.example",
			"goes.example > mailto:a@goes.example", "goes.example >one mailto:a@goes.example")
		if err := r.l.Forget(time.Now(), "goes.example"); err != nil {
			t.Fatal(err)
		}
		r.a.touch(map[string]*config.Domain{"goes.example": nil}, nil)
		r.want("the records go first", "goes.example one withdrawn")
		time.Sleep(30 * time.Minute)
		r.end()
		r = newRig(t, dir, config.DNS{})
		r.start()
		defer func() { r.end() }()
		time.Sleep(29 * time.Minute)
		r.want("the host stays while the id may be cached")
		time.Sleep(2 * time.Minute)
		r.want("then it goes", "goes.example left")
		if all := r.l.AllAnnounced(); len(all) != 1 || all[0].Domain != "stays.example" {
			t.Errorf("the ledger says %+v", all)
		}
	})
}

// A way that fails is tried again; a record of somebody else's is left to people.
func TestAnnounceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		r.serve("example.com", "one")
		r.fail(errors.New("SERVFAIL"))
		r.start()
		defer r.end()
		r.publish("example.com", "one")
		time.Sleep(3 * time.Minute)
		if p := r.a.progress([]string{"example.com"}); len(p) != 1 || p[0].Error != "the rig: SERVFAIL" || p[0].Failures != 4 {
			t.Errorf("progress is %+v", p)
		}
		r.fail(foreignError{errors.New("somebody else's")})
		time.Sleep(10 * time.Minute)
		r.fail(nil)
		time.Sleep(30 * time.Minute)
		r.want("a person is given time")
		time.Sleep(time.Hour)
		r.want("in the end", "example.com > ", "example.com >one ")
	})
}

// An edit of a domain that is just being worked for counts.
func TestAnnounceEditMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		looking, look := make(chan struct{}), make(chan error)
		see := r.a.see
		first := true
		r.a.see = func(ctx context.Context, domain string, body []byte) error {
			if first {
				first = false
				close(looking)
				return <-look
			}
			return see(ctx, domain, body)
		}
		r.serve("example.com", "two")
		r.start()
		defer r.end()
		r.publish("example.com", "one")
		<-looking
		r.publish("example.com", "two")
		look <- nil // what it saw was the policy before
		time.Sleep(time.Minute)
		r.want("the edit", "example.com > ", "example.com >two ")
	})
}

// So does one that is taken back meanwhile: what is announced already is right again, and
// what was seen is not what is served.
func TestAnnounceEditTakenBackMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		r.serve("example.com", "one")
		r.start()
		defer r.end()
		r.publish("example.com", "one")
		time.Sleep(time.Minute)
		r.want("published", "example.com > ", "example.com >one ")
		looking, look := make(chan struct{}), make(chan error)
		see := r.a.see
		r.a.see = func(context.Context, string, []byte) error {
			close(looking)
			return <-look
		}
		r.publish("example.com", "two")
		<-looking
		r.a.see = see
		r.publish("example.com", "one")
		look <- nil
		time.Sleep(24 * time.Hour)
		r.want("the edit was taken back")
		if a, _ := r.l.Announced("example.com"); short(a.ID) != "one" || len(r.a.tasks) != 0 {
			t.Errorf("announced is %s, and to do %v", short(a.ID), r.a.tasks)
		}
	})
}

// What is kept although its configuration is broken goes on reporting to where it did.
func TestAnnounceKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir(), config.DNS{})
		r.serve("example.com", "one")
		r.start()
		defer r.end()
		r.publish("example.com", "one", "mailto:a@example.com")
		time.Sleep(time.Minute)
		r.want("published", "example.com > mailto:a@example.com", "example.com >one mailto:a@example.com")
		r.a.touch(map[string]*config.Domain{"example.com": nil}, nil)
		time.Sleep(time.Hour)
		r.want("broken")
	})
}

// A dry run says what it would do, and neither does nor notes it.
func TestAnnounceDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := newRig(t, t.TempDir(), config.DNS{DryRun: true, Target: []string{"policy.example.net"}})
		r.a.log = slog.New(slog.NewTextHandler(&log, nil))
		r.serve("example.com", "one")
		r.start()
		r.publish("example.com", "one", "mailto:a@example.com")
		time.Sleep(time.Minute)
		r.end()
		if all := r.l.AllAnnounced(); len(all) > 0 {
			t.Errorf("the ledger says %+v", all)
		}
		for _, record := range []string{"mta-sts.example.com. 3600 IN CNAME policy.example.net.", "v=TLSRPTv1; rua=mailto:a@example.com"} {
			if !strings.Contains(log.String(), record) {
				t.Errorf("the log says\n%s\nand nothing of %s", &log, record)
			}
		}
	})
}

// Zone files follow what is announced; where they cannot be written they are once they can.
func TestExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		blocked := filepath.Join(dir, "zones")
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		x := newExporter(config.DNS{TTL: time.Hour, Export: &config.DNSExport{Directory: blocked, File: filepath.Join(dir, "all.zone")}}, slog.New(slog.DiscardHandler))
		x.take([]dnsrecords.Set{{Domain: "a.example", ID: "1"}, {Domain: "b.example", ID: "1"}}, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.HasPrefix(x.amiss(), "zone files cannot be written: ") {
			t.Errorf("a file was taken for a directory: %q", x.amiss())
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		x.take(nil, []string{"b.example"})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if why := x.amiss(); why != "" {
			t.Error(why)
		}
		for file, want := range map[string]string{"zones/a.example.zone": "id=1", "zones/b.example.zone": "", "all.zone": "_mta-sts.a.example."} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil || !strings.Contains(string(text), want) || strings.Contains(string(text), "b.example.") {
				t.Errorf("%s: %s, %v", file, text, err)
			}
		}
	})
}

// A journal may have lost what is served of a domain, and not what is announced of it: as long
// as DNS is asked how strict that was, its record stays there.
func TestRecordStaysWhileItIsTheEvidence(t *testing.T) {
	r := newRig(t, t.TempDir(), config.DNS{})
	if err := r.l.Announce(time.Now(), []ledger.Announcement{{Domain: "a.example", ID: mtasts.ID(version("one")), By: "the rig"}}); err != nil {
		t.Fatal(err)
	}
	waiting := true
	r.a.waits = func(string) bool { return waiting }
	work := func() time.Duration {
		r.a.begin()
		wait, err := r.a.work(t.Context(), r.a.tasks["a.example"])
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	if wait := work(); wait <= 0 || len(r.did) > 0 {
		t.Errorf("waits for %s, and did %v", wait, r.did)
	}
	waiting = false
	if work(); fmt.Sprint(r.did) != "[a.example one withdrawn]" {
		t.Errorf("did %v after that", r.did)
	}
}
