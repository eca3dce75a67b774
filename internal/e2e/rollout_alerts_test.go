package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// This file is who is told of alerts: a web hook, and a mailbox behind Postfix.

// hookMessage is what a web hook gets, as far as the tests look at it.
type hookMessage struct {
	Kind           string
	Opened, Closed []struct{ Domain, Code, Severity string }
}

// hook is a web hook, which knows who may post.
type hook struct {
	url string

	mu     sync.Mutex
	got    []hookMessage
	forged []string
}

func startHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	mac := hmac.New(sha256.New, []byte("of the hook"))
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
	var m hookMessage
	err = json.Unmarshal(body, &m)
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Header.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) || err != nil {
		h.forged = append(h.forged, string(body))
		http.Error(w, "not signed", http.StatusUnauthorized)
		return
	}
	h.got = append(h.got, m)
}

// told returns what came so far, and whether any of it was not signed.
func (h *hook) told() (all, forged []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.got {
		for _, a := range m.Opened {
			all = append(all, m.Kind+" "+a.Domain+" "+a.Code)
		}
		for _, a := range m.Closed {
			all = append(all, m.Kind+" "+a.Domain+" "+a.Code)
		}
	}
	return all, slices.Clone(h.forged)
}

// inbox takes mail from Postfix by LMTP.
type inbox struct {
	mu    sync.Mutex
	mails []string
}

func startInbox(t *testing.T, addr string) *inbox {
	t.Helper()
	b := &inbox{}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return inboxSession{b}, nil }))
	server.LMTP, server.Domain, server.ReadTimeout, server.WriteTimeout = true, "ops.test", time.Minute, time.Minute
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // it is closed
	}()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return b
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mails)
}

type inboxSession struct{ b *inbox }

func (inboxSession) Reset()                               {}
func (inboxSession) Logout() error                        { return nil }
func (inboxSession) Mail(string, *smtp.MailOptions) error { return nil }
func (inboxSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s inboxSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.mails = append(s.b.mails, string(text))
	return err
}
