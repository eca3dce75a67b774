package alert_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/alert"
	"mtasts-server/internal/database"
)

// TestRunByTheClock runs for a night of a clock that is not real, with a web hook that is.
func TestRunByTheClock(t *testing.T) {
	var mu sync.Mutex
	kinds := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		_, rest, _ := strings.Cut(string(body), `"kind":"`)
		kind, _, _ := strings.Cut(rest, `"`)
		kinds += kind + " "
	}))
	defer server.Close()
	o := onDisk(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := database.Open(o)
		check(t, err)
		defer db.Close()
		hook, err := alert.NewWebhook(alert.WebhookOptions{URL: server.URL, Secret: "s", Now: time.Now})
		check(t, err)
		s, err := alert.New(alert.Options{DB: db, Webhook: hook, Digest: alert.DefaultDigest, Now: time.Now})
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		want := func(want string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if kinds != want {
				t.Errorf("at %s: %q, want %q", time.Now(), kinds, want)
			}
		}
		want("")
		check(t, s.Raise(ctx, urgent("a"), warning("b")))
		want("opened ")
		time.Sleep(7*time.Hour - time.Minute) // the clock begins at midnight
		want("opened ")
		time.Sleep(2 * time.Minute)
		want("opened digest ")
		cancel()
		check(t, <-done)
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeadMailServerHoldsUpNobody(t *testing.T) {
	d := newDesk(t, onDisk(t))
	tried := make(chan struct{}, 10)
	o := startRelay(t, false).options(t)
	o.Server = listen(t, func(c net.Conn) {
		tried <- struct{}{}
		_, _ = io.Copy(io.Discard, c) // it never says a word
	})
	d.o.Mail = newMail(t, o)
	d.restartOnly()
	posted := make(chan struct{}, 10)
	d.answer = func(http.ResponseWriter, *http.Request) { posted <- struct{}{} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.sender.Run(ctx) }()
	d.raise(urgent("a"))
	<-tried
	<-posted
	d.raise(urgent("b")) // while the mail server is waited for
	<-posted
	cancel()
	d.check(<-done)
	if lines := d.sender.Trouble(); len(lines) != 0 {
		t.Errorf("our own end is no trouble: %q", lines)
	}
}

// TestCrashWhileSending: what was claimed by a process that is no more is sent by another.
func TestCrashWhileSending(t *testing.T) {
	d := newDesk(t, onDisk(t))
	d.raise(urgent("a"))
	d.want(0, "opened a")
	// As if it had not come to note that it was sent.
	_, err := d.o.DB.Exec("UPDATE alert_messages SET state = 'waiting', next = " + fmt.Sprint(d.now.Add(4*time.Minute).Unix()))
	d.check(err)
	d.restart()
	d.want(time.Minute)
	d.want(3*time.Minute, "opened a")
	if len(d.ids) != 2 || d.ids[0] != d.ids[1] {
		t.Errorf("one message has the ids %q", d.ids)
	}
	d.want(time.Hour)
}

func TestDatabaseThatIsAway(t *testing.T) {
	d := newDesk(t, onDisk(t))
	d.o.DB.Close()
	if err := d.sender.Raise(t.Context(), urgent("a")); err == nil {
		t.Error("it says that it keeps what it cannot keep")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d.o.Log = slog.New(slog.NewTextHandler(ender(cancel), nil))
	s, err := alert.New(d.o)
	d.check(err)
	d.check(s.Run(ctx))
	if lines := s.Trouble(); len(lines) != 1 || !strings.Contains(lines[0], "alerts wait for the database since 2026-11-27T12:00:00Z") {
		t.Errorf("trouble %q", lines)
	}
}

// ender ends what runs when something is logged.
type ender func()

func (e ender) Write(p []byte) (int, error) {
	e()
	return len(p), nil
}

func TestRaiseRefusesNonsense(t *testing.T) {
	d := newDesk(t, onDisk(t))
	for _, a := range []alert.Alert{{Severity: alert.Error}, {Key: "a"}, {Key: "a", Severity: "fatal"}} {
		if err := d.sender.Raise(t.Context(), a); err == nil {
			t.Errorf("%+v is taken", a)
		}
	}
	long := strings.Repeat("k", 400)
	d.raise(urgent(long+"1"), urgent(long+"2"))
	if got := d.after(0); len(got) != 2 {
		t.Errorf("of two long keys came %q", got)
	}
	d.raise(closed(long + "1"))
	if got := d.after(0); len(got) != 1 {
		t.Errorf("one ended: %q", got)
	}
}

func TestMetrics(t *testing.T) {
	d := newDesk(t, onDisk(t))
	d.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	d.raise(urgent("a"))
	d.want(0)
	compare := func(sent, failed, queued int) {
		t.Helper()
		want := fmt.Sprintf(`# HELP mtasts_alerts_failed_total Tries to send a message on alerts that failed, by channel.
# TYPE mtasts_alerts_failed_total counter
mtasts_alerts_failed_total{channel="webhook"} %d
# HELP mtasts_alerts_given_up_total Messages on alerts that were refused, or tried for too long, by channel.
# TYPE mtasts_alerts_given_up_total counter
mtasts_alerts_given_up_total{channel="webhook"} 0
# HELP mtasts_alerts_queued Messages on alerts that wait to be sent, by channel.
# TYPE mtasts_alerts_queued gauge
mtasts_alerts_queued{channel="webhook"} %d
# HELP mtasts_alerts_sent_total Messages on alerts that a target took, by channel.
# TYPE mtasts_alerts_sent_total counter
mtasts_alerts_sent_total{channel="webhook"} %d
`, failed, queued, sent)
		if err := testutil.CollectAndCompare(d.sender, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	compare(0, 1, 1)
	d.answer = nil
	d.want(time.Minute, "opened a")
	compare(1, 1, 0)
}
