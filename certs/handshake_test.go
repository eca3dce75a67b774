package certs

import (
	"context"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeResponder answers a CA for one host.
type fakeResponder struct{ cert *tls.Certificate }

func (f *fakeResponder) challengeCert(h string) *tls.Certificate {
	if h == host {
		return f.cert
	}
	return nil
}

func (f *fakeResponder) keyAuthorization(h, token string) (string, bool) {
	return token + ".thumbprint", h == host && token == "token"
}

// serving is a Manager of hosts with a fake engine, as it is before Run.
func serving(t testing.TB, w *world, hosts ...string) *Manager {
	t.Helper()
	m := &Manager{o: Options{Source: SourceCertmagic, Log: slog.New(slog.DiscardHandler), Now: w.time}, engine: w.e, sched: w.scheduler}
	m.hosts.Store(&table{})
	m.Manage(hosts)
	return m
}

func hello(name string, protos ...string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: name, SupportedProtos: protos}
}

// Before the scheduler has read a host's file, handshakes do, and share one read.
func TestHandshakesShareTheFirstRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		want := valid(90 * day)
		var reads sync.Map
		w.e.onStored = func(ctx context.Context, host string) (*certificate, error) {
			if _, again := reads.LoadOrStore(host, true); again {
				t.Error("read twice")
			}
			return want, pause(ctx, time.Second)
		}
		m := serving(t, w, host)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c, err := m.GetCertificate(hello(host)); !made(c, want) || err != nil {
					t.Errorf("%v, %v", c, err)
				}
			})
		}
		wg.Wait()
	})
}

// A disk that hangs, fails or makes the reader panic costs the answer, and no
// second one waits for it: the scheduler goes on trying.
func TestHandshakeWithoutADisk(t *testing.T) {
	for _, c := range []struct {
		why    string
		stored func(context.Context, string) (*certificate, error)
	}{
		{"nothing is stored", func(context.Context, string) (*certificate, error) { return nil, fs.ErrNotExist }},
		{"it fails", func(context.Context, string) (*certificate, error) { return nil, errDisk }},
		{"it hangs", func(ctx context.Context, _ string) (*certificate, error) { <-ctx.Done(); return nil, ctx.Err() }},
		{"it panics", func(context.Context, string) (*certificate, error) { panic("disk") }},
	} {
		t.Run(c.why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, false)
				w.e.onStored = c.stored
				m := serving(t, w, host)
				for range 2 {
					if c, err := m.GetCertificate(hello(host)); c != nil || err != nil {
						t.Errorf("%v, %v", c, err)
					}
					w.e.mu.Lock()
					w.e.onStored = func(context.Context, string) (*certificate, error) {
						t.Error("read once more")
						return nil, errDisk
					}
					w.e.mu.Unlock()
				}
				pass(lookLimit)
			})
		})
	}
}

// Who hangs up does not wait for the disk; those who stay get their answer.
func TestHandshakeHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		want := valid(90 * day)
		w.e.onStored = func(ctx context.Context, _ string) (*certificate, error) { return want, pause(ctx, coldWait*3/4) }
		m := serving(t, w, host)
		slot := (*m.hosts.Load())[host]
		ctx, hangUp := context.WithCancel(t.Context())
		gone, stays := make(chan *certificate), make(chan *certificate)
		go func() { gone <- m.readCold(ctx, slot) }()
		go func() { stays <- m.readCold(t.Context(), slot) }()
		pass(coldWait / 4)
		hangUp()
		if c := <-gone; c != nil {
			t.Error("it waited")
		}
		if c := <-stays; c != want {
			t.Errorf("who stays got %v", c)
		}
	})
}

// Storage that does not answer costs handshakes of hosts that were not asked for yet a
// while at first, and then nothing. Others never wait.
func TestHandshakesWhileStorageHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		answers := make(chan struct{})
		want := valid(90 * day)
		w.e.onStored = func(_ context.Context, name string) (*certificate, error) {
			if strings.HasPrefix(name, "cold") {
				<-answers
			}
			return want, nil
		}
		const late = "late.example.com" // its file can be read
		cold := names("cold", 100)
		m := serving(t, w, append(cold, host, late)...)
		handshake := func(name string, good bool, within time.Duration) {
			t.Helper()
			began := time.Now()
			c, err := m.GetCertificate(hello(name))
			if took := time.Since(began); err != nil || made(c, want) != good || took > within {
				t.Errorf("%s: %v, %v after %s", name, c, err, took)
			}
		}
		handshake(host, true, 0)
		var wg sync.WaitGroup
		for _, name := range cold[:coldSlow] {
			wg.Go(func() { handshake(name, false, coldWait) })
		}
		wg.Wait()
		synctest.Wait()
		handshake(late, true, 0)
		for i, name := range cold {
			within := time.Duration(0)
			if i < coldMost {
				within = coldBrief
			}
			handshake(name, false, within)
			handshake(host, true, 0)
			synctest.Wait()
		}
		if lines := m.Trouble(); len(lines) != 1 {
			t.Errorf("it is told by %q", lines)
		}
		close(answers)
		synctest.Wait()
		for _, name := range cold {
			handshake(name, true, 0)
		}
		if lines := m.Trouble(); len(lines) != 0 {
			t.Errorf("it is told still: %q", lines)
		}
	})
}

func TestChallengeHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, false)
		own, challenge := valid(90*day), &tls.Certificate{}
		w.e.onStored = func(context.Context, string) (*certificate, error) { return own, nil }
		m := serving(t, w, host, "b.example.com")
		m.responder = &fakeResponder{cert: challenge}
		isChallenge := func(c *tls.Certificate) bool { return c == challenge }
		isOwn := func(c *tls.Certificate) bool { return made(c, own) }
		isNothing := func(c *tls.Certificate) bool { return c == nil }
		for _, c := range []struct {
			why     string
			hello   *tls.ClientHelloInfo
			disable bool
			want    func(*tls.Certificate) bool
		}{
			{"the CA", hello(host, alpnProto), false, isChallenge},
			{"the CA, spelling the name its own way", hello("MTA-STS.EXAMPLE.COM.", alpnProto), false, isChallenge},
			{"a sender", hello(host, "http/1.1"), false, isOwn},
			{"who offers more than the challenge is no CA (RFC 8737 §3)", hello(host, alpnProto, "http/1.1"), false, isOwn},
			{"no challenge is under way", hello("b.example.com", alpnProto), false, isNothing},
			{"a host that is not ours", hello("c.example.com", alpnProto), false, isNothing},
			{"no name", hello("", alpnProto), false, isNothing},
			{"switched off", hello(host, alpnProto), true, isNothing},
		} {
			m.o.DisableTLSALPN01 = c.disable
			if got, err := m.GetCertificate(c.hello); !c.want(got) || err != nil {
				t.Errorf("%s: %v, %v", c.why, got, err)
			}
			if n := len(m.NextProtos()); n != 1 && !c.disable || n != 0 && c.disable {
				t.Errorf("%s: %d protocols", c.why, n)
			}
		}
	})
}

func TestHTTPChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serving(t, newWorld(t, 2, false), host)
		next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		get := func(method, host, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://x"+path, nil)
			r.Host = host
			rec := httptest.NewRecorder()
			m.HTTPHandler(next).ServeHTTP(rec, r)
			return rec
		}
		if code := get("GET", host, challengePath+"token").Code; code != http.StatusTeapot {
			t.Errorf("no CA checks us, but %d", code)
		}
		m.responder = &fakeResponder{}
		for _, c := range []struct {
			why, method, host, path string
			ours                    bool
		}{
			{"the CA", "GET", host, challengePath + "token", true},
			{"with a port", "GET", host + ":80", challengePath + "token", true},
			{"in upper case", "GET", "MTA-STS.EXAMPLE.COM.", challengePath + "token", true},
			{"only asking whether it is there", "HEAD", host, challengePath + "token", true},
			{"another token", "GET", host, challengePath + "other", false},
			{"no token", "GET", host, challengePath, false},
			{"a host that is not ours", "GET", "b.example.com", challengePath + "token", false},
			{"no host", "GET", "", challengePath + "token", false},
			{"something else", "GET", host, "/.well-known/mta-sts.txt", false},
			{"a POST", "POST", host, challengePath + "token", false},
		} {
			rec := get(c.method, c.host, c.path)
			if (rec.Code == http.StatusOK && rec.Body.String() == "token.thumbprint") != c.ours || (rec.Code == http.StatusTeapot) == c.ours {
				t.Errorf("%s: %d %q", c.why, rec.Code, rec.Body)
			}
		}
		m.o.DisableHTTP01 = true
		if code := get("GET", host, challengePath+"token").Code; code != http.StatusTeapot {
			t.Errorf("switched off, but %d", code)
		}
	})
}
