package intake_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"mtasts-server/internal/reports"
	"mtasts-server/internal/reports/intake"
	"mtasts-server/policyserve"
)

// A sender is told that we have it when we have it.
func TestPostAnswersWhenStored(t *testing.T) {
	var kept atomic.Bool
	arrived, release := make(chan struct{}), make(chan struct{})
	w := startPost(t, intake.PostOptions{Deliver: func(context.Context, *reports.Arrival) error {
		close(arrived)
		<-release
		kept.Store(true)
		return nil
	}}, policyserve.Options{}, nil)
	c := w.dial(t)
	answer := make(chan bool, 1)
	go func() {
		say(t, c, poster("/", "", "", "{}"))
		answer <- kept.Load()
	}()
	<-arrived
	close(release)
	if !<-answer {
		t.Error("the answer came before the report was kept")
	}
}

// What came whole is kept, though the sender went away.
func TestPostKeepsForWhoLeft(t *testing.T) {
	arrived, result := make(chan struct{}), make(chan error, 1)
	gone := make(chan context.Context, 1)
	w := startPost(t, intake.PostOptions{Deliver: func(ctx context.Context, _ *reports.Arrival) error {
		close(arrived)
		<-(<-gone).Done() // of the request
		result <- ctx.Err()
		return nil
	}}, policyserve.Options{}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gone <- r.Context()
			h.ServeHTTP(w, r)
		})
	})
	c := w.dial(t)
	if _, err := io.WriteString(c, poster("/", "", "", "{}")); err != nil {
		t.Fatal(err)
	}
	<-arrived
	c.Close()
	if err := <-result; err != nil {
		t.Errorf("keeping it was given up: %v", err)
	}
}

func TestPostWithoutRoomOnDisk(t *testing.T) {
	var log bytes.Buffer
	now := postNoon
	w := startPost(t, intake.PostOptions{
		Deliver: func(context.Context, *reports.Arrival) error { return errors.New("the disk is full") },
		Log:     slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	}, policyserve.Options{}, nil)
	for _, after := range []time.Duration{0, time.Second, 58 * time.Second, time.Second} {
		now = now.Add(after)
		res, _ := say(t, w.dial(t), poster("/", "", "", "{}"))
		if res.StatusCode != 503 || res.Header.Get("Retry-After") != "3600" {
			t.Errorf("%s %v", res.Status, res.Header)
		}
	}
	if n := strings.Count(log.String(), "the disk is full"); n != 2 {
		t.Errorf("told %d times in a minute: %s", n, &log)
	}
	if n := gathered(t, w, "mtasts_reportpost_requests_total", "503", "full"); n != 4 {
		t.Errorf("%v are counted", n)
	}
}

// Who announces a body and sends nothing more is ended, with an answer.
func TestPostThatStops(t *testing.T) {
	w := startPost(t, intake.PostOptions{Limits: intake.PostLimits{PieceTime: 50 * time.Millisecond}}, policyserve.Options{}, nil)
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: " + postHost + "\r\nContent-Length: 100\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: " + postHost + "\r\nContent-Length: 100\r\n\r\n{",
		"POST / HTTP/1.1\r\nHost: " + postHost + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{",
		"POST / HTTP/1.1\r\nHost: " + postHost + "\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n1",
	} {
		c := w.dial(t)
		if res, _ := say(t, c, request); res.StatusCode != 408 || !res.Close {
			t.Errorf("%.80q: %s", request, res.Status)
		}
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Error("the connection is open still")
		}
	}
	in, out := io.Pipe()
	defer out.Close()
	res, err := w.client(t, 2).Post("https://"+postHost+"/", "", in)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 408 {
		t.Errorf("HTTP/2: %s", res.Status)
	}
	if w.last() != nil || held(t, w) != 0 {
		t.Error("something is left of it")
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// Who sends byte by byte is ended as well: he must bring 64 KiB in the time of a piece, and
// the whole in that of a body. Between two bytes a policy is fetched.
func TestPostThatTrickles(t *testing.T) {
	const limit, patience = 300 * time.Millisecond, 10 * time.Second
	for name, limits := range map[string]intake.PostLimits{
		"piece": {PieceTime: limit, BodyTime: time.Hour},
		"body":  {PieceTime: time.Hour, BodyTime: limit},
	} {
		w := startPost(t, intake.PostOptions{Limits: limits}, policyserve.Options{}, nil)
		fetch := w.client(t, 1)
		for proto, open := range map[int]func(testing.TB, *postWorld) (func(), chan int){1: trickle, 2: trickleHTTP2} {
			send, answer := open(t, w)
			status := 0
			for began := time.Now(); status == 0 && time.Since(began) < patience; {
				send()
				res, err := fetch.Get("https://mta-sts.example.com/.well-known/mta-sts.txt")
				if err != nil || res.StatusCode != 200 {
					t.Fatal(res, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				select {
				case status = <-answer:
				default:
				}
			}
			if status != 408 {
				t.Errorf("%s, HTTP/%d: %d", name, proto, status)
			}
		}
	}
}

// trickle begins to post. send sends one byte more.
func trickle(t testing.TB, w *postWorld) (send func(), answer chan int) {
	c := w.dial(t)
	answer = make(chan int, 1)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: "+postHost+"\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			answer <- -1
			return
		}
		res.Body.Close()
		answer <- res.StatusCode
	}()
	return func() { _, _ = io.WriteString(c, "1\r\nx\r\n") }, answer
}

func trickleHTTP2(t testing.TB, w *postWorld) (send func(), answer chan int) {
	in, out := io.Pipe()
	t.Cleanup(func() { out.Close() })
	client := w.client(t, 2)
	answer = make(chan int, 1)
	go func() {
		defer in.Close()
		res, err := client.Post("https://"+postHost+"/", "", in)
		if err != nil {
			answer <- -1
			return
		}
		res.Body.Close()
		answer <- res.StatusCode
	}()
	return func() { _, _ = io.WriteString(out, "x") }, answer
}

// The time for a body is longer than the time for the header of a policy fetch.
func TestPostOutlivesPolicyTimeouts(t *testing.T) {
	short := policyserve.Limits{HeaderTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond}
	w := startPost(t, intake.PostOptions{}, policyserve.Options{Limits: short}, nil)
	for _, proto := range []int{1, 2} {
		in, out := io.Pipe()
		answer := make(chan int, 1)
		go func() {
			res, err := w.client(t, proto).Post("https://"+postHost+"/", "", in)
			if err != nil {
				t.Error(err)
				answer <- 0
				return
			}
			res.Body.Close()
			answer <- res.StatusCode
		}()
		_, _ = io.WriteString(out, "{")
		for range 2 {
			_, _ = io.Copy(io.Discard, w.dial(t)) // silent, until the time for a header is over
		}
		_, _ = io.WriteString(out, "}")
		out.Close()
		if got := <-answer; got != 200 || string(w.last().Data) != "{}" {
			t.Errorf("HTTP/%d: %d", proto, got)
		}
	}
}

// The metrics are a closed set.
func TestPostMetrics(t *testing.T) {
	w := startPost(t, intake.PostOptions{}, policyserve.Options{}, nil)
	before := testutil.CollectAndCount(w.Post)
	for _, request := range []string{poster("/evil", "evil", "", "evil"), strings.Replace(poster("/", "", "", ""), "POST", "BREW", 1), poster("/", "", "", "")} {
		say(t, w.dial(t), request)
	}
	if after := testutil.CollectAndCount(w.Post); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	if problems, err := testutil.CollectAndLint(w.Post); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	for _, labels := range [][]string{{"200", "stored"}, {"405", "method"}, {"400", "empty"}} {
		if n := gathered(t, w, "mtasts_reportpost_requests_total", labels...); n != 1 {
			t.Errorf("%v %q", n, labels)
		}
	}
}
