package alert_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mtasts-server/internal/alert"
)

func newWebhook(t *testing.T, o alert.WebhookOptions) *alert.Webhook {
	t.Helper()
	o.Now = func() time.Time { return noon }
	if o.Secret == "" {
		o.Secret = "secret"
	}
	w, err := alert.NewWebhook(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWebhookIsSigned(t *testing.T) {
	key := []byte("0123456789abcdef")
	seen := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen++
		body, _ := io.ReadAll(r.Body)
		id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want {
			t.Errorf("signature %q, want %q", r.Header.Get("Webhook-Signature"), want)
		}
		if !strings.HasPrefix(id, "msg_") || at != strconv.FormatInt(noon.Unix(), 10) || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		if !bytes.Contains(body, []byte(`"kind":"test"`)) {
			t.Errorf("body %s", body)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w := newWebhook(t, alert.WebhookOptions{URL: server.URL, Secret: "whsec_" + base64.StdEncoding.EncodeToString(key), Roots: roots})
	if err := w.Test(t.Context()); err != nil || seen != 1 {
		t.Errorf("error %v, seen %d times", err, seen)
	}
	if err := newWebhook(t, alert.WebhookOptions{URL: server.URL}).Test(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

func TestWebhookOptions(t *testing.T) {
	for _, c := range []struct{ url, secret, want string }{
		{"http://hooks.example.com/token", "s", "not https"},
		{"ftp://hooks.example.com/token", "s", "not https"},
		{"http://localhost.example.com/token", "s", "not https"},
		{"token", "s", "is none"},
		{"https://hooks.example.com/token", "", "needs a secret"},
		{"https://hooks.example.com/token", "whsec_token!", "no base64"},
	} {
		_, err := alert.NewWebhook(alert.WebhookOptions{URL: c.url, Secret: c.secret, Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "token") {
			t.Errorf("%q: %v, want %q and no token", c.url, err, c.want)
		}
	}
}

// answers of web hooks, and whether the message is tried again.
func TestWebhookAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		again  bool
		want   string
	}{
		{"gone", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\x1b[31m\nsuch hook", http.StatusGone) }, false, `410 Gone: no\x1b[31m such hook`},
		{"too large", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(413) }, false, "413"},
		{"wrong secret", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, true, "401"},
		{"not there for a moment", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, true, "404"},
		{"timeout", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(408) }, true, "408"},
		{"too many", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, true, "429"},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, true, "500"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, true, "it redirects"},
		{"ends", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, "EOF"},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		}, true, "xxx..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, onDisk(t))
			tries := 0
			d.answer = func(w http.ResponseWriter, r *http.Request) {
				if tries++; r.URL.Path != "/" {
					t.Errorf("asked for %s", r.URL)
				}
				c.answer(w, r)
			}
			d.raise(urgent("a"))
			d.want(0)
			if lines := d.sender.Trouble(); len(lines) != 1 || !strings.Contains(lines[0], c.want) || len(lines[0]) > 1000 {
				t.Errorf("trouble %q, want %q", lines, c.want)
			}
			d.answer = nil
			if c.again {
				d.want(time.Minute, "opened a")
			} else {
				d.want(time.Hour)
				d.now = d.now.Add(24 * time.Hour)
			}
			if lines := d.sender.Trouble(); len(lines) != 0 || tries != 1 {
				t.Errorf("after %d tries there is still trouble: %q", tries, lines)
			}
		})
	}
}

func TestWebhookThatHangs(t *testing.T) {
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer server.Close()
	defer close(stop)
	w := newWebhook(t, alert.WebhookOptions{URL: server.URL, Timeout: 50 * time.Millisecond})
	if err := w.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "has not answered within 50ms") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newWebhook(t, alert.WebhookOptions{URL: server.URL}).Test(ctx); err == nil {
		t.Error("no error, and it was ended")
	}
}

func TestBackoffAndGivingUp(t *testing.T) {
	d := newDesk(t, onDisk(t))
	var at []time.Duration
	var ids []string
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		at, ids = append(at, d.now.Sub(noon)), append(ids, r.Header.Get("Webhook-Id"))
		w.WriteHeader(http.StatusBadGateway)
	}
	d.raise(urgent("a"))
	for d.now.Sub(noon) < 74*time.Hour {
		if pass := time.Minute; d.now.Sub(noon) < 4*time.Hour {
			d.after(pass)
		} else {
			d.after(20 * pass)
		}
	}
	var waits []time.Duration
	for i, a := range at[1:] {
		waits = append(waits, a-at[i])
	}
	first := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, time.Hour, time.Hour}
	if len(waits) < 60 || !slices.Equal(waits[:8], first) {
		t.Errorf("waits %v", waits)
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 4 { // with three digests
		t.Errorf("%d ids", len(ids))
	}
	if last := at[len(at)-1]; last < 72*time.Hour {
		t.Errorf("given up after %s", last)
	}
	if lines := strings.Join(d.sender.Trouble(), "\n"); !strings.Contains(lines, "was given up") || !strings.Contains(lines, "a.example: mail will be lost") {
		t.Errorf("trouble %q", lines)
	}
}
